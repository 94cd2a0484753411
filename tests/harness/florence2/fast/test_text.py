"""Fast text layers against the plain ones, and beams that copy nothing against a cache that is reordered."""

from __future__ import annotations

import pytest
import torch

from harness.florence2.bart import Cache
from harness.florence2.fast.text import LineageCache, reads_lineage
from tests.twins import TINY, fast, twins


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@torch.inference_mode()
def test_encoder_and_decoder_give_what_the_plain_ones_give(dtype: torch.dtype) -> None:
    plain = twins(seed=3).ours
    model = fast(plain)
    plain, model = plain.to(dtype), model.to(dtype)
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(2, 4, TINY.text.width, generator=draw).to(dtype)
    prompt, tokens = (torch.randint(4, TINY.text.vocab, (2, 5), generator=draw) for _ in range(2))
    real = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    expected, found = plain.read(image, prompt, real), model.read(image, prompt, real)
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(found.keys, expected.keys, **close)
    torch.testing.assert_close(model.write(tokens, found), plain.write(tokens, expected), **close)


@torch.inference_mode()
def test_beams_that_copy_nothing_give_what_a_reordered_cache_gives() -> None:
    """Two sequences at different positions, three beams each, which take each other's place at every step."""
    plain = twins(seed=4).ours
    model = fast(plain)
    draw = torch.Generator().manual_seed(1)
    text, sequences, beams, begun = TINY.text, 2, 3, [2, 4]
    rows = sequences * beams
    image = torch.randn(sequences, 4, text.width, generator=draw)
    memory = plain.read(image, torch.randint(4, text.vocab, (sequences, 3), generator=draw))
    # A past of noise, which is each row's own.
    buffers = torch.randn(2, text.decoder_layers, rows, text.heads, 64, text.width // text.heads, generator=draw)
    copied, kept = buffers.clone(), buffers.clone()
    lineage = torch.arange(beams).expand(sequences, -1)[..., None].repeat(1, 1, 64).int()
    for step in range(6):
        places = torch.tensor([one + step for one in begun]).repeat_interleave(beams)
        parents = torch.randint(0, beams, (sequences, beams), generator=draw)
        origin = (beams * torch.arange(sequences)[:, None] + parents).flatten()
        copied = copied[:, :, origin]
        lineage = lineage.gather(1, parents[..., None].expand_as(lineage))
        tokens = torch.randint(4, text.vocab, (rows, 1), generator=draw)
        length = max(begun) + step
        mask = torch.arange(length + 1) <= places[:, None, None, None]
        expected = plain.write(tokens, memory, Cache(copied[0], copied[1], length, places, mask))
        cache = LineageCache(kept[0], kept[1], length, places, lineage=lineage)
        torch.testing.assert_close(model.write(tokens, memory, cache), expected, rtol=1e-4, atol=1e-4)
        # From here on each beam has written its own place.
        at = places.view(sequences, beams, 1).long()
        lineage = lineage.scatter(2, at, torch.arange(beams).view(1, -1, 1).expand(sequences, -1, -1).int())


def test_only_the_fast_decoder_reads_lineage() -> None:
    plain = twins().ours
    assert not reads_lineage(plain.decoder)
    assert reads_lineage(fast(plain).decoder)
