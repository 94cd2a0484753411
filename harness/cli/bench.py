"""The command `bench`: latency and throughput by rule, beside the hardware's limit and beside transformers."""

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
from harness import store
from harness.cli.options import (
    RESULTS,
    Data,
    Device,
    Json,
    Out,
    Split,
    command_line,
    listed_options,
    settings_of,
)
from harness.errors import UsageError
from harness.evaluation.benchmark import Plan, Point
from harness.evaluation.sweep import sweep
from harness.report import speed as shown

REPORTS = Path("reports/speed")
COUNT = Parameter(validator=validators.Number(gte=1))


def command(entry: Entry | None) -> Callable[..., None]:
    """The command with the options of a model."""

    def bench(
        *,
        model: Annotated[str, Parameter(help="Model name, as `models` lists them.")],
        scenario: Annotated[
            Literal["single_stream", "offline", "server"],
            Parameter(
                help="One query at a time: latency; all at once: throughput; random arrivals: latency under load."
            ),
        ] = "single_stream",
        task: Annotated[str, Parameter(help="Task whose questions are asked; with commas: a sweep.")] = "coco_caption",
        split: Split = None,
        data: Data = None,
        images: Annotated[
            str, Parameter(help="Number of questions, each about an image of its own; with commas: a sweep.")
        ] = "32",
        weights: Annotated[
            str | None, Parameter(help="Checkpoint folder or hub repository; 'random': random weights, no download.")
        ] = None,
        level: Annotated[
            Literal["smoke", "default", "official"],
            Parameter(help="At least 1 s and 8 queries; 30 s and 64; 600 s and 1,024."),
        ] = "default",
        new_tokens: Annotated[
            int | None,
            COUNT,
            Parameter(help="Exact length of every answer in tokens [default: 20 with random weights]"),
        ] = None,
        batch_size: Annotated[
            str | None,
            Parameter(help="Answers decoded together; with commas: a sweep [default: 1; offline the model's]"),
        ] = None,
        dtype: Annotated[
            str | None,
            Parameter(help="float32, bfloat16, float16, int8 (CPU), float8 (GPU); with commas: a sweep."),
        ] = None,
        device: Device = None,
        against: Annotated[
            str | None,
            Parameter(
                help="Peers measured by turns in the same process: transformers, transformers-static, "
                "transformers-compile; with commas: several."
            ),
        ] = None,
        rate: Annotated[
            float | None, Parameter(help="server: queries per second [default: the highest is searched for]")
        ] = None,
        target: Annotated[
            float | None, Parameter(help="server: latency in seconds that 99 of 100 queries must keep.")
        ] = None,
        stages: Annotated[bool, Parameter(help="Time each stage separately, with its floor.")] = True,
        to: Annotated[Path, Parameter(help="Folder for the table and figures.")] = REPORTS,
        out: Out = RESULTS,
        json: Json = False,
        options: Any = None,
    ) -> None:
        """Measure latency or throughput by rule: warmed up, long enough, and VALID or INVALID with reasons.

        A point's record is kept in OUT/speed; lists make sweeps, and an interrupted sweep resumes with the same
        command.  `bench --model NAME --help` adds the options of that model.

        python -m harness bench --model florence2-nano-ft --scenario offline --batch-size 1,4,16

        python -m harness bench --model florence2-b --weights random --against transformers,transformers-static
        """
        mine = baselines.find(model)
        if mine.bench is None:
            able = ", ".join(name for name, other in baselines.MODELS.items() if other.bench is not None)
            raise UsageError(f"bench cannot measure {model}; it measures {able}")
        _refuse(scenario, batch_size, rate, target, weights)
        listed = {} if options is None else settings_of({f.name: getattr(options, f.name) for f in fields(options)})
        points = list(_points(mine, task, images, batch_size, dtype, listed))
        peers = [name for name in (against or "").split(",") if name]
        plan = Plan(mine, scenario, split, data, weights, level, new_tokens, device, peers, rate, target, stages)
        for record, path in sweep(plan, points, out, command_line()):
            print(encoder.dumps(record) if json else f"{shown.describe(record)}\n  record: {path}", flush=True)
        shown.render(store.speeds(out), to)
        print(f"report: {to / 'speed.md'}", file=sys.stderr)

    bench.__annotations__["options"], (bench.__kwdefaults__ or {})["options"] = listed_options(entry)
    return bench


def _refuse(
    scenario: str, batch_size: str | None, rate: float | None, target: float | None, weights: str | None
) -> None:
    """UsageError for settings that cannot be meant together."""
    if scenario == "single_stream" and batch_size not in (None, "1"):
        raise UsageError(
            f"--batch-size {batch_size}: a single stream asks one at a time; --scenario offline or server take batches"
        )
    if scenario != "server" and (rate is not None or target is not None):
        raise UsageError(f"--rate and --target are of --scenario server, not of {scenario}")
    if scenario == "server" and rate is None and target is None:
        raise UsageError("--scenario server needs --target SECONDS (the highest rate is looked for), --rate, or both")
    for name, value in (("--rate", rate), ("--target", target)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{name} {value}: above 0, and finite")
    if weights is not None and not weights.strip():
        raise UsageError("--weights is empty: a checkpoint folder, owner/name[@revision], or 'random'")


def _points(
    entry: Entry, task: str, images: str, batch_size: str | None, dtype: str | None, options: Mapping[str, str]
) -> Iterator[Point]:
    """Every combination of the listed values; UsageError for one that cannot be read."""
    kinds = get_type_hints(entry.options)
    columns: list[list[Any]] = [
        [part for part in task.split(",") if part],
        [_number("--images", part, int) for part in images.split(",")],
        [None] if batch_size is None else [_number("--batch-size", part, int) for part in batch_size.split(",")],
    ]
    for name, given in options.items():
        option = f"--{name.replace('_', '-')}"
        columns.append([(name, _value(option, part, kinds[name])) for part in given.split(",")])
    columns.append([None] if dtype is None else dtype.split(","))
    for one, count, batch, *chosen, precision in itertools.product(*columns):
        if count < 1:
            raise UsageError(f"--images {count}: at least 1")
        yield Point(one, count, batch, precision, dict(chosen))


def _value(option: str, text: str, kind: Any) -> Any:
    """A part of a list as a value of an option's type."""
    wanted = {*get_args(kind), kind}
    if bool in wanted:
        if text not in ("true", "false"):
            raise UsageError(f"{option} {text}: true or false")
        return text == "true"
    number = int if int in wanted else float if float in wanted else None
    return text if number is None else _number(option, text, number)


def _number(option: str, text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise UsageError(f"{option} {text}: {what}, or several with commas") from error
