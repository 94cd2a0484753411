"""The modules that are exported, versus transformers' network with the same weights; without an export."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from harness.florence2.exported.graphs import PARTS, VERSION, modules, plain
from tests.exported import SIDE, SMALL, small
from tests.twins import fast, inputs, reference_logits


@torch.no_grad()
def test_graphs_one_token_at_a_time_give_transformers_logits() -> None:
    """In float64, where the order of sums changes logits by less than 1e-9; the second prompt has padding."""
    batch = inputs(SMALL, SIDE, SIDE)
    batch = batch._replace(pixels=batch.pixels.double())
    expected = reference_logits(small(), batch)  # (B, T, V)
    graphs = modules(copy.deepcopy(small().ours).double())
    image = graphs["vision"](batch.pixels)
    length = image.shape[1] + batch.prompt.shape[1]
    mask = torch.zeros(2, 1, 1, length, dtype=torch.float64)
    mask[:, 0, 0, image.shape[1] :].masked_fill_(~batch.real, -torch.inf)
    keys, values = graphs["encoder"](image, batch.prompt, mask)
    text = SMALL.text
    past = torch.full((2, text.decoder_layers, 2, 1, text.heads, 8, text.width // text.heads), 3.0).double()
    for place in range(batch.tokens.shape[1]):
        past_mask = torch.zeros(2, 1, 1, 1, 8).double()
        past_mask[..., place:] = -torch.inf  # the positions that are not filled yet hold 3.0
        scores, new_keys, new_values = graphs["decoder"](
            batch.tokens[:, place].view(2, 1, 1), torch.full((2, 1, 1), place), past_mask, torch.zeros(1, 1).double(),
            mask, list(past[0]), list(past[1]), list(keys), list(values),
        )  # fmt: skip
        past[0, :, :, :, :, place], past[1, :, :, :, :, place] = new_keys[..., 0, :], new_values[..., 0, :]
        torch.testing.assert_close(scores[:, 0], expected[:, place], rtol=0, atol=1e-9)


@torch.no_grad()
def test_decoder_graph_of_several_new_tokens_gives_last_ones_logits() -> None:
    """A prefill: new tokens attend to those before them, and the cache is masked."""
    batch = inputs(SMALL, SIDE, SIDE)
    batch = batch._replace(pixels=batch.pixels.double(), real=torch.ones_like(batch.real))
    expected = reference_logits(small(), batch)[:, -1]
    model = copy.deepcopy(small().ours).double()
    memory = model.encode(model.encode_image(batch.pixels), batch.prompt)
    count, text = batch.tokens.shape[1], SMALL.text
    past = [torch.ones(2, 1, text.heads, 3, text.width // text.heads).double()] * text.decoder_layers
    masked = torch.full((2, 1, 1, 1, 3), -torch.inf).double()
    causal = torch.full((count, count), -torch.inf).double().triu(1)
    scores, keys, _ = modules(model)["decoder"](
        batch.tokens.view(2, 1, count), torch.arange(count).expand(2, 1, -1), masked,
        causal, torch.zeros(2, 1, 1, memory.keys.shape[3]).double(), past, past, list(memory.keys), list(memory.values),
    )  # fmt: skip
    torch.testing.assert_close(scores[:, 0], expected, rtol=0, atol=1e-9)
    assert keys.shape == (text.decoder_layers, 2, 1, text.heads, count, text.width // text.heads)


def test_plain_network_shares_weights_of_the_fast_one() -> None:
    model = fast(small().ours)
    copied = plain(model)
    assert type(copied.vision.stages[0]).__module__ == "harness.florence2.davit"
    own: dict[str, Tensor] = model.state_dict()
    for name, weight in copied.state_dict().items():
        assert weight.data_ptr() == own[name].data_ptr(), name


def test_plain_network_of_half_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="float32 weights"):
        plain(copy.deepcopy(small().ours).half())


def test_parts_and_version() -> None:
    assert tuple(modules(small().ours)) == PARTS
    assert VERSION >= 1
