"""Florence-2 on a GPU: correctness, then speed versus transformers, then the gain of each part of the engine.

    python benchmarks/gpu.py --out OUT [--minutes 8.5]
    python benchmarks/gpu.py --out OUT --rehearse      # on a CPU with a tiny network; its figures mean nothing

The script needs torch (2.11 or newer), transformers and numpy, and downloads nothing.  Weights are random, images are
noise of 768 pixels, and every answer has 20 new tokens.  Ours and transformers alternate in one process, with the same
weights, images and numbers of tokens.  A ratio is the median of the rounds' ratios, with the least and the most; of six
rounds or more, these two bound the median with a confidence of at least 96.9 %.

The most important rows come first.  OUT/gpu.json is rewritten after each row; a row for which too little time was left
is in the file, and says so.  Without a GPU nothing is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

if "--rehearse" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is first imported

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.gpu_checks import TINY, differing, kernels_are_right, tokens_are_right
from benchmarks.gpu_variants import exact, gelu_inside, plain, plain_tower, torch_search, unchanged, without_graphs
from harness.florence2.config import BASE, LARGE, Config, with_text
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import fused, settings
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.quantised import FLOAT8
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed import ceilings, scenarios, systems
from harness.speed.levels import Level
from harness.speed.meters import Meter, device_name
from harness.speed.percentiles import least_count, percentiles
from harness.speed.scenarios import Measured, Tokens, ask
from harness.speed.stages import staged
from harness.speed.systems import Ours, Peer, Queries, Subject, rounds_of

VOCABULARY = 51328  # the published checkpoints' 51,289, rounded up to a multiple of 64
NEW_TOKENS = 20
ROUNDS = 7
FEWEST = 3  # rounds of a ratio where time runs out
Setting = Callable[[], AbstractContextManager[None]]
Row = dict[str, Any]


class OutOfTime(Exception):
    """Too little time is left for the next row."""


@dataclass(frozen=True)
class Ground:
    """The device, the deadline (seconds of `time.monotonic`), and whether this is a rehearsal."""

    device: torch.device
    deadline: float
    rehearsal: bool

    def count(self, usual: int) -> int:
        """Returns a number of images, slots or rounds; at most 2 in a rehearsal."""
        return min(usual, 2) if self.rehearsal else usual

    def level(self, queries: int) -> Level:
        """Returns the level of a run that ends after `queries` answers."""
        return Level("gpu", seconds=0.0, count=queries, group=4, rounds=ROUNDS)

    def clock(self) -> float:
        """Waits for the device, and returns the time in seconds."""
        ceilings.synchronise(self.device)
        return time.perf_counter()

    def go_on(self, done: int) -> bool:
        """Returns whether time is left for another round, after `done` rounds."""
        return done < FEWEST or time.monotonic() < self.deadline

    def in_time(self, seconds: float) -> None:
        """Raises OutOfTime where fewer seconds are left."""
        if time.monotonic() + seconds > self.deadline:
            raise OutOfTime(f"{self.deadline - time.monotonic():.0f} s were left of the {seconds:.0f} that it may take")

    def attempt(self, row: Row, name: str, seconds: float, part: Callable[[], Row]) -> None:
        """Adds a part to a row; a part that fails, or for which too little time is left, says so there."""
        try:
            self.in_time(seconds)
            row[name] = part()
        except OutOfTime as error:
            row[name] = {"not measured": str(error)}
        except Exception as error:  # the next part may run
            row[name] = failure(error)


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> int:
    """Measures all rows; returns 1 where a row is not correct or fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."), help="folder of gpu.json")
    parser.add_argument("--minutes", type=float, default=8.5, help="time after which no row starts (8.5)")
    parser.add_argument("--rehearse", action="store_true", help="a tiny network on a CPU")
    parser.add_argument("--only", default="", help="part of the names of the rows to measure (all)")
    options = parser.parse_args(arguments)
    if not options.rehearse and not torch.cuda.is_available():
        print("there is no GPU here: not measured")
        return 0
    device = torch.device("cpu" if options.rehearse else "cuda")
    ground = Ground(device, time.monotonic() + 60 * options.minutes, options.rehearse)
    with settings.cuda(device):
        return measure(ground, options.out, options.only)


