"""Fast text layers versus plain ones, and a lineage cache versus a cache that is reordered."""

from __future__ import annotations

import pytest
import torch

from harness.florence2.bart import Cache
from harness.florence2.fast.text import LineageCache, reads_lineage
from tests.twins import TINY, fast, twins


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@torch.inference_mode()
def test_fast_encoder_and_decoder_equal_plain_ones(dtype: torch.dtype) -> None:
    plain = twins(seed=3).ours
    model = fast(plain)
    plain, model = plain.to(dtype), model.to(dtype)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 4, TINY.text.width, generator=generator).to(dtype)
    prompt, tokens = (torch.randint(4, TINY.text.vocab, (2, 5), generator=generator) for _ in range(2))
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected, memory = plain.encode(image, prompt, real), model.encode(image, prompt, real)
    # 53, 24 and 11 bits.  Values are below 8 in size, and differ by the order of additions in four layers.
    tolerance = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 0.05}[dtype]
    torch.testing.assert_close(memory.keys, expected.keys, rtol=tolerance, atol=tolerance)
    hidden = model.decode(tokens, memory), plain.decode(tokens, expected)
    torch.testing.assert_close(*hidden, rtol=tolerance, atol=tolerance)


@torch.inference_mode()
def test_decode_steps_with_lineage_cache_equal_those_with_reordered_cache() -> None:
    """Two sequences at different positions; their three beams continue random beams at every step."""
    plain = twins(seed=4).ours
    model, plain = fast(plain).double(), plain.double()
    generator = torch.Generator().manual_seed(1)
    text, sequences, beams, starts = TINY.text, 2, 3, [2, 4]
    rows = sequences * beams
    image = torch.randn(sequences, 4, text.width, generator=generator).double()
    memory = plain.encode(image, torch.randint(4, text.vocab, (sequences, 3), generator=generator))
    # Earlier keys and values are noise, different in every row.
    shape = 2, text.decoder_layers, rows, text.heads, 64, text.width // text.heads
    buffers = torch.randn(shape, generator=generator).double()
    reordered, kept = buffers.clone(), buffers.clone()
    lineage = torch.arange(beams).expand(sequences, -1)[..., None].repeat(1, 1, 64).int()
    for step in range(6):
        positions = torch.tensor([start + step for start in starts]).repeat_interleave(beams)
        parents = torch.randint(0, beams, (sequences, beams), generator=generator)
        origin = (beams * torch.arange(sequences)[:, None] + parents).flatten()
        reordered = reordered[:, :, origin]
        lineage = lineage.gather(1, parents[..., None].expand_as(lineage))
        tokens = torch.randint(4, text.vocab, (rows, 1), generator=generator)
        length = max(starts) + step
        mask = torch.arange(length + 1) <= positions[:, None, None, None]
        expected = plain.decode(tokens, memory, Cache(reordered[0], reordered[1], length, positions, mask))
        cache = LineageCache(kept[0], kept[1], length, positions, lineage=lineage)
        # Sums in another order, in float64.
        torch.testing.assert_close(model.decode(tokens, memory, cache), expected, rtol=1e-9, atol=1e-9)
        # Each beam has now written its own position.
        at = positions.view(sequences, beams, 1).long()
        lineage = lineage.scatter(2, at, torch.arange(beams).view(1, -1, 1).expand(sequences, -1, -1).int())


def test_lineage_is_read_by_the_fast_decoder_alone() -> None:
    plain = twins().ours
    assert not reads_lineage(plain.decoder)
    assert reads_lineage(fast(plain).decoder)
