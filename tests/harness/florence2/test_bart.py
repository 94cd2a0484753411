"""The plain text layers: attention against loops, and decoding token by token against decoding at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.florence2.bart import Cache, CrossAttention, EncoderLayer, Memory, Positions, SelfAttention
from harness.florence2.model import Florence2
from tests.twins import TINY, twins

TEXT = TINY.text
SIZE = TEXT.width // TEXT.heads


def one_token_at_a_time(queries: Tensor, keys: Tensor, values: Tensor, sees: Tensor) -> Tensor:
    """Attention of one sequence, head by head and token by token: (T, E), (S, E), (S, E), (T, S) to (T, E)."""
    out = torch.zeros_like(queries)
    for head in range(TEXT.heads):
        cols = slice(head * SIZE, (head + 1) * SIZE)
        for token in range(len(queries)):
            real = sees[token]
            logits = keys[real][:, cols] @ queries[token, cols] / SIZE**0.5
            out[token, cols] = logits.softmax(0) @ values[real][:, cols]
    return out


@torch.no_grad()
def test_self_attention_sees_every_real_token_or_every_earlier_one() -> None:
    torch.manual_seed(0)
    layer, x = SelfAttention(TEXT), torch.randn(2, 5, TEXT.width)
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    both, causal = layer(x, real[:, None, None]), layer.causal(x, 0, None)
    for row in range(2):
        q, k, v = layer.qkv(x[row]).split(TEXT.width, dim=-1)
        torch.testing.assert_close(both[row], layer.out(one_token_at_a_time(q, k, v, real[row].expand(5, 5))))
        earlier = torch.ones(5, 5, dtype=torch.bool).tril()
        torch.testing.assert_close(causal[row], layer.out(one_token_at_a_time(q, k, v, earlier)))


@torch.no_grad()
def test_beams_of_a_sequence_attend_to_its_memory() -> None:
    torch.manual_seed(1)
    layer, x = CrossAttention(TEXT), torch.randn(6, 2, TEXT.width)  # two sequences of three beams, two tokens each
    keys, values = torch.randn(2, 2, TEXT.heads, 7, SIZE)
    real = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    found = layer(x, keys, values, real[:, None, None])
    for row in range(6):
        k, v = (one[row // 3].transpose(0, 1).flatten(1) for one in (keys, values))
        expected = one_token_at_a_time(layer.query(x[row]), k, v, real[row // 3].expand(2, 7))
        torch.testing.assert_close(found[row], layer.out(expected))


def memory_of(model: Florence2, rows: int) -> Memory:
    draw = torch.Generator().manual_seed(2)
    image = torch.randn(rows, 4, TEXT.width, generator=draw)
    return model.read(image, torch.randint(4, TEXT.vocab, (rows, 3), generator=draw))


@torch.inference_mode()
def test_tokens_fed_one_by_one_give_what_they_give_at_once() -> None:
    """The cache begins with room for one token, and grows."""
    model = twins(seed=6).ours
    tokens = torch.randint(4, TEXT.vocab, (2, 9), generator=torch.Generator().manual_seed(3))
    memory = memory_of(model, 2)
    expected = model.write(tokens, memory)
    cache = Cache.empty(TEXT, 2, memory.keys, room=1)
    found = [model.write(tokens[:, :2], memory, cache)]
    found += [model.write(tokens[:, place, None], memory, cache) for place in range(2, 9)]
    assert cache.length == 9
    torch.testing.assert_close(torch.cat(found, 1), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_rows_at_different_positions_give_what_each_gives_alone() -> None:
    model = twins(seed=7).ours
    tokens = torch.randint(4, TEXT.vocab, (3, 8), generator=torch.Generator().manual_seed(4))
    memory, known = memory_of(model, 3), [5, 2, 7]
    cache = Cache.empty(TEXT, 3, memory.keys)
    for row, count in enumerate(known):
        alone = Cache.empty(TEXT, 1, memory.keys)
        one = Memory(memory.keys[:, row, None], memory.values[:, row, None], None)
        model.write(tokens[row, None, :count], one, alone)
        cache.keys[:, row], cache.values[:, row] = alone.keys[:, 0], alone.values[:, 0]
    cache.length, cache.places = max(known), torch.tensor(known)
    cache.mask = torch.arange(max(known) + 1) <= cache.places[:, None, None, None]
    found = model.write(torch.stack([tokens[row, None, count] for row, count in enumerate(known)]), memory, cache)
    for row, count in enumerate(known):
        one = Memory(memory.keys[:, row, None], memory.values[:, row, None], None)
        expected = model.write(tokens[row, None, : count + 1], one)[0, -1]
        torch.testing.assert_close(found[row, 0], expected, rtol=1e-4, atol=1e-4)


def test_several_tokens_after_the_first_feed_are_refused() -> None:
    model = twins().ours
    memory = memory_of(model, 1)
    cache = Cache.empty(TEXT, 1, memory.keys)
    model.write(torch.tensor([[2, 0]]), memory, cache)
    with pytest.raises(ValueError, match="one token at a time"):
        model.write(torch.tensor([[5, 6]]), memory, cache)


def test_positions_past_the_table_are_refused() -> None:
    with pytest.raises(ValueError, match="65 tokens; this checkpoint has positions for 64"):
        Positions(TEXT)(60, 5)


@torch.inference_mode()
def test_encoder_layer_in_float16_stays_within_transformers_bound() -> None:
    """torch.finfo(float16).max - 1000 is 64504."""
    layer = EncoderLayer(TEXT)
    layer.mlp_norm.bias.copy_(torch.linspace(-7e4, 7e4, TEXT.width))
    found = layer.half()(torch.randn(1, 3, TEXT.width).half(), None)
    assert found.abs().max() == 64504