def measure(ground: Ground, out: Path, only: str) -> int:
    """Writes the rows whose names contain `only` to `out`; returns 1 where a row is not correct or fails."""
    record: Row = {"rehearsal": ground.rehearsal, **about(ground.device), "rows": {}}
    out.mkdir(parents=True, exist_ok=True)
    for name, measure_row in rows():
        if only not in name:
            continue
        start = time.monotonic()
        try:
            row: Any = measure_row(ground)
        except OutOfTime as error:
            row = {"not measured": str(error)}
        except Exception as error:  # the next row may run
            row = failure(error)
        record["rows"][name] = {"seconds": round(time.monotonic() - start, 1), **row}
        print(name, json.dumps(record["rows"][name]), flush=True)
        (out / "gpu.json").write_text(json.dumps(record, indent=2) + "\n")
        gc.collect()
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
    return int(any(row.get("correct") is False or "failed" in row for row in record["rows"].values()))


def failure(error: Exception) -> Row:
    """Returns the error and its last four places in the code."""
    at = [f"{frame.filename}:{frame.lineno} {frame.line}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    return {"failed": f"{type(error).__name__}: {error}"[:2000], "at": at}


def about(device: torch.device) -> Row:
    """Returns the device, and the versions of the packages."""
    record: Row = {"device": device_name(device), "torch": torch.__version__}
    for package in ("transformers", "triton"):
        try:
            record[package] = version(package)
        except PackageNotFoundError:
            record[package] = None
    if device.type == "cuda":
        record["cuda"] = torch.version.cuda
        record["kernels"] = fused.usable(torch.empty(1, device=device))
        record["attention by cuDNN"] = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    return record


def rows() -> Iterator[tuple[str, Callable[[Ground], Mapping[str, Any]]]]:
    """Yields the names of the rows, in order, with the functions that measure them."""
    half = torch.bfloat16
    yield "kernels", lambda ground: kernels_are_right(ground.device, ground.rehearsal, VOCABULARY)
    yield "tokens", lambda ground: tokens_are_right(ground.device, ground.rehearsal)
    yield "large, bf16, offline", lambda ground: offline(ground, "large", half, peer_batches=(16, 64))
    yield "large, bf16, single stream", lambda ground: single_stream(ground, "large", half)
    yield "base, bf16, offline", lambda ground: offline(ground, "base", half, peer_batches=(64,))
    yield "large, parts", parts
    yield "large, fp16, offline", lambda ground: offline(ground, "large", torch.float16, peer_batches=())
    yield "large, float8, offline", lambda ground: offline(ground, "large", FLOAT8, peer_batches=())
    yield "large, stages at batch 64", lambda ground: in_stages(ground, "large", half, 64)
    yield "large, stages at batch 1", lambda ground: in_stages(ground, "large", half, 1)
    yield "base, batches", batches
    yield "large, compiled tower", compiled_tower
    yield "large, bf16, single stream, compiled", lambda ground: single_stream(ground, "large", half, compiled=True)
    yield "large, bf16, offline, compiled", lambda ground: offline(ground, "large", half, (64,), compiled=True)


@cache
def random_weights(size: str, rehearsal: bool) -> Florence2:
    """Returns a network with random weights on the host, in float32."""
    return systems.random_model(TINY if rehearsal else with_text(LARGE if size == "large" else BASE, vocab=VOCABULARY))


def subject_of(ground: Ground, size: str, dtype: torch.dtype, images: int) -> tuple[Subject, Queries]:
    """Returns a network with random weights on the device, and random queries."""
    tokens = 6 if ground.rehearsal else NEW_TOKENS

    def in_full() -> Florence2:
        return copy.deepcopy(random_weights(size, ground.rehearsal))

    model = accelerated(in_full(), ground.device, dtype)
    side = model.config.image_size
    decoding = Decoding(max_new_tokens=tokens, min_new_tokens=tokens)
    subject = Subject(model, Preprocess(side, side), decoding, ground.count(64), systems.RANDOM, dtype, in_full)
    return subject, systems.drawn(images, side, model.config.text.vocab)


def engine_of(subject: Subject, queries: Queries, slots: int) -> Ours:
    """Returns the engine over these queries."""
    return Ours(subject.model, subject.preprocess, subject.decoding, queries, slots)


def peer_network(subject: Subject) -> Any:
    """Returns transformers' network with the same weights; these are in fewer bits here in a rehearsal only."""
    model = subject.model
    if systems.in_fewer_bits(model):
        model = subject.in_full().to(subject.device, model.vision.dtype)
    return systems.in_transformers(model)


@dataclass(frozen=True)
class Side:
    """A side of a comparison: a system, and the queries of a round, all at once or one by one."""

    system: Ours | Peer
    queries: Sequence[int]
    one_by_one: bool = False

    def answer(self) -> list[Tokens]:
        """Returns the answers of a round, in the order of the queries."""
        if self.one_by_one:
            return [tokens for query in self.queries for tokens in ask(self.system, [query])]
        return ask(self.system, self.queries)


def offline(ground: Ground, size: str, dtype: torch.dtype, peer_batches: Sequence[int], compiled: bool = False) -> Row:
    """Measures images per second of the offline scenario, with 3 beams, and transformers at each of its batch sizes."""
    ground.in_time(150 if compiled else 30)
    subject, queries = subject_of(ground, size, dtype, ground.count(128))
    images, meter = len(queries), Meter(ground.device)
    ours = engine_of(subject, queries, subject.batch)
    expected = scenarios.accuracy(ours, images, "offline")
    measured = scenarios.offline(ours, images, ground.level(ground.count(ROUNDS) * images), warm=meter.start)
    used = meter.stop()
    slots = ours.engine.slots  # fewer where memory was short
    row: Row = {
        "images/s": images / statistics.median(measured.passes), "slots": slots,
        "images/s, least": images / max(measured.passes), "images/s, most": images / min(measured.passes),
        "rounds": len(measured.passes), "images/s at the floor": slots / floor(ground, subject, slots),
        "peak GiB": used["peak memory MiB"] / 1024, "new tokens": subject.decoding.max_new_tokens,
        "answers that are the same again": share_repeated(measured, expected),
        "reasons": used["reasons"], "not checked": used.get("not checked", ""),
    }  # fmt: skip
    network = peer_network(subject) if peer_batches else None
    for mode in peer_modes(compiled):
        for batch in peer_batches:

            def versus(mode: str = mode, batch: int = batch) -> Row:
                peer = peer_of(mode, subject, queries, ground.count(batch), network)
                part = range(min(images, max(32, batch)))
                return ratio(ground, Side(ours, range(images)), Side(peer, part), expected)

            ground.attempt(row, f"{mode}, batch {batch}", 90 if compiled else 25, versus)
    return row


def single_stream(ground: Ground, size: str, dtype: torch.dtype, compiled: bool = False) -> Row:
    """Measures milliseconds from pixels on the host to ids on the host, one image at a time, with 3 beams."""
    ground.in_time(150 if compiled else 40)
    subject, queries = subject_of(ground, size, dtype, ground.count(32))
    images = len(queries)
    ours = engine_of(subject, queries, 1)
    expected = scenarios.accuracy(ours, images, "single_stream")
    count = max(least_count(50), ground.count(4) * images)
    measured = scenarios.single_stream(ours, images, ground.level(count))
    row: Row = {"count": len(measured.latencies)}
    for name, latency in percentiles(measured.latencies).items():
        if latency.value is not None and latency.low is not None and latency.high is not None:
            row |= {
                f"{name} ms": 1000 * latency.value,
                f"{name} ms, low": 1000 * latency.low,
                f"{name} ms, high": 1000 * latency.high,
            }
    row["floor ms"] = 1000 * floor(ground, subject, 1)
    row["answers that are the same again"] = share_repeated(measured, expected)
    network = peer_network(subject)
    for mode in peer_modes(compiled):

        def versus(mode: str = mode) -> Row:
            peer = peer_of(mode, subject, queries, 1, network)
            part = range(ground.count(4))
            return ratio(ground, Side(ours, part, one_by_one=True), Side(peer, part, one_by_one=True), expected)

        ground.attempt(row, mode, 90 if compiled else 20, versus)
    return row


def peer_modes(compiled: bool) -> Sequence[str]:
    """Returns the modes of transformers; compilation takes long, and so has rows of its own, the last ones."""
    return ("transformers-compile",) if compiled else ("transformers", "transformers-static")


def peer_of(mode: str, subject: Subject, queries: Queries, batch: int, network: Any) -> Peer:
    """Returns transformers over these queries."""
    return Peer(mode, subject.model, subject.preprocess, subject.decoding, queries, batch, network)


def ratio(ground: Ground, ours: Side, peer: Side, expected: Sequence[Tokens]) -> Row:
    """Returns the peer's time per image over ours, and the share of its answers that are equal to the expected ones.

    Random weights give nearly flat scores, so that few answers are equal in half precision.
    """
    sides = {"ours": ours.answer, "peer": peer.answer}
    times, answers = rounds_of(sides, ground.count(ROUNDS), ground.clock, ground.go_on)
    images, peer_images = len(ours.queries), len(peer.queries)
    ratios = [(slow / peer_images) / (fast / images) for fast, slow in zip(times["ours"], times["peer"], strict=True)]
    return {
        **spread(ratios), "their images/s": peer_images / statistics.median(times["peer"]),
        "equal answers": share_equal(answers["peer"], [expected[query] for query in peer.queries]),
        "attention by cuDNN": peer.system.cudnn if isinstance(peer.system, Peer) else None,
    }  # fmt: skip


def share_equal(answers: Sequence[Tokens], expected: Sequence[Tokens]) -> float:
    """Returns the share of answers that are equal token for token."""
    return 1 - differing(answers, expected) / len(answers)


def share_repeated(measured: Measured, expected: Sequence[Tokens]) -> float:
    """Returns the share of timed answers that are equal to those of the accuracy run."""
    return share_equal(measured.answers, [expected[query] for query in measured.queries])


def parts(ground: Ground) -> Row:
    """Measures the gain of each part, for large in bfloat16: the time without the part over the time with it."""
    ground.in_time(30)
    row: Row = {}
    subject, queries = subject_of(ground, "large", torch.bfloat16, ground.count(64))
    variants: dict[str, tuple[Callable[[Ours], Ours], Setting]] = {
        "CUDA graphs": (without_graphs, nullcontext),
        "Triton kernels": (unchanged, plain),
        "fixed sizes": (exact, nullcontext),
        "Triton's normalisers and best words": (unchanged, torch_search),
        "GELU in a pass of its own, by one inside Triton's product": (unchanged, gelu_inside),
    }
    for slots in map(ground.count, (1, 64)):
        submitted = range(min(max(4, slots), len(queries)))
        whole = engine_of(subject, queries, slots)
        for name, (changed, setting) in variants.items():

            def without(
                changed: Callable[[Ours], Ours] = changed, setting: Setting = setting, slots: int = slots,
                whole: Ours = whole, submitted: Sequence[int] = submitted,
            ) -> Row:  # fmt: skip
                other = changed(engine_of(subject, queries, slots))
                return worth(ground, Side(whole, submitted), Side(other, submitted), setting)

            ground.attempt(row, f"{name}, {slots} slots", 15, without)
    return row


def compiled_tower(ground: Ground) -> Row:
    """Measures the gain of our kernels in the vision tower versus torch's compiler, one image at a time."""
    ground.in_time(240)
    subject, queries = subject_of(ground, "large", torch.bfloat16, ground.count(4))
    compiled = copy.deepcopy(subject.model)
    if not ground.rehearsal:
        compiled.vision.compile(mode="max-autotune-no-cudagraphs", dynamic=False)
    other = Ours(compiled, subject.preprocess, subject.decoding, queries, 1)
    every = range(len(queries))
    return worth(ground, Side(engine_of(subject, queries, 1), every), Side(other, every), plain_tower)


def worth(ground: Ground, whole: Side, other: Side, setting: Setting) -> Row:
    """Returns the time of the other side, which runs within `setting`, over that of the whole engine."""

    def without() -> list[Tokens]:
        with setting():
            return other.answer()

    sides = {"with": whole.answer, "without": without}
    times, answers = rounds_of(sides, ground.count(ROUNDS), ground.clock, ground.go_on)
    ratios = [slow / fast for fast, slow in zip(times["with"], times["without"], strict=True)]
    return {**spread(ratios), "equal answers": share_equal(answers["without"], answers["with"])}


def spread(ratios: Sequence[float]) -> Row:
    """Returns the median of the rounds' ratios, the least and the most, and the number of rounds."""
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "rounds": len(ratios)}


