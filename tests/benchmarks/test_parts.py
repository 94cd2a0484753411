"""Parts left out on a CPU: their replacements are in place during their own rounds, and compute the same."""

from __future__ import annotations

import copy
from types import ModuleType, SimpleNamespace

import torch
from torch import nn

from harness.florence2.bart import Cache
from harness.florence2.decoding.generate import Pool
from harness.florence2.fast.vision import ChannelAttention
from tests.twins import TINY, fast, twins


class Owner:
    """Has the attribute that is replaced."""

    part = True


def test_worth_replaces_attributes_in_rounds_without_part_only(parts: ModuleType) -> None:
    """Each way has two rounds, and one that is not counted."""
    seen: list[bool] = []
    figures = parts.worth(lambda: seen.append(Owner.part), {Owner: {"part": False}}, 2)
    assert seen.count(True) == seen.count(False) == 3
    assert Owner.part is True
    assert figures["least"] <= figures["ratio"] <= figures["most"]


def test_worth_calls_other_way_where_one_is_given(parts: ModuleType) -> None:
    calls: list[str] = []
    parts.worth(lambda: calls.append("with"), lambda: calls.append("without"), 1)
    assert calls == ["with", "without", "without", "with"]


def test_unfolded_channel_attention_equals_linear_map(parts: ModuleType) -> None:
    """A float32 sum of n products differs by at most n * eps of its terms; the longest one is over the tokens."""
    blocks = (module for module in fast(twins().ours).modules() if isinstance(module, ChannelAttention))
    attention = next(blocks)
    dim, side = TINY.vision.dims[0], 24
    conv, norm = nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.LayerNorm(dim)
    with torch.inference_mode():
        x = torch.randn(2, side, side, dim, generator=torch.Generator().manual_seed(0))
        folded, unfolded = x.clone(), x.clone()
        attention.in_strips(folded, conv, norm)
        parts.unfolded(attention, unfolded, conv, norm)
    tolerance = side * side * torch.finfo(torch.float32).eps * folded.abs().max().item()
    torch.testing.assert_close(unfolded, folded, rtol=0, atol=tolerance)
    assert not torch.allclose(folded, x, atol=0.1)


def test_every_row_copies_what_reorder_copies(parts: ModuleType) -> None:
    """Rows 1 and 2 change places, row 0 stays; positions from 5 on hold no tokens yet."""
    keys, values = torch.randn(2, 2, 3, 2, 8, 4, generator=torch.Generator().manual_seed(0))  # (L, rows, N, T, D)
    pools = [SimpleNamespace(cache=Cache(keys.clone(), values.clone(), 5)) for _ in range(2)]
    sources = torch.tensor([0, 2, 1])
    Pool._reorder(pools[0], sources, 5)  # type: ignore[arg-type]
    parts.every_row(pools[1], sources, 5)
    for name, buffer in (("keys", keys), ("values", values)):
        expected = copy.deepcopy(buffer)
        expected[:, :, :, :5] = buffer[:, [0, 2, 1], :, :5]
        for pool in pools:
            assert torch.equal(getattr(pool.cache, name), expected)
