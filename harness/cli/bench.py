"""The command `bench`: latency and throughput by rule, beside the hardware's limit and beside transformers."""

from __future__ import annotations

import hashlib
import itertools
import json as encoder
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter, validators
from tqdm import tqdm

from harness import store
from harness.cli.options import RESULTS, Data, Json, Out, Split, command_line
from harness.cli.subjects import RANDOM, Wanted, prepared
from harness.errors import HarnessError, ResourceError, UsageError
from harness.provenance import provenance
from harness.report import speed as shown

if TYPE_CHECKING:
    from harness.speed.levels import Level
    from harness.speed.systems import Queries, Subject

app = App()
REPORTS = Path("reports/speed")
BATCHES = 3  # that a comparison offline is of
log = logging.getLogger(__name__)
COUNT = Parameter(validator=validators.Number(gte=1))
Listed = Annotated[str | None, Parameter(negative=())]


@app.command
def bench(
    *,
    model: Annotated[str, Parameter(help="A Florence-2 by name, as `models` lists them.")],
    scenario: Annotated[
        Literal["single_stream", "offline", "server"],
        Parameter(help="One at a time: latency; all at once: throughput; or at random moments: latency under load."),
    ] = "single_stream",
    task: Annotated[str, Parameter(help="Whose questions are asked; with commas: a sweep.")] = "coco_caption",
    split: Split = None,
    data: Data = None,
    images: Annotated[
        str, Parameter(help="Questions in the set, each on an image of its own; with commas: a sweep.")
    ] = "32",
    weights: Annotated[
        str | None, Parameter(help="Checkpoint folder or hub repository; 'random': drawn, no download.")
    ] = None,
    level: Annotated[
        Literal["smoke", "default", "official"],
        Parameter(help="At least 1 s and 8 queries; 30 s and 64; 600 s and 1,024."),
    ] = "default",
    new_tokens: Annotated[
        int | None, COUNT, Parameter(help="Every answer has exactly so many tokens [default: 20 with random weights].")
    ] = None,
    batch_size: Annotated[
        str | None, Parameter(help="Answers under way at once; with commas: a sweep [default: 1; offline the model's].")
    ] = None,
    beams: Annotated[str | None, Parameter(help="With commas: a sweep [default: 3].")] = None,
    dtype: Annotated[
        str | None, Parameter(help="float32, bfloat16, float16, int8 (CPU), float8 (GPU); with commas: a sweep.")
    ] = None,
    resolution: Annotated[str | None, Parameter(help="Side of the input in pixels; with commas: a sweep.")] = None,
    device: Annotated[str | None, Parameter(help="cpu, cuda ... [default: a GPU if there is one]")] = None,
    threads: Annotated[
        str | None,
        Parameter(help="Of a CPU, or 'auto': as many as are quickest; with commas: a sweep [default: torch's]."),
    ] = None,
    against: Annotated[
        str | None,
        Parameter(help="transformers, transformers-static, transformers-compile, or several: by turns, a ratio."),
    ] = None,
    rate: Annotated[
        float | None, Parameter(help="server: queries a second [default: the highest is looked for].")
    ] = None,
    target: Annotated[float | None, Parameter(help="server: seconds that 99 of 100 answers may take.")] = None,
    stages: Annotated[bool, Parameter(help="Time each stage apart, beside its floor.")] = True,
    to: Annotated[Path, Parameter(help="Where the table and figures go.")] = REPORTS,
    out: Out = RESULTS,
    json: Json = False,
) -> None:
    """Measure latency or throughput by rule: warmed up, long enough, and VALID or INVALID with reasons.

    A point's record is kept in OUT/speed; lists make sweeps. Random weights need no download:

    python -m harness bench --model florence2-b --weights random --against transformers,transformers-static
    """
    _refuse(scenario, batch_size, rate, target, weights)
    points = list(_points(task, images, batch_size, beams, dtype, resolution, threads))
    with _sweep(out, len(points)) as done:
        for place, wanted in enumerate(points):
            if place in done.records:
                if json:
                    print(encoder.dumps(encoder.loads(done.records[place].read_bytes())), flush=True)
                continue
            with _enough_memory():
                record = _measured(
                    wanted, model, scenario, split, data, weights, level, new_tokens, device,
                    [name for name in (against or "").split(",") if name], rate, target, stages,
                )  # fmt: skip
            asked = {key: record[key] for key in ("model", "weights", "settings", "scenario", "level", "set")}
            asked["against"] = sorted(record["against"])
            name = hashlib.sha256(encoder.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
            path = store.keep_speed(out, record["device"], name, record)
            done.add(place, path)
            print(encoder.dumps(record) if json else f"{shown.describe(record)}\n  record: {path}", flush=True)
    shown.render(store.speeds(out), to)
    print(f"report: {to / 'speed.md'}", file=sys.stderr)


class Done:
    """The records of a sweep's points that are measured, in a file that is there until all are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            told = {int(place): Path(record) for place, record in encoder.loads(path.read_bytes()).items()}
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
        ):  # none was interrupted, or its file is torn: measure all
            told = {}
        self.records = {place: record for place, record in told.items() if record.is_file()}

    def add(self, place: int, record: Path) -> None:
        self.records[place] = record
        store.replace_file(self.path, encoder.dumps({place: str(one) for place, one in self.records.items()}).encode())


@contextmanager
def _sweep(out: Path, points: int) -> Iterator[Done]:
    """An interrupted sweep, by the same command, code and machine, goes on where it was; a finished one begins anew."""
    now = provenance(command_line())
    words = encoder.dumps([now[key] for key in ("command", "harness", "commit", "dirty", "machine", "packages")])
    done = Done(out / f"speed/unfinished-{hashlib.sha256(words.encode()).hexdigest()[:12]}.json")
    if done.records:
        print(f"{len(done.records)} of {points} points were measured before; the rest follow", file=sys.stderr)
    yield done
    done.path.unlink(missing_ok=True)


@contextmanager
def _enough_memory() -> Iterator[None]:
    """What the engine does not see (stages are timed beside it), said in one line."""
    from harness.florence2.decoding.engine import is_out_of_memory

    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # each device and library has a kind of its own for memory
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "this point does not fit in memory: try a smaller --batch-size, fewer --beams, or --no-stages"
        ) from error


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


def _points(task: str, *lists: str | None) -> Iterator[Wanted]:
    """Every combination of what was listed."""
    names = ("--images", "--batch-size", "--beams", "--dtype", "--resolution", "--threads")
    words = ("--dtype", "--threads")
    columns: list[list[Any]] = []
    for name, given in zip(names, lists, strict=True):
        parts: Sequence[str | None] = [None] if given is None else given.split(",")
        columns.append([part if part is None or name in words else _whole(name, part) for part in parts])
    for one, *rest in itertools.product([part for part in task.split(",") if part], *columns):
        if rest[0] < 1:
            raise UsageError(f"--images {rest[0]}: at least 1")
        yield Wanted(one, *rest)


def _whole(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UsageError(f"{name} {text}: a whole number, or several with commas") from error


def _measured(
    wanted: Wanted, model: str, scenario: str, split: str | None, data: str | None, weights: str | None,
    level: str, new_tokens: int | None, device: str | None, against: Sequence[str],
    rate: float | None, target: float | None, with_stages: bool,
) -> dict[str, Any]:  # fmt: skip
    import torch

    from harness.florence2.fast.threads import AUTO, number, settle
    from harness.speed import bench as rules
    from harness.speed import levels
    from harness.speed.meters import device_name
    from harness.speed.scenarios import ask
    from harness.speed.systems import PEERS, Ours, Peer, in_fewer_bits

    for name in against:
        if name not in PEERS:
            raise UsageError(f"--against {name}: one of {', '.join(PEERS)}")
    if wanted.threads is not None and wanted.threads != AUTO:
        number(wanted.threads)
    chosen = levels.find(level)
    if against and chosen.rounds < rules.TOO_FEW_ROUNDS:
        log.warning("comparisons will be INVALID: the %d rounds of %s have no interval", chosen.rounds, chosen.name)
    if wanted.batch_size is None and scenario == "single_stream":
        wanted = replace(wanted, batch_size=1)
    subject, queries, told = prepared(wanted, model, split, data, weights, new_tokens, device)
    settle(wanted.threads, subject.model, subject.preprocess.width, subject.decoding)
    slots = min(subject.batch, len(queries)) if scenario != "server" else subject.batch
    ours = Ours(subject.model, subject.preprocess, subject.decoding, queries, slots)
    with tqdm(desc=f"{scenario}, {wanted.task}", unit=" queries", disable=None) as bar:
        point = rules.measure(
            ours,
            len(queries),
            scenario,
            chosen,
            subject.device,
            target=target,
            rate=rate,
            tick=lambda done: bar.update(done - bar.n),
        )
    batch = [place % len(queries) for place in range(ours.engine.slots)]
    # Offline some batches at once, so that what is settled early makes place for what waits; else one after another.
    size = len(batch) * (BATCHES if scenario == "offline" else 1)
    asked = [[(first + place) % len(queries) for place in range(size)] for first in range(0, len(queries), size)]
    record: dict[str, Any] = {
        "device": device_name(subject.device),
        "model": model,
        "weights": subject.sha256,
        "set": queries.about,
        "settings": {
            "task": wanted.task if weights != RANDOM else "",
            "batch size": len(batch),
            "beams": subject.decoding.beams,
            "dtype": str(subject.dtype).removeprefix("torch."),
            "resolution": f"{subject.preprocess.width}x{subject.preprocess.height}",
            "new tokens": subject.decoding.min_new_tokens,
            "threads": torch.get_num_threads(),
            "rate": rate,
            "target s": target,
        },
        **point.record(),
    }
    if with_stages:
        record |= _staged(subject, queries, len(batch), chosen, round(point.throughput["tokens an answer"]))
    record["against"] = {}
    for name in against:
        whole = subject.model
        if in_fewer_bits(whole):
            whole = subject.in_full().to(subject.device, subject.model.vision.dtype)
        try:
            peer = Peer(name, whole, subject.preprocess, subject.decoding, queries, len(batch))
            for some in asked if name == "transformers-compile" else asked[:1]:  # each length is compiled anew
                ask(peer, some)
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # of theirs: ours is not in it
            record["against"][name] = {"cannot run": (str(error).splitlines() or [repr(error)])[0]}
        else:
            record["against"][name] = asdict(rules.beside(ours, peer, name, asked, chosen.rounds, subject.device))
    record["provenance"] = provenance(command_line(), **told, load=os.getloadavg())
    return record


def _staged(subject: Subject, queries: Queries, batch: int, level: Level, tokens: int) -> dict[str, Any]:
    """The record's lines about stages and ceilings."""
    from harness.florence2.fast.quantised import HalfLinear
    from harness.speed import ceilings
    from harness.speed.bench import beside_floors
    from harness.speed.stages import staged

    found = staged(
        subject.model, subject.preprocess, subject.decoding, queries, batch, level.rounds,
        opening=queries.opening, parsing=queries.parsing,
    )  # fmt: skip
    most, size = ceilings.measured(subject.device, subject.dtype), subject.dtype.itemsize
    work = ceilings.counted(
        subject.model.config,
        batch=batch,
        beams=subject.decoding.beams,
        side=subject.preprocess.width,
        prompt=max(map(len, queries.prompts)),
        written=tokens,
        size=size,
        text_size=1 if size == 1 else subject.model.embedding.weight.element_size(),
        writing_size=2 if isinstance(subject.model.lm_head, HalfLinear) else 0,
    )
    return {
        "stages": {"batch": batch, "steps": found.steps, "lines": beside_floors(found, work, most)},
        "ceilings": asdict(most),
    }
