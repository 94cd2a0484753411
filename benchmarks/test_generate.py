"""Ours versus transformers' default on the CPU: the same weights, images and tokens, in alternation in one process.

    python -m pytest benchmarks -p benchmark -o addopts= --benchmark-only      (or: make bench)

The order of the two sides alternates from round to round, and the record has the median of the rounds' ratios.
`vision` is the image encoder alone; `answer` is everything from pixels to token ids, with 3 beams.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.interleaved import interleaved, quote, rounds
from harness.florence2.config import BASE, with_text
from harness.florence2.decoding.generate import generate, padded
from harness.florence2.decoding.search import Decoding
from tests.twins import Twins, fast, twins, with_image_tokens

ROUNDS = rounds(5)


@pytest.fixture(scope="module")
def base() -> Twins:
    """Random weights at the published base size; ours in its fast forms."""
    both = twins(with_text(BASE, vocab=51328), seed=0, spread=0.15)
    return both._replace(ours=fast(both.ours))


def record(benchmark: Any, name: str, times: dict[str, list[float]]) -> None:
    versions = {"threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": version("transformers")}
    quote(benchmark, name, times, ours="ours", theirs="transformers", **versions)


def inputs(twin: Twins, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    pixels = torch.randn(batch, 3, 768, 768, generator=generator)
    prompt = torch.randint(4, 50000, (batch, 10), generator=generator)
    return pixels, prompt, torch.ones_like(prompt, dtype=torch.bool)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("tokens", [20, 100])
def test_answer_versus_transformers(benchmark: Any, base: Twins, batch: int, tokens: int) -> None:
    pixels, prompt, real = inputs(base, batch)
    places, mask = with_image_tokens(base, prompt, real, base.ours.config.image_tokens)
    ids: dict[str, Tensor] = {}

    def ours() -> None:
        with torch.inference_mode():
            memory = base.ours.encode(base.ours.encode_image(pixels), prompt)
            decoding = Decoding(beams=3, max_new_tokens=tokens)
            ids["ours"] = padded(generate(base.ours, memory, decoding), decoding)

    def theirs() -> None:
        with torch.inference_mode():
            ids["theirs"] = base.reference.generate(
                input_ids=places, attention_mask=mask, pixel_values=pixels, num_beams=3, max_new_tokens=tokens,
                do_sample=False, early_stopping=True, no_repeat_ngram_size=3, forced_bos_token_id=0,
                forced_eos_token_id=2, decoder_start_token_id=2, eos_token_id=2, pad_token_id=1,
            )  # fmt: skip

    times = interleaved({"ours": ours, "transformers": theirs}, ROUNDS)
    assert torch.equal(ids["ours"], ids["theirs"])
    record(benchmark, f"answer, batch {batch}, {tokens} new tokens, 3 beams", times)
    benchmark.pedantic(ours, rounds=1)


@pytest.mark.parametrize("batch", [1, 4])
def test_vision_versus_transformers(benchmark: Any, base: Twins, batch: int) -> None:
    pixels, _, _ = inputs(base, batch)

    def ours() -> None:
        with torch.inference_mode():
            base.ours.encode_image(pixels)

    def theirs() -> None:
        with torch.inference_mode():
            base.reference.model.get_image_features(pixels)

    record(benchmark, f"vision, batch {batch}", interleaved({"ours": ours, "transformers": theirs}, ROUNDS))
    benchmark.pedantic(ours, rounds=1)
