"""Stages of a batch of a tiny network, against a clock that ticks per reading and against answers one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import torch

from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.speed import stages
from harness.speed.systems import Queries
from tests.twins import TINY, fast, twins

PREPROCESS = Preprocess(TINY.image_size, TINY.image_size)
LENGTHS = (7, 4)  # of the prompts: the shorter one is padded


@pytest.fixture(scope="module")
def model() -> Florence2:
    return fast(twins(seed=0, ending=5.0).ours)


@pytest.fixture(scope="module")
def queries() -> Queries:
    generator = torch.Generator().manual_seed(0)
    side = TINY.image_size
    pixels = [torch.randint(0, 256, (side, side, 3), generator=generator).byte() for _ in LENGTHS]
    prompts = [torch.randint(4, TINY.text.vocab, (length,), generator=generator).tolist() for length in LENGTHS]
    return Queries(pixels, prompts, "random")


def test_stages_of_fixed_length_take_one_step_per_token_after_the_first(
    model: Florence2, queries: Queries, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that adds a second per reading gives every stage one second, and a step its share of it.

    The first of six tokens is forced, and needs no step.
    """
    readings = itertools.count()
    monkeypatch.setattr(stages, "time", SimpleNamespace(perf_counter=lambda: float(next(readings))))
    decoding = Decoding(max_new_tokens=6, min_new_tokens=6)
    measured = stages.staged(model, PREPROCESS, decoding, queries, 2, 3)
    assert (measured.batch, measured.steps) == (2, 5)
    assert list(measured.seconds) == ["transfer", "vision", "encoder", "prefill", "decode"]
    assert measured.each == {name: [seconds] * 3 for name, seconds in measured.seconds.items()}
    assert measured.seconds == {**dict.fromkeys(measured.seconds, 1.0), "decode": 1 / 5}


def test_stages_give_parsing_the_answers_of_single_queries(model: Florence2, queries: Queries) -> None:
    decoding = Decoding(max_new_tokens=24)
    expected = {}
    with torch.inference_mode():
        for query, (pixels, prompt) in enumerate(zip(queries.pixels, queries.prompts, strict=True)):
            image = model.encode_image(PREPROCESS.normalise(pixels[None]))
            expected[query] = generate(model, model.encode(image, torch.tensor([prompt])), decoding)[0].tokens
    parsed: list[tuple[int, Sequence[int]]] = []

    def parse(ids: Sequence[int], log_probs: Sequence[float], query: int) -> None:
        assert len(log_probs) == len(ids)
        parsed.append((query, ids))

    stages.staged(model, PREPROCESS, decoding, queries, 2, 1, parsing=parse)
    assert len(parsed) == 2 * 2  # the round that is not counted, and the other
    assert all(list(ids) == list(expected[query]) for query, ids in parsed)


def test_stages_of_batch_larger_than_set_repeat_queries(model: Florence2, queries: Queries) -> None:
    opened: list[int] = []
    decoding = Decoding(max_new_tokens=4, min_new_tokens=4)
    measured = stages.staged(model, PREPROCESS, decoding, queries, 3, 1, opening=opened.append)
    assert opened == [0, 1, 0] * 2
    assert next(iter(measured.seconds)) == "open"
