"""The gain of each part of the engine on a CPU: the time without the part over the time with it, in alternation.

    python benchmarks/parts.py [--rounds 3] [--only PART]

Base size with random weights, 768 pixels, 3 beams, 20 new tokens, float32; and florence2-nano-ft on the embedded
RefCOCO.  `benchmarks/gpu.py` measures the parts on a GPU.
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

import harness.__main__  # noqa: F401  before torch: it sets how threads wait

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
from harness.florence2.fast.quantised import HalfLinear
from harness.florence2.fast.strips import convolved
from harness.florence2.fast.vision import ChannelAttention
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed.scenarios import ask
from harness.speed.systems import Ours, drawn, random_model, rounds_of
from tasks import miniature

NEVER = 1 << 40  # a bound that no size reaches
Without = Mapping[Any, Mapping[str, Any]] | Callable[[], object]  # replaced attributes, or the work without the part


@torch.no_grad()
def main() -> None:
    """Prints one line per part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (3)")
    parser.add_argument("--only", default="", help="part of the names of the parts to measure (all)")
    options = parser.parse_args()
    model = choose.accelerated(random_model(with_text(BASE, vocab=51328)), torch.device("cpu"), torch.float32)
    queries = drawn(4, 768, 51328)
    decoding = Decoding(max_new_tokens=20, min_new_tokens=20)
    system = Ours(model, Preprocess(768, 768), decoding, queries, 1)
    pixels = Preprocess(768, 768).normalise(torch.stack(list(queries.pixels)))
    prompt = torch.tensor([queries.prompts[0]])
    image = model.encode_image(pixels[:1])

    def answer() -> object:
        return ask(system, [0])

    def write(network: Florence2 = model, sequences: int = 1) -> object:
        pool: Pool[int] = Pool(network, decoding, sequences)
        images, prompts = image.expand(sequences, -1, -1), prompt.expand(sequences, -1)
        pool.admit(list(range(sequences)), network.encode(images, prompts))
        while pool.keys:
            pool.step()
        return pool.poll()

    @cache
    def in_eight_bits(*, halved: bool, shortlist: bool = True) -> Florence2:
        with ExitStack() as stack:
            if not shortlist:
                stack.enter_context(mock.patch.object(choose, "ShortlistHead", HalfLinear))
            if not halved:
                stack.enter_context(mock.patch.object(choose, "_with_half_weights", lambda network: network))
            return choose.accelerated(random_model(model.config), torch.device("cpu"), torch.int8)

    def look() -> object:
        return model.encode_image(pixels[:1])

    def look_at_four() -> object:
        return model.encode_image(pixels)

    parts: tuple[tuple[str, Callable[[], object], Without], ...] = (
        ("linear maps by oneDNN, with GELU: one answer", answer, {linear: {"_has_onednn": lambda *_: False}}),
        ("linear maps by oneDNN, with GELU: encoder and decoder", write, {linear: {"_has_onednn": lambda *_: False}}),
        ("maps in strips, and linear channel attention: vision", look, {vision: {"prefers_strips": lambda x: False}}),
        ("channel attention as one linear map: vision", look, {ChannelAttention: {"in_strips": unfolded}}),
        ("one triangle of symmetric products: vision", look, {vision: {"BLOCK": NEVER}}),
        ("large images one at a time: vision of four", look_at_four, {vision: {"LARGE": NEVER}}),
        ("weights of few rows in blocks: encoder and decoder", write, {linear: {"_is_packed": lambda *_: False}}),
        ("GELU in its own pass and MKL, without AVX-512: one answer", answer, {linear: {"has_avx512": lambda: True}}),
        (
            "int8 with float16 decoder weights: encoder and decoder",
            lambda: write(in_eight_bits(halved=True)),
            lambda: write(in_eight_bits(halved=False)),
        ),
        (
            "int8, float32 shortlist of the vocabulary: encoder and decoder",
            lambda: write(in_eight_bits(halved=True)),
            lambda: write(in_eight_bits(halved=True, shortlist=False)),
        ),
        (
            "few rows of heavy weights by oneDNN on an Intel CPU: encoder and decoder, four sequences",
            lambda: write(sequences=4),
            {linear: {"SINGLE": NEVER}},
        ),
        (
            "int8 versus float32: encoder and decoder",
            lambda: write(in_eight_bits(halved=True)),
            lambda: write(model),
        ),
        (
            "int8 versus float32: vision",
            lambda: in_eight_bits(halved=True).encode_image(pixels[:1]),
            lambda: model.encode_image(pixels[:1]),
        ),
        (
            "int8, less padding of the rows of a map: vision",
            lambda: in_eight_bits(halved=True).encode_image(pixels[:1]),
            {linear: {"MAPPED": NEVER}},
        ),
        ("cache rows copied only where they move: encoder and decoder", write, {Pool: {"_reorder": every_row}}),
        ("small images in groups of eight, prompts sixteen at a time: nano's answers", nano(), {engine: {"GROUP": 1}}),
        ("prompts sixteen at a time: nano's answers", nano(), {engine: {"READ": NEVER}}),
        ("padded rows where oneDNN multiplies: nano's answers", nano(), {linear: {"LARGE": 0}}),
        ("GELU in pieces of one size: nano's answers", nano(), {fused: {"gelu_": torch.ops.aten.gelu_}}),
        ("tiny products by MKL: nano's answers", nano(), {linear: {"TINY": 0}}),
        ("MKL on an Intel CPU: nano's answers", nano(), {linear: {"mkl_is_quick": lambda: False}}),
        ("MKL on an Intel CPU: encoder and decoder", write, {linear: {"mkl_is_quick": lambda: False}}),
    )
    for name, work, without in parts:
        if options.only in name:
            print(json.dumps({"part": name, **worth(work, without, options.rounds)}), flush=True)


def nano() -> Callable[[], object]:
    """Returns work that answers the questions of the embedded RefCOCO's val split, with a new engine each time."""
    [task] = tasks.select("refcoco")
    root = miniature.ensure()
    questions = [sample.question for sample in load(task, root, "val")]
    model = baselines.find("florence2-nano-ft").load(Setting(root=root))

    def answers() -> object:
        model._engine = None  # type: ignore[attr-defined]
        return list(model.answer(enumerate(questions)))

    return answers


def worth(work: Callable[[], object], without: Without, rounds: int) -> dict[str, float]:
    """Returns the median seconds with the part, and the ratio of the time without it with its least and most."""

    def work_without() -> Any:
        if not isinstance(without, Mapping):
            return without()
        with ExitStack() as stack:
            for owner, attributes in without.items():
                stack.enter_context(mock.patch.multiple(owner, **attributes))
            return work()

    times, _ = rounds_of({"with": work, "without": work_without}, rounds, time.perf_counter)  # type: ignore[dict-item]
    ratios = [slow / fast for fast, slow in zip(times["with"], times["without"], strict=True)]
    return {
        "s": statistics.median(times["with"]), "ratio": statistics.median(ratios), "least": min(ratios),
        "most": max(ratios),
    }  # fmt: skip


def unfolded(self: ChannelAttention, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
    """Channel attention in strips, with separate queries, keys and values."""
    for strip, y in convolved(x, conv):
        strip.copy_(y)
    x.add_(self(norm(x)))


def every_row(self: Pool[Any], sources: Tensor, longest: int) -> None:
    """Copies the cache rows of all beams at every step."""
    for buffer in (self.cache.keys, self.cache.values):
        filled = buffer[:, : len(sources), :, :longest]
        filled.copy_(filled.index_select(1, sources))


if __name__ == "__main__":
    main()