def in_stages(ground: Ground, size: str, dtype: torch.dtype, batch: int) -> Row:
    """Measures milliseconds of each stage of a batch, each with its floor."""
    ground.in_time(30)
    batch = ground.count(batch)
    subject, queries = subject_of(ground, size, dtype, batch)
    stages = staged(subject.model, subject.preprocess, subject.decoding, queries, batch, ground.count(5))
    measured = ceilings.measured(ground.device, dtype)
    work = work_of(subject, batch)
    lines = {
        name: {"ms": 1000 * seconds, "floor ms": 1000 * work[name].floor(measured) if name in work else None}
        for name, seconds in stages.seconds.items()
    }
    return {"stages": lines, "ceilings": asdict(measured)}


def batches(ground: Ground) -> Row:
    """Measures images per second by the number of slots, for base in bfloat16."""
    ground.in_time(15)
    subject, queries = subject_of(ground, "base", torch.bfloat16, ground.count(128))
    rates: Row = {}
    for slots in (1, 2, 4, 8, 16, 32, 64, 128):
        if time.monotonic() > ground.deadline:
            break
        images = min(len(queries), max(4, 2 * slots))
        ours = engine_of(subject, queries, slots)
        measured = scenarios.offline(ours, images, ground.level(ground.count(3) * images))
        rates[f"{slots} slots"] = images / statistics.median(measured.passes)
    return {"images/s": rates}


def work_of(subject: Subject, batch: int) -> Mapping[str, ceilings.Work]:
    """Returns the operations and bytes of each stage of a batch."""
    config: Config = subject.model.config
    return ceilings.counted(
        config, batch=batch, beams=3, side=config.image_size, prompt=10, written=subject.decoding.max_new_tokens,
        size=subject.dtype.itemsize,
    )  # fmt: skip


def floor(ground: Ground, subject: Subject, batch: int) -> float:
    """Returns the least seconds of a batch, under ceilings that are measured now."""
    measured = ceilings.measured(ground.device, subject.dtype)
    work = work_of(subject, batch)
    once = sum(work[name].floor(measured) for name in ("vision", "encoder", "prefill"))
    return once + (subject.decoding.max_new_tokens - 1) * work["decode"].floor(measured)


if __name__ == "__main__":
    sys.exit(main())
