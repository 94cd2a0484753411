"""Florence-2 on a GPU: correctness first, then speed beside transformers, then what each part of it is worth.

    python benchmarks/gpu.py --out OUT [--minutes 8.5]
    python benchmarks/gpu.py --out OUT --rehearse      # the same on a CPU with a tiny network; its numbers say nothing

It needs torch (2.11 or newer), transformers and numpy, and downloads nothing: weights are drawn, pictures are noise of
768 pixels, answers are of 20 new tokens.  Ours and transformers take turns in one process, the same weights, pictures
and tokens; a ratio is the median of the rounds' ratios, beside the least and the most of them, which of six or more
rounds hold the median with 96.9 % and more.  The most important rows come first; OUT/gpu.json is written anew after
each, and what there was no time for is in it by name.  Where there is no GPU it says so, and measures nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import gc
import json
import math
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

if "--rehearse" in sys.argv:
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, by whoever is first

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from harness.florence2.config import BASE, LARGE, Config, TextConfig, VisionConfig, with_text
from harness.florence2.decoding.engine import Engine, Picture
from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import fused, settings, vision
from harness.florence2.fast.choose import accelerated
from harness.florence2.fast.linear import Linear
from harness.florence2.fast.quantised import FLOAT8, Float8Linear
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed import ceilings
from harness.speed.stages import staged
from harness.speed.systems import Ours, Peer, Queries, drawn, in_fewer_bits, in_transformers, random_model, rounds_of

VOCABULARY = 51328  # the published checkpoints' 51,289, in rows that a matrix unit likes
NEW_TOKENS = 20
ROUNDS = 7
FEWEST = 3  # of which a ratio is given where time runs out
Setting = Callable[[], AbstractContextManager[None]]
TINY = Config(
    vision=VisionConfig(dims=(16, 32, 48, 64), depths=(1, 1, 2, 1), heads=(1, 2, 3, 4), groups=(2, 2, 3, 4), window=6),
    text=TextConfig(width=48, heads=3, encoder_layers=2, decoder_layers=2, ffn=96, positions=64, vocab=1100),
    image_size=96,
)


class OutOfTime(Exception):
    """The next row would not be done in time."""


@dataclass(frozen=True)
class Ground:
    """Where and how long it is measured."""

    device: torch.device
    deadline: float
    rehearsal: bool

    def count(self, wanted: int) -> int:
        """Of pictures, of rounds; few in a rehearsal."""
        return min(wanted, 2) if self.rehearsal else wanted

    def synchronise(self) -> None:
        """Waits for the device."""
        ceilings.synchronise(self.device)

    def clock(self) -> float:
        """Seconds, once the device has done what it was asked."""
        self.synchronise()
        return time.perf_counter()

    def go_on(self, done: int) -> bool:
        """Whether there is time for another round after so many."""
        return done < FEWEST or time.monotonic() < self.deadline

    def in_time(self, seconds: float) -> None:
        """Raises where there is not so much time left."""
        if time.monotonic() + seconds > self.deadline:
            raise OutOfTime(f"{self.deadline - time.monotonic():.0f} s were left of the {seconds:.0f} that it may take")

    def attempt(self, found: dict[str, Any], name: str, seconds: float, part: Callable[[], dict[str, Any]]) -> None:
        """A part of a row: what there is no time for, or what fails, is in it by its name, and the rest goes on."""
        try:
            self.in_time(seconds)
            found[name] = part()
        except OutOfTime as error:
            found[name] = {"not measured": str(error)}
        except Exception as error:  # the next part may run
            found[name] = failure(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and gives 1 where something is not correct."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--minutes", type=float, default=8.5, help="after which nothing new is begun")
    parser.add_argument("--rehearse", action="store_true", help="a tiny network on a CPU")
    parser.add_argument("--only", default="", help="rows whose name contains this")
    given = parser.parse_args(arguments)
    if not given.rehearse and not torch.cuda.is_available():
        print("there is no GPU here: not measured")
        return 0
    torch.set_grad_enabled(False)
    device = torch.device("cpu" if given.rehearse else "cuda")
    ground = Ground(device, time.monotonic() + 60 * given.minutes, given.rehearse)
    with settings.cuda(device):
        return measure(ground, given.out, given.only)


def measure(ground: Ground, out: Path, only: str) -> int:
    """The rows whose name contains `only`, written to `out`; 1 where something is not correct."""
    record: dict[str, Any] = {"rehearsal": ground.rehearsal, **about(ground.device), "rows": {}}
    out.mkdir(parents=True, exist_ok=True)
    for name, row in rows():
        if only not in name:
            continue
        start = time.monotonic()
        try:
            found: Any = row(ground)
        except OutOfTime as error:
            found = {"not measured": str(error)}
        except Exception as error:  # the next row may run
            found = failure(error)
        record["rows"][name] = {"seconds": round(time.monotonic() - start, 1), **found}
        print(name, json.dumps(record["rows"][name]), flush=True)
        (out / "gpu.json").write_text(json.dumps(record, indent=2) + "\n")
        gc.collect()
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()
    return int(any(found.get("correct") is False or "failed" in found for found in record["rows"].values()))


def failure(error: Exception) -> dict[str, Any]:
    """What a record says of it: enough to mend it without asking again."""
    at = [f"{frame.filename}:{frame.lineno} {frame.line}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    return {"failed": f"{type(error).__name__}: {error}"[:2000], "at": at}


def about(device: torch.device) -> dict[str, Any]:
    """What a record says of the machine."""
    found: dict[str, Any] = {"device": platform.processor() or "cpu", "torch": torch.__version__}
    for package in ("transformers", "triton"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    if device.type == "cuda":
        found |= {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        found["kernels"] = fused.usable(torch.empty(1, device=device))
        found["attention by cuDNN"] = torch.backends.cuda.cudnn_sdp_enabled()  # of the peer as well
    return found


def rows() -> Iterator[tuple[str, Callable[[Ground], Mapping[str, Any]]]]:
    """What is measured, in this order."""
    half = torch.bfloat16
    yield "kernels", kernels_are_right
    yield "tokens", tokens_are_right
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


def kernels_are_right(ground: Ground) -> dict[str, Any]:
    """Norm of the difference over the norm, of each kernel beside its plain twin in float64, at the largest sizes."""
    torch.manual_seed(time.time_ns() % 2**31)
    worst: dict[str, float] = {}
    without: dict[str, str] = {}
    with interpreted(ground):
        for name, found, expected in kernels_beside_twins(ground):
            difference = ((found.double() - expected).norm() / expected.norm()).item()
            worst[name] = max(worst.get(name, 0.0), difference if difference == difference else float("inf"))
        used = fused.usable(torch.empty(1, device=ground.device))
    try:
        found, expected = float8_product(ground)
        worst["a product of float8 bfloat16"] = ((found.double() - expected).norm() / expected.norm()).item()
    except (RuntimeError, ValueError) as error:  # of a device that multiplies none
        without["float8"] = str(error).splitlines()[0]
    # Triton's interpreter loses a carry where a number is rounded up to a power of two.
    bound = {"float32": 1e-5, "float16": 3e-3, "bfloat16": 2e-2, "float8": 0.2 if ground.rehearsal else 2e-3}
    right = all(value < bound[name.split()[-1]] for name, value in worst.items())
    return {"correct": right, "kernels": used, "differences": worst, **without}


def kernels_beside_twins(ground: Ground) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    """What each kernel gives, and its twin in float64; the name ends in what bounds their difference."""
    side = 8 if ground.rehearsal else 48
    # Triton's interpreter multiplies bfloat16 as if it were whole numbers.
    for dtype in (torch.float32, torch.float16) if ground.rehearsal else (torch.float32, torch.float16, torch.bfloat16):
        label = str(dtype).removeprefix("torch.")
        for dim in (64,) if ground.rehearsal else (128, 2048):
            conv, norm = torch.nn.Conv2d(dim, dim, 3, padding=1, groups=dim), torch.nn.LayerNorm(dim)
            conv, norm = conv.to(ground.device, dtype), norm.to(ground.device, dtype)
            x = torch.randn(2, side * side, dim, device=ground.device, dtype=dtype)
            bias = torch.randn(dim, device=ground.device, dtype=dtype)
            for windows in ((0, 0), (0, 4), (4, 0)):
                laid = {"window_in": windows[0], "window_out": windows[1]}
                found = fused.convolve_add_norm(x, (side, side), conv, norm, bias, **laid)
                with plain():
                    double = conv.double(), norm.double()
                    expected = fused.convolve_add_norm(x.double(), (side, side), *double, bias.double(), **laid)
                conv, norm = conv.to(dtype), norm.to(dtype)
                for one, other in zip(found, expected, strict=True):
                    yield f"convolve_add_norm {label}", one, other
            y = torch.randn_like(x)
            summed = F.layer_norm((x.double() + y.double()), (dim,), norm.weight.double(), norm.bias.double(), norm.eps)
            yield f"add_norm {label}", fused.add_norm(x, y, norm), summed
            qkv = torch.randn(2, side * side, 3 * dim, device=ground.device, dtype=dtype)
            with plain():
                products = fused.channel_products(qkv.double(), dim // 32)
            yield f"channel_products {label}", fused.channel_products(qkv, dim // 32), products
            weight, shift = (
                torch.randn(*size, device=ground.device).to(dtype) for size in ((4 * dim, dim), (4 * dim,))
            )
            weight *= dim**-0.5
            with inside():
                product = fused.linear_gelu(x, weight, shift)
            yield f"linear_gelu {label}", product, F.gelu(F.linear(x.double(), weight.double(), shift.double()))
        yield f"attend_lineage {label}", *lineage(ground, dtype)
    scores = 9 * torch.randn(*((6, 4128) if ground.rehearsal else (192, VOCABULARY)), device=ground.device)
    yield "normalisers float32", fused.normalisers(scores), scores.double().logsumexp(-1)
    yield "candidates float32", fused.candidates(scores, 6)[0].topk(6).values, scores.topk(6).values.double()
    kernel = fused.to_float8(scores)
    with plain():
        twin = fused.to_float8(scores)
    one, other = (rounded.double() * scale for rounded, scale in (kernel, twin))
    yield "to_float8 float8", one, other


def float8_product(ground: Ground) -> tuple[torch.Tensor, torch.Tensor]:
    """A linear map in float8 by the device, and in float64 of the same rounded numbers."""
    like = Linear(256, 512, device=ground.device, dtype=torch.bfloat16)
    x = torch.randn(64, 256, device=ground.device, dtype=torch.bfloat16)
    inside = Float8Linear(like)
    rounded, by_row = fused.to_float8(x)
    expected = (rounded.double() * by_row) @ (inside.weight.double().T * inside.scale) + like.bias.double()
    return inside(x), expected


def lineage(ground: Ground, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A beam's attention by the kernel and by the twin."""
    slots, beams, heads, room, size = 5, 3, 16, 150, 64
    places = torch.randint(0, room, (slots,), device=ground.device).repeat_interleave(beams)
    keys, values = torch.randn(2, slots * beams, heads, room, size, device=ground.device).to(dtype)
    writers = torch.randint(0, beams, (slots, beams, room), device=ground.device, dtype=torch.int32)
    qkv = torch.randn(slots * beams, 3 * heads * size, device=ground.device).to(dtype)
    found = fused.attend_lineage(qkv, keys.clone(), values.clone(), writers, places)
    with plain():
        return found, fused.attend_lineage(qkv.double(), keys.double(), values.double(), writers, places)


