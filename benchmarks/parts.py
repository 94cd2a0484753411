"""What each part of the engine is worth on a CPU: the time without it over the time with it, by turns.

    python benchmarks/parts.py [--rounds 3] [--only PART]

Base size, drawn weights, 768 pixels, 3 beams, 20 new tokens, float32; and florence2-nano-ft on the embedded RefCOCO.
`benchmarks/gpu.py` does the same on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

import harness.__main__  # noqa: F401  before torch: it says how threads wait

# isort: split

import torch
from torch import Tensor, nn

import baselines
import tasks
from baselines.entry import Setting
from harness.evaluation.plan import load
from harness.florence2.config import BASE, with_text
from harness.florence2.decoding import engine
from harness.florence2.decoding.generate import Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import choose, fused, linear, vision
from harness.florence2.fast.strips import convolved
from harness.florence2.fast.vision import ChannelAttention
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed.systems import Ours, drawn, random_model, rounds_of
from tasks import miniature

NONE = 1 << 40  # as a bound: never
Without = Mapping[Any, Mapping[str, Any]] | Callable[[], object]  # what stands in for what, or the other way itself


def main() -> None:
    """Prints a line a part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="parts whose names have this in them")
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    model = choose.accelerated(random_model(with_text(BASE, vocab=51328)), torch.device("cpu"), torch.float32)
    queries = drawn(4, 768, 51328)
    decoding = Decoding(max_new_tokens=20, min_new_tokens=20)
    one = Ours(model, Preprocess(768, 768), decoding, queries, 1)
    pixels = Preprocess(768, 768).normalise(torch.stack(list(queries.pixels)))
    prompt = torch.tensor([queries.prompts[0]])
    image = model.look(pixels[:1])

    def answer() -> object:
        one.submit(0, 0)
        while one.busy:
            one.step()
            one.poll()
        return None

    def write(network: Florence2 = model) -> object:
        pool: Pool[int] = Pool(network, decoding, 1)
        pool.admit([0], network.read(image, prompt))
        while pool.keys:
            pool.step()
        return pool.poll()

    @cache
    def in_eight_bits(*, halved: bool) -> Florence2:
        with ExitStack() as stack:
            if not halved:
                stack.enter_context(mock.patch.object(choose, "_with_half_weights", lambda network: network))
            return choose.accelerated(random_model(model.config), torch.device("cpu"), torch.int8)

    def look() -> object:
        return model.look(pixels[:1])

    def look_at_four() -> object:
        return model.look(pixels)

    parts: tuple[tuple[str, Callable[[], object], Without], ...] = (
        ("linear maps by oneDNN, GELU inside: an answer", answer, {linear: {"_has_onednn": lambda *_: False}}),
        ("the same: encoder and decoder alone", write, {linear: {"_has_onednn": lambda *_: False}}),
        ("maps changed in place, in strips, and the next: vision", look, {vision: {"wanted": lambda x: False}}),
        ("channel attention as one linear map: vision", look, {ChannelAttention: {"in_strips": unfolded}}),
        ("symmetric products on one side of the diagonal: vision", look, {vision: {"BLOCK": NONE}}),
        ("large pictures one at a time: vision of four", look_at_four, {vision: {"LARGE": NONE}}),
        ("weights of few rows in blocks: encoder and decoder", write, {linear: {"_is_packed": lambda *_: False}}),
        ("GELU apart without AVX-512, and MKL: an answer", answer, {linear: {"has_avx512": lambda: True}}),
        (
            "int8, what writes with weights in float16: encoder and decoder",
            lambda: write(in_eight_bits(halved=True)),
            lambda: write(in_eight_bits(halved=False)),
        ),
        (
            "int8: encoder and decoder beside float32",
            lambda: write(in_eight_bits(halved=True)),
            lambda: write(model),
        ),
        (
            "int8: vision beside float32",
            lambda: in_eight_bits(halved=True).look(pixels[:1]),
            lambda: model.look(pixels[:1]),
        ),
        (
            "int8, rows of a map filled up by less: vision",
            lambda: in_eight_bits(halved=True).look(pixels[:1]),
            {linear: {"MAPPED": NONE}},
        ),
        ("cache rows copied only where they move: encoder and decoder", write, {Pool: {"_reorder": every_row}}),
        ("small pictures in whole groups, prompts sixteen at a time: nano's answers", nano(), {engine: {"GROUP": 1}}),
        ("prompts sixteen at a time, alone: nano's answers", nano(), {engine: {"READ": NONE}}),
        ("rows filled up, where oneDNN multiplies: nano's answers", nano(), {linear: {"LARGE": 0}}),
        ("GELU apart in pieces of one size: nano's answers", nano(), {fused: {"gelu_": torch.ops.aten.gelu_}}),
        ("tiny products by torch's default: nano's answers", nano(), {linear: {"TINY": 0}}),
        ("MKL on an Intel CPU: nano's answers", nano(), {linear: {"mkl_is_quick": lambda: False}}),
        ("MKL on an Intel CPU: encoder and decoder", write, {linear: {"mkl_is_quick": lambda: False}}),
    )
    for name, work, without in parts:
        if given.only in name:
            print(json.dumps({"part": name, **worth(work, without, given.rounds)}), flush=True)


def nano() -> Callable[[], object]:
    """The questions of the embedded RefCOCO's val, by a new engine each time."""
    [task] = tasks.select("refcoco")
    root = miniature.ensure()
    asked = [sample.question for sample in load(task, root, "val")]
    model = baselines.find("florence2-nano-ft").load(Setting(root=root))

    def answers() -> object:
        model._engine = None  # type: ignore[attr-defined]
        return list(model.answer(enumerate(asked)))

    return answers


def worth(work: Callable[[], object], without: Without, rounds: int) -> dict[str, float]:
    """Seconds with it, and the ratio."""

    def left_out() -> Any:
        if not isinstance(without, Mapping):
            return without()
        with ExitStack() as stack:
            for owner, attributes in without.items():
                stack.enter_context(mock.patch.multiple(owner, **attributes))
            return work()

    times, _ = rounds_of({"with": work, "without": left_out}, rounds, time.perf_counter)  # type: ignore[dict-item]
    ratios = [slow / fast for fast, slow in zip(times["with"], times["without"], strict=True)]
    return {
        "s": statistics.median(times["with"]), "ratio": statistics.median(ratios), "least": min(ratios),
        "most": max(ratios),
    }  # fmt: skip


def unfolded(self: ChannelAttention, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
    """Queries, keys and values made, and only the output projection folded."""
    for strip, y in convolved(x, conv):
        strip.copy_(y)
    x.add_(self(norm(x)))


def every_row(self: Pool[Any], sources: Tensor, longest: int) -> None:
    """The cache of all beams copied at every step."""
    for buffer in (self.cache.keys, self.cache.values):
        filled = buffer[:, : len(sources), :, :longest]
        filled.copy_(filled.index_select(1, sources))


if __name__ == "__main__":
    main()
