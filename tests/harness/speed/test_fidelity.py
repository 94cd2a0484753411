"""Agreement and error of a network versus its float32 source."""

from __future__ import annotations

import copy

import pytest
import torch

from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.speed.fidelity import digest, fidelity
from tests.exported import PREPROCESS, SMALL, queries, small

PLACES = 4 * 40  # four answers of 40 tokens


def test_equal_network_agrees_everywhere_without_an_error() -> None:
    model = small().ours
    assert fidelity(model, copy.deepcopy(model), PREPROCESS, queries()) == {
        "agreement": 1.0, "places": PLACES, "tower error": 0.0,
    }  # fmt: skip


@torch.no_grad()
def test_error_is_relative_to_the_norm_of_the_image_tokens() -> None:
    """The last norm's weight and bias scale the image tokens: a tenth more is an error of a tenth."""
    model = copy.deepcopy(small().ours)
    model.fusion.norm.weight *= 1.1
    model.fusion.norm.bias *= 1.1
    assert fidelity(small().ours, model, PREPROCESS, queries())["tower error"] == pytest.approx(0.1, rel=1e-4)


@torch.no_grad()
def test_agreement_is_the_share_of_equal_tokens_of_whole_forward_passes() -> None:
    """One forward pass of each network over the source's greedy answers, without a cache, gives the same share."""
    source, model = small().ours, copy.deepcopy(small().ours)
    model.decoder.norm.bias += 0.3 * torch.randn(SMALL.text.width, generator=torch.Generator().manual_seed(0))
    decoding = Decoding(beams=1, max_new_tokens=40, min_new_tokens=40)
    equal = 0
    for query in range(4):
        pixels = PREPROCESS.normalise(queries().pixels[query][None])
        prompt = torch.tensor([list(queries().prompts[query])])
        [answer] = generate(source, source.encode(source.encode_image(pixels), prompt), decoding)
        tokens = torch.tensor([[decoding.start, *answer.tokens[:-1]]])
        own, other = (network(pixels, prompt, None, tokens).argmax(-1) for network in (source, model))
        equal += int((own == other).sum())
    assert 0 < equal < PLACES
    assert fidelity(source, model, PREPROCESS, queries())["agreement"] == equal / PLACES


def test_digest_is_of_names_and_weights() -> None:
    model = copy.deepcopy(small().ours)
    before = digest(model)
    assert digest(small().ours) == before
    with torch.no_grad():
        model.fusion.norm.bias[0] += 1
    assert digest(model) != before