def tokens_are_right(ground: Ground) -> dict[str, Any]:
    """In float32, of a tiny network whose answers end at different lengths: an engine with few slots on the device,
    fed at random, beside one answer at a time on a CPU, and beside transformers there."""
    decoding = Decoding(max_new_tokens=24)
    model = lively(random_model(TINY, seed=3))
    queries = drawn(24, TINY.image_size, TINY.text.vocab, seed=1, length=7)
    preprocess = Preprocess(TINY.image_size, TINY.image_size)
    stops = {"ends early": decoding, "ends late": replace(decoding, early_stopping=False)}
    expected, differ, lengths = {}, {}, {}
    for name, how in stops.items():
        expected[name] = [alone(model, preprocess, how, queries, query) for query in range(len(queries))]
        lengths[name] = len({len(tokens) for tokens in expected[name]})
        peer = ask(Peer("transformers", model, preprocess, how, queries, 1), range(len(queries)))
        differ[f"{name}, transformers"] = differing(peer, expected[name])
    moved = accelerated(model, ground.device, torch.float32)
    for name, how in stops.items():
        for slots in (1, 3, 8):
            found = at_random(moved, preprocess, how, queries, slots)
            differ[f"{name}, {slots} slots"] = differing(found, expected[name])
    most = 0 if ground.rehearsal else 1  # a GPU sums in another order, by which one of 24 may be a near tie
    right = max(differ.values()) <= most and min(lengths.values()) > 3
    return {"correct": right, "answers that differ": differ, "of": len(queries), "different lengths": lengths}


