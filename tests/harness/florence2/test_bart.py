"""The plain text layers: attention versus loops, and decode steps versus decoding all tokens at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.florence2.bart import Cache, CrossAttention, EncoderLayer, Memory, Positions, SelfAttention
from harness.florence2.model import Florence2
from tests.twins import TINY, twins

TEXT = TINY.text
SIZE = TEXT.width // TEXT.heads


def slow_attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of one sequence in loops over heads and tokens: (T, E), (S, E), (S, E), (T, S) to (T, E)."""
    out = torch.zeros_like(queries)
    for head in range(TEXT.heads):
        cols = slice(head * SIZE, (head + 1) * SIZE)
        for token in range(len(queries)):
            real = mask[token]
            logits = keys[real][:, cols] @ queries[token, cols] / SIZE**0.5
            out[token, cols] = logits.softmax(0) @ values[real][:, cols]
    return out


@torch.no_grad()
def test_self_attention_with_padding_or_causal_mask_equals_loop() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(TEXT), torch.randn(2, 5, TEXT.width)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    bidirectional, causal = layer(x, real[:, None, None]), layer.causal(x, 0, None)
    for row in range(2):
        q, k, v = layer.qkv(x[row]).split(TEXT.width, dim=-1)
        torch.testing.assert_close(bidirectional[row], layer.out(slow_attention(q, k, v, real[row].expand(5, 5))))
        earlier = torch.ones(5, 5, dtype=torch.bool).tril()
        torch.testing.assert_close(causal[row], layer.out(slow_attention(q, k, v, earlier)))


@torch.no_grad()
def test_cross_attention_beams_of_a_sequence_attend_to_its_memory() -> None:
    torch.manual_seed(1)
    layer, x = CrossAttention(TEXT), torch.randn(6, 2, TEXT.width)  # two sequences of three beams, two tokens each
    keys, values = torch.randn(2, 2, TEXT.heads, 7, SIZE)
    real = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    attended = layer(x, keys, values, real[:, None, None])
    for row in range(6):
        k, v = (tensor[row // 3].transpose(0, 1).flatten(1) for tensor in (keys, values))
        expected = slow_attention(layer.query(x[row]), k, v, real[row // 3].expand(2, 7))
        torch.testing.assert_close(attended[row], layer.out(expected))


def memory_of(model: Florence2, rows: int) -> Memory:
    """Encoder memory of random image tokens and prompts, in float64."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(rows, 4, TEXT.width, generator=generator).double()
    return model.encode(image, torch.randint(4, TEXT.vocab, (rows, 3), generator=generator))


# Decode steps sum in another order than decoding at once.  In float64 that changes hidden states by far less than 1e-9.
@torch.inference_mode()
def test_decode_steps_with_growing_cache_equal_decoding_at_once() -> None:
    """The cache begins with a capacity of one token."""
    model = twins(seed=6).ours.double()
    tokens = torch.randint(4, TEXT.vocab, (2, 9), generator=torch.Generator().manual_seed(3))
    memory = memory_of(model, 2)
    expected = model.decode(tokens, memory)
    cache = Cache.empty(TEXT, 2, memory.keys, capacity=1)
    hidden = [model.decode(tokens[:, :2], memory, cache)]
    hidden += [model.decode(tokens[:, position, None], memory, cache) for position in range(2, 9)]
    assert cache.length == 9
    torch.testing.assert_close(torch.cat(hidden, 1), expected, rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_decode_step_with_rows_at_different_positions_equals_each_row_alone() -> None:
    model = twins(seed=7).ours.double()
    tokens = torch.randint(4, TEXT.vocab, (3, 8), generator=torch.Generator().manual_seed(4))
    memory, lengths = memory_of(model, 3), [5, 2, 7]
    cache = Cache.empty(TEXT, 3, memory.keys)
    for row, length in enumerate(lengths):
        alone = Cache.empty(TEXT, 1, memory.keys)
        memory_of_row = Memory(memory.keys[:, row, None], memory.values[:, row, None], None)
        model.decode(tokens[row, None, :length], memory_of_row, alone)
        cache.keys[:, row], cache.values[:, row] = alone.keys[:, 0], alone.values[:, 0]
    cache.length, cache.positions = max(lengths), torch.tensor(lengths)
    cache.mask = torch.arange(max(lengths) + 1) <= cache.positions[:, None, None, None]
    last = torch.stack([tokens[row, None, length] for row, length in enumerate(lengths)])
    hidden = model.decode(last, memory, cache)
    for row, length in enumerate(lengths):
        memory_of_row = Memory(memory.keys[:, row, None], memory.values[:, row, None], None)
        expected = model.decode(tokens[row, None, : length + 1], memory_of_row)[0, -1]
        torch.testing.assert_close(hidden[row, 0], expected, rtol=1e-9, atol=1e-9)


def test_decode_several_tokens_after_prefill_is_refused() -> None:
    model = twins().ours.double()
    memory = memory_of(model, 1)
    cache = Cache.empty(TEXT, 1, memory.keys)
    model.decode(torch.tensor([[2, 0]]), memory, cache)
    with pytest.raises(ValueError, match="one token at a time"):
        model.decode(torch.tensor([[5, 6]]), memory, cache)


def test_positions_past_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="65 tokens; this checkpoint has positions for 64"):
        Positions(TEXT)(60, 5)


@torch.inference_mode()
def test_encoder_layer_in_float16_is_clamped_as_in_transformers() -> None:
    """torch.finfo(float16).max - 1000 is 64504."""
    torch.manual_seed(0)
    layer = EncoderLayer(TEXT)
    layer.mlp_norm.bias.copy_(torch.linspace(-7e4, 7e4, TEXT.width))
    encoded = layer.half()(torch.randn(1, 3, TEXT.width).half(), None)
    assert encoded.abs().max() == 64504
