"""The command `bench`: latency and throughput by fixed rules, versus the hardware's limit and versus transformers."""

from __future__ import annotations

import itertools
import json as encoder
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from cyclopts import Parameter, validators

import baselines
from baselines import Entry
from harness import store, tracking
from harness.cli.model_options import listed_options, settings_of
from harness.cli.options import (
    ONE_PROCESS,
    RESULTS,
    Data,
    Device,
    Json,
    LogTo,
    Out,
    Workers,
    command_line,
)
from harness.errors import UsageError
from harness.evaluation.benchmark import Plan, Point
from harness.evaluation.sweep import sweep
from harness.report import speed as shown
from harness.sinks import line

REPORTS = Path("reports/speed")
COUNT = Parameter(validator=validators.Number(gte=1))


def command(entry: Entry | None) -> Callable[..., None]:
    """The command with the options of a model."""

    def bench(
        *,
        model: Annotated[str, Parameter(help="Model name (`models` lists them)")],
        scenario: Annotated[
            Literal["single_stream", "offline", "server"],
            Parameter(
                help="Scenario: single_stream, one query at a time (latency); offline, all queries at once "
                "(throughput); server, random arrivals (latency under load)"
            ),
        ] = "single_stream",
        task: Annotated[str, Parameter(help="Task that the questions are from; with commas: a sweep")] = "coco_caption",
        split: Annotated[str | None, Parameter(help="Split of the task [default: the task's first]")] = None,
        data: Data = None,
        images: Annotated[
            str, Parameter(help="Number of questions, each about another image; with commas: a sweep")
        ] = "32",
        weights: Annotated[
            str | None,
            Parameter(
                help="Checkpoint folder or hub repository, or 'random' for random weights without a download "
                "[default: the model's own]"
            ),
        ] = None,
        level: Annotated[
            Literal["smoke", "default", "official"],
            Parameter(
                help="Least duration and number of queries: smoke, 1 s and 8; default, 30 s and 64; official, 600 s "
                "and 1,024"
            ),
        ] = "default",
        new_tokens: Annotated[
            int | None,
            COUNT,
            Parameter(help="Exact length of every answer in tokens [default: the model's; 20 with random weights]"),
        ] = None,
        batch_size: Annotated[
            str | None,
            Parameter(
                help="Number of answers decoded together; with commas: a sweep [default: 1 for single_stream, else the "
                "model's]"
            ),
        ] = None,
        dtype: Annotated[
            str | None,
            Parameter(
                help="Precision: float32, bfloat16 (recommended on a CPU with AMX or AVX512_BF16), float16, int8 (CPU) "
                "or float8 (GPU); with commas: a sweep [default: float32 on a CPU, bfloat16 on a GPU]"
            ),
        ] = None,
        device: Device = None,
        workers: Workers = ONE_PROCESS,
        against: Annotated[
            str | None,
            Parameter(
                help="Peers to compare with, interleaved in the same process: transformers, transformers-static, "
                "transformers-compile; on a CPU also onnxruntime, openvino, torch-compile (extra: peers), with "
                "the same weights exported on the spot; with commas: several [default: none]"
            ),
        ] = None,
        rate: Annotated[
            float | None,
            Parameter(
                help="Arrivals in queries per second, for server [default: search for the highest rate that keeps "
                "--target]"
            ),
        ] = None,
        target: Annotated[
            float | None, Parameter(help="Latency in seconds that 99 % of queries must keep, for server")
        ] = None,
        stages: Annotated[bool, Parameter(help="Time of each stage, with its floor")] = True,
        to: Annotated[Path, Parameter(help="Folder for the table and figures")] = REPORTS,
        out: Out = RESULTS,
        json: Json = False,
        log_to: LogTo = None,
        options: Any = None,
    ) -> None:
        """Measure latency or throughput by fixed rules, and report each measurement as VALID, or INVALID with reasons.

        An option with several values, separated by commas, makes a sweep: one point for each combination.  The record
        of a point is kept in OUT/speed, and the same command resumes an interrupted sweep.
        `bench --model NAME --help` adds the options of that model.

        python -m harness bench --model florence2-nano-ft --scenario offline --batch-size 1,4,16

        python -m harness bench --model florence2-b --weights random --against transformers,transformers-static
        """
        measured = baselines.find(model)
        _refuse(scenario, batch_size, rate, target, weights)
        listed = {} if options is None else settings_of({f.name: getattr(options, f.name) for f in fields(options)})
        points = list(_points(measured, task, images, batch_size, dtype, listed))
        peers = [name for name in (against or "").split(",") if name]
        plan = Plan(
            measured, scenario, split, data, weights, level, new_tokens, device, peers, rate, target, stages,
            workers.spread(),
        )  # fmt: skip
        for record, path in tracking.sent(sweep(plan, points, out, command_line()), log_to or ()):
            described = f"{shown.describe(record)}\n  {line(f'record: {path}')}"
            print(encoder.dumps(record) if json else described, flush=True)
        shown.render(store.speeds(out), to)
        print(line(f"report: {to / 'speed.md'}"), file=sys.stderr)

    bench.__annotations__["options"], (bench.__kwdefaults__ or {})["options"] = listed_options(entry)
    return bench


def _refuse(
    scenario: str, batch_size: str | None, rate: float | None, target: float | None, weights: str | None
) -> None:
    """UsageError for settings that contradict each other."""
    if scenario == "single_stream" and batch_size not in (None, "1"):
        raise UsageError(
            f"--batch-size {batch_size}: single_stream has one query at a time; offline and server have batches"
        )
    if scenario != "server" and (rate is not None or target is not None):
        raise UsageError(f"--rate and --target belong to --scenario server, not to {scenario}")
    if scenario == "server" and rate is None and target is None:
        raise UsageError("--scenario server needs --target SECONDS (the highest rate is searched for), --rate, or both")
    for name, value in (("--rate", rate), ("--target", target)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} {value}: above 0, and finite")
    if weights is not None and not weights.strip():
        raise UsageError("--weights is empty: a checkpoint folder, owner/name[@revision], or 'random'")


def _points(
    entry: Entry, task: str, images: str, batch_size: str | None, dtype: str | None, options: Mapping[str, str]
) -> Iterator[Point]:
    """Every combination of the listed values; UsageError for a value that cannot be parsed."""
    kinds = get_type_hints(entry.options)
    columns: list[list[Any]] = [
        [part for part in task.split(",") if part],
        [_number("--images", part, int) for part in images.split(",")],
        [None] if batch_size is None else [_number("--batch-size", part, int) for part in batch_size.split(",")],
    ]
    for name, values in options.items():
        option = f"--{name.replace('_', '-')}"
        columns.append([(name, _value(option, part, kinds[name])) for part in values.split(",")])
    columns.append([None] if dtype is None else dtype.split(","))
    for task_name, count, batch, *pairs, precision in itertools.product(*columns):
        if count < 1:
            raise UsageError(f"--images {count}: at least 1")
        yield Point(task_name, count, batch, precision, dict(pairs))


def _value(option: str, text: str, kind: Any) -> Any:
    """One value of a list, parsed as the option's type."""
    kinds = {*get_args(kind), kind}
    if bool in kinds:
        if text not in ("true", "false"):
            raise UsageError(f"{option} {text}: true or false")
        return text == "true"
    number = int if int in kinds else float if float in kinds else None
    return text if number is None else _number(option, text, number)


def _number(option: str, text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        expected = "a whole number" if kind is int else "a number"
        raise UsageError(f"{option} {text}: {expected}, or several with commas") from error