def differing(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> int:
    """How many answers are not the same, token for token."""
    return sum(list(one) != list(other) for one, other in zip(found, expected, strict=True))


def lively(model: Florence2) -> Florence2:
    """Scores spread wide, and an end that comes by itself."""
    torch.manual_seed(8)
    for name, weight in model.named_parameters():
        if "embedding" in name or "positions" in name:
            weight.normal_(std=0.6)
        elif weight.ndim > 1:
            weight.normal_(std=1.4 * weight[0].numel() ** -0.5)
    end = model.embedding.weight[2]
    model.decoder.layers[-1].mlp_norm.bias += 7.0 * end / end.square().sum()
    return model


def alone(model: Florence2, preprocess: Preprocess, decoding: Decoding, queries: Queries, query: int) -> list[int]:
    """An answer by itself, steps as they come, on a CPU."""
    image = model.look(preprocess.normalise(queries.pixels[query][None]))
    return generate(model, model.read(image, torch.tensor([queries.prompts[query]])), decoding)[0].tokens


def at_random(
    model: Florence2, preprocess: Preprocess, decoding: Decoding, queries: Queries, slots: int
) -> list[list[int]]:
    """All answers of an engine that prompts come to a few at a time."""
    engine: Engine[int] = Engine(model, preprocess, decoding, slots=slots, static=True)
    draw = torch.Generator().manual_seed(slots)
    found: dict[int, list[int]] = {}
    asked = 0
    while asked < len(queries) or engine.busy:
        for _ in range(int(torch.randint(0, 3, (), generator=draw))):
            if asked < len(queries):
                engine.submit(asked, Picture(queries.pixels[asked]), queries.prompts[asked])
                asked += 1
        engine.step()
        found |= {done.ticket: done.written.tokens for done in engine.poll()}
    return [found[query] for query in range(len(queries))]


def ask(system: Ours | Peer, queries: Sequence[int]) -> list[list[int]]:
    """The ids of each answer, in the order of the queries."""
    for ticket, query in enumerate(queries):
        system.submit(ticket, query)
    found: dict[int, list[int]] = {}
    while system.busy:
        system.step()
        found |= dict(system.poll())
    return [found[ticket] for ticket in range(len(queries))]


@cache
def weights_of(size: str, rehearsal: bool) -> Florence2:
    """A drawn network on the host, in float32."""
    return random_model(TINY if rehearsal else with_text(LARGE if size == "large" else BASE, vocab=VOCABULARY))


def subject(
    ground: Ground, size: str, dtype: torch.dtype, pictures: int
) -> tuple[Florence2, Queries, Preprocess, Decoding]:
    """A drawn network on the device, and what it is asked."""
    tokens = 6 if ground.rehearsal else NEW_TOKENS
    model = accelerated(copy.deepcopy(weights_of(size, ground.rehearsal)), ground.device, dtype)
    side = model.config.image_size
    queries = drawn(pictures, side, model.config.text.vocab)
    return model, queries, Preprocess(side, side), Decoding(max_new_tokens=tokens, min_new_tokens=tokens)


def offline(
    ground: Ground, size: str, dtype: torch.dtype, peer_batches: Sequence[int], compiled: bool = False
) -> dict[str, Any]:
    """Images a second with all of them waiting, 3 beams; transformers at each batch, with a cache that grows and with
    a static one, or `compiled`."""
    ground.in_time(150 if compiled else 30)
    model, queries, preprocess, decoding = subject(ground, size, dtype, ground.count(128))
    everything = range(len(queries))
    ours = Ours(model, preprocess, decoding, queries, ground.count(64))
    first = ask(ours, everything)
    reset_peak(ground)
    times, wrote = rounds_of({"ours": lambda: ask(ours, everything)}, ground.count(ROUNDS), ground.clock, ground.go_on)
    slots = ours.engine.slots
    floors = floor(ground, model.config, dtype, slots, decoding.max_new_tokens)
    found: dict[str, Any] = {
        "images/s": len(queries) / statistics.median(times["ours"]), "slots": slots,
        "images/s, least": len(queries) / max(times["ours"]), "images/s, most": len(queries) / min(times["ours"]),
        "rounds": len(times["ours"]), "images/s at the floor": slots / floors, "peak GiB": peak(ground),
        "new tokens": decoding.max_new_tokens, "answers that are the same again": share(wrote["ours"], first),
    }  # fmt: skip
    network = peers(ground, size, model) if peer_batches else None
    for mode in peer_modes(compiled):
        for batch in peer_batches:

            def beside(mode: str = mode, batch: int = batch) -> dict[str, Any]:
                peer = Peer(mode, model, preprocess, decoding, queries, ground.count(batch), network)
                part = range(min(len(queries), max(32, batch)))
                sides = {"ours": lambda: ask(ours, everything), "peer": lambda: ask(peer, part)}
                return {
                    **ratio(ground, sides, len(queries), len(part), first), "attention by cuDNN": peer.cudnn
                }  # fmt: skip

            ground.attempt(found, f"{mode}, batch {batch}", 90 if compiled else 25, beside)
    return found


def single_stream(ground: Ground, size: str, dtype: torch.dtype, compiled: bool = False) -> dict[str, Any]:
    """Milliseconds from pixels on the host to ids there, one picture at a time, 3 beams."""
    ground.in_time(150 if compiled else 40)
    model, queries, preprocess, decoding = subject(ground, size, dtype, ground.count(32))
    ours = Ours(model, preprocess, decoding, queries, 1)

    def one_by_one(system: Ours | Peer, queries: Sequence[int]) -> list[list[int]]:
        return [tokens for query in queries for tokens in ask(system, [query])]

    every = range(len(queries))
    first = one_by_one(ours, every)
    times = []
    for query in list(every) * ground.count(4):
        start = ground.clock()
        ask(ours, [query])
        times.append(1000 * (ground.clock() - start))
        if not ground.go_on(len(times)):
            break
    times.sort()
    beside = math.ceil(0.98 * len(times) ** 0.5)  # ranks, binomial: 95 % for the median
    found: dict[str, Any] = {
        "p50 ms": statistics.median(times), "p90 ms": times[int(0.9 * len(times))], "count": len(times),
        "p50 ms, low": times[max(0, len(times) // 2 - beside)],
        "p50 ms, high": times[min(len(times) - 1, len(times) // 2 + beside)],
        "floor ms": 1000 * floor(ground, model.config, dtype, 1, decoding.max_new_tokens),
        "answers that are the same again": share(one_by_one(ours, every), first),
    }  # fmt: skip
    network = peers(ground, size, model)
    for mode in peer_modes(compiled):

        def beside(mode: str = mode) -> dict[str, Any]:
            peer = Peer(mode, model, preprocess, decoding, queries, 1, network)
            part = range(ground.count(4))
            sides = {"ours": lambda: one_by_one(ours, part), "peer": lambda: one_by_one(peer, part)}
            return {**ratio(ground, sides, len(part), len(part), first), "attention by cuDNN": peer.cudnn}

        ground.attempt(found, mode, 90 if compiled else 20, beside)
    return found


def peer_modes(compiled: bool) -> Sequence[str]:
    """As transformers is measured; compiled by itself, last of all, since that takes long."""
    return ("transformers-compile",) if compiled else ("transformers", "transformers-static")


def peers(ground: Ground, size: str, model: Florence2) -> Any:
    """transformers' network of the same weights, which in a rehearsal the model has not all as such."""
    if in_fewer_bits(model):
        model = copy.deepcopy(weights_of(size, ground.rehearsal)).to(model.vision.dtype)
    return in_transformers(model)


def ratio(
    ground: Ground, sides: Mapping[str, Callable[[], list[list[int]]]], mine: int, others: int,
    expected: Sequence[Sequence[int]],
) -> dict[str, Any]:  # fmt: skip
    """Theirs over ours, a picture; and the share of answers that are the same: of drawn weights, whose scores are
    nearly flat, in half precision few are."""
    times, wrote = rounds_of(sides, ground.count(ROUNDS), ground.clock, ground.go_on)
    ratios = [(slow / others) / (fast / mine) for fast, slow in zip(times["ours"], times["peer"], strict=True)]
    return {
        **spread(ratios), "their images/s": others / statistics.median(times["peer"]),
        "equal answers": share(wrote["peer"], expected),
    }  # fmt: skip


def share(found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> float:
    """Of answers that are the same; the first of those that are expected, where fewer were asked for."""
    return 1 - differing(found, expected[: len(found)]) / len(found)


def parts(ground: Ground) -> dict[str, Any]:
    """What each part is worth: the time without it over the time with it, by turns, large in bfloat16; and, where only
    the order of work differs, the share of answers that are the same."""
    ground.in_time(30)
    found: dict[str, Any] = {}
    model, queries, preprocess, decoding = subject(ground, "large", torch.bfloat16, ground.count(64))
    for slots in (1, 64):
        slots = ground.count(slots)
        asked = range(min(max(4, slots), len(queries)))
        whole = Ours(model, preprocess, decoding, queries, slots)
        settings: dict[str, tuple[Callable[[Ours], Ours], Setting]] = {
            "CUDA graphs": (without_graphs, nullcontext),
            "Triton kernels": (itself, plain),
            "fixed sizes": (exact, nullcontext),
            "Triton's normalisers and best words": (itself, sorted_out),
            "GELU in a pass of its own, by one inside Triton's product": (itself, inside),
        }
        for name, (changed, setting) in settings.items():

            def without(
                changed: Callable[[Ours], Ours] = changed, setting: Setting = setting, slots: int = slots,
                whole: Ours = whole, asked: Sequence[int] = asked,
            ) -> dict[str, Any]:  # fmt: skip
                other = changed(Ours(model, preprocess, decoding, queries, slots))
                return worth(ground, whole, other, asked, setting)

            ground.attempt(found, f"{name}, {slots} slots", 15, without)
    return found


def compiled_tower(ground: Ground) -> dict[str, Any]:
    """What kernels of our own are worth in the tower, by one that torch compiles: one picture at a time."""
    ground.in_time(240)
    model, queries, preprocess, decoding = subject(ground, "large", torch.bfloat16, ground.count(4))
    compiled = copy.deepcopy(model)
    if not ground.rehearsal:
        compiled.vision.compile(mode="max-autotune-no-cudagraphs", dynamic=False)
    ours, theirs = (Ours(one, preprocess, decoding, queries, 1) for one in (model, compiled))
    return worth(ground, ours, theirs, range(len(queries)), plain_tower)


def worth(ground: Ground, whole: Ours, other: Ours, asked: Sequence[int], setting: Setting) -> dict[str, float]:
    """The time of one over that of the other, which is within a setting."""

    def without() -> list[list[int]]:
        with setting():
            return ask(other, asked)

    sides = {"with": lambda: ask(whole, asked), "without": without}
    times, wrote = rounds_of(sides, ground.count(ROUNDS), ground.clock, ground.go_on)
    ratios = [slow / fast for fast, slow in zip(times["with"], times["without"], strict=True)]
    return {**spread(ratios), "equal answers": share(wrote["without"], wrote["with"])}


def spread(ratios: Sequence[float]) -> dict[str, float]:
    """The median of the rounds' ratios, and what it lies between."""
    return {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "rounds": len(ratios)}


def itself(system: Ours) -> Ours:
    """As it is."""
    return system


def without_graphs(system: Ours) -> Ours:
    """Every kernel asked for by itself."""
    system.engine.pool.advance = None
    system.engine._encode = system.engine.model.look
    return system


def exact(system: Ours) -> Ours:
    """Sizes as they come, the host waiting for every token, and the cache copied where beams part."""
    engine = system.engine
    system.engine = Engine(engine.model, engine.preprocess, engine.decoding, slots=engine.slots, static=False)
    system.engine.group = engine.slots  # pictures go through the tower together, as they do there
    system.engine.pool.advance = None
    return system


@contextmanager
def interpreted(ground: Ground) -> Iterator[None]:
    """In a rehearsal, the kernels through Triton's interpreter."""
    if not ground.rehearsal:
        yield
        return
    with mock.patch.object(fused, "usable", lambda x: True):
        yield


def never(x: torch.Tensor) -> bool:
    """In place of `fused.usable`."""
    return False


@contextmanager
def plain() -> Iterator[None]:
    """Without the kernels."""
    with mock.patch.object(fused, "usable", never):
        yield


@contextmanager
def plain_tower() -> Iterator[None]:
    """Without the kernels where pictures are encoded."""
    with mock.patch.object(vision, "fused", SimpleNamespace(usable=never)):
        yield


@contextmanager
def sorted_out() -> Iterator[None]:
    """With torch's own sums and sorting of the vocabulary's scores."""
    replaced = {"normalisers": lambda scores: scores.logsumexp(-1), "candidates": torch.topk}
    with mock.patch.multiple(fused, **replaced):
        yield


@contextmanager
def inside() -> Iterator[None]:
    """With GELU inside a product of our own."""
    with mock.patch.object(fused, "GELU_INSIDE", True):
        yield


def in_stages(ground: Ground, size: str, dtype: torch.dtype, batch: int) -> dict[str, Any]:
    """Milliseconds of each stage of a batch, beside its floor."""
    ground.in_time(30)
    batch = ground.count(batch)
    model, queries, preprocess, decoding = subject(ground, size, dtype, batch)
    found = staged(model, preprocess, decoding, queries, batch, ground.count(5))
    most = ceilings.measured(ground.device, dtype)
    work = counts(model.config, dtype, batch, decoding.max_new_tokens)
    lines = {
        name: {"ms": 1000 * seconds, "floor ms": 1000 * work[name].floor(most) if name in work else None}
        for name, seconds in found.seconds.items()
    }
    return {"stages": lines, "ceilings": asdict(most)}


def batches(ground: Ground) -> dict[str, Any]:
    """Images a second over slots: base, bfloat16."""
    ground.in_time(15)
    model, queries, preprocess, decoding = subject(ground, "base", torch.bfloat16, ground.count(128))
    found: dict[str, Any] = {}
    for slots in (1, 2, 4, 8, 16, 32, 64, 128):
        if time.monotonic() > ground.deadline:
            break
        part = range(min(len(queries), max(4, 2 * slots)))
        ours = Ours(model, preprocess, decoding, queries, slots)
        times, _ = rounds_of(
            {"ours": lambda ours=ours, part=part: ask(ours, part)}, ground.count(3), ground.clock, ground.go_on
        )
        found[f"{slots} slots"] = len(part) / statistics.median(times["ours"])
    return {"images/s": found}


def counts(config: Config, dtype: torch.dtype, batch: int, written: int) -> Mapping[str, ceilings.Work]:
    """Operations and bytes of each stage."""
    return ceilings.counted(
        config, batch=batch, beams=3, side=config.image_size, prompt=10, written=written, size=dtype.itemsize
    )


def floor(ground: Ground, config: Config, dtype: torch.dtype, batch: int, written: int) -> float:
    """Seconds below which no batch can be answered, by ceilings measured now."""
    most = ceilings.measured(ground.device, dtype)
    work = counts(config, dtype, batch, written)
    once = sum(work[name].floor(most) for name in ("vision", "encoder", "prefill"))
    return once + (written - 1) * work["decode"].floor(most)


def reset_peak(ground: Ground) -> None:
    """Memory is counted from here."""
    if ground.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak(ground: Ground) -> float | None:
    """GiB, the most that tensors took."""
    return torch.cuda.max_memory_allocated() / 2**30 if ground.device.type == "cuda" else None


if __name__ == "__main__":
    sys.exit(main())
