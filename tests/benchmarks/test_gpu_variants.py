"""Variants of the engine and of its kernels: what they replace, and that they are undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks import gpu_variants
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import fused, vision
from harness.florence2.preprocess import Preprocess
from harness.speed.scenarios import ask
from harness.speed.systems import Ours, drawn
from tests.twins import TINY, fast, twins

X = torch.empty(1)


def test_contexts_replace_kernels_and_restore_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "usable", lambda x: True)
    with gpu_variants.plain():
        assert not fused.usable(X)
    with gpu_variants.plain_tower():
        assert not vision.fused.usable(X) and fused.usable(X)
    inside = fused.GELU_INSIDE
    with gpu_variants.gelu_inside():
        assert fused.GELU_INSIDE is True
    assert fused.GELU_INSIDE is inside
    assert fused.usable(X) and vision.fused.usable(X)


@pytest.mark.parametrize("rehearsal", [False, True])
def test_interpreted_uses_kernels_in_rehearsal_only(rehearsal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "usable", lambda x: False)
    with gpu_variants.interpreted(rehearsal):
        assert fused.usable(X) is rehearsal
    assert fused.usable(X) is False


def test_torch_search_is_logsumexp_and_topk() -> None:
    scores = torch.tensor([[1.0, 3.0, 2.0]])
    with gpu_variants.torch_search():
        assert torch.equal(fused.normalisers(scores), scores.logsumexp(-1))
        assert fused.candidates(scores, 2)[1].tolist() == [[1, 2]]


@pytest.mark.parametrize("change", [gpu_variants.unchanged, gpu_variants.without_graphs, gpu_variants.exact])
def test_variants_of_engine_give_same_answers(change: Callable[[Ours], Ours]) -> None:
    model, preprocess = fast(twins(seed=0, ending=5.0).ours), Preprocess(TINY.image_size, TINY.image_size)
    queries = drawn(4, TINY.image_size, TINY.text.vocab, length=7)
    decoding = Decoding(max_new_tokens=12)
    expected = ask(Ours(model, preprocess, decoding, queries, 2), range(4))
    varied = change(Ours(model, preprocess, decoding, queries, 2))
    assert ask(varied, range(4)) == expected
    assert varied.engine.pool.advance is None
