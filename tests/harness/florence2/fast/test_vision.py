"""The tower's fast forms against the plain tower: the same work in other portions must not show in the map."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from harness.florence2.fast import strips, vision
from harness.florence2.fast.choose import FAST, in_forms
from tests.twins import TINY, fast, twins


def test_large_pictures_are_encoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = twins(seed=4).ours
    tower = fast(plain).vision
    pixels = torch.randn(3, 3, 192, 96, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []
    tower.stages[0].register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    with torch.inference_mode():
        expected = plain.vision(pixels)
        torch.testing.assert_close(tower(pixels), expected, rtol=1e-4, atol=2e-4)
        monkeypatch.setattr(vision, "LARGE", 0)
        torch.testing.assert_close(tower(pixels), expected, rtol=1e-4, atol=2e-4)
    assert calls == [3, 1, 1, 1]


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("tokens", [1, 100, 700, 1 << 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_strips_change_nothing(images: int, tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the plain tower in float64; the side is no multiple of the window's."""
    monkeypatch.setattr(strips, "STRIP", tokens)
    monkeypatch.setattr(vision, "BLOCK", 7)  # of more channels than that, and no multiple
    plain = twins(seed=4).ours.vision.to(memory_format=torch.channels_last)
    pixels = torch.randn(images, 3, 224, 96, generator=torch.Generator().manual_seed(0))
    folded: list[int] = []
    as_one_map = vision.ChannelAttention.as_one_map

    def counted(self: vision.ChannelAttention, products: Tensor, sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
        folded.append(count)
        return as_one_map(self, products, sums, count)

    monkeypatch.setattr(vision.ChannelAttention, "as_one_map", counted)
    with torch.inference_mode():
        found = in_forms(copy.deepcopy(plain), FAST).to(dtype)(pixels.to(dtype))
        expected = plain.double()(pixels.double())
    assert bool(folded) is (dtype == torch.float32)
    error = ((found.double() - expected).norm() / expected.norm()).item()
    assert error < {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float64: 1e-13}[dtype]


@pytest.mark.parametrize("number", [0, 1], ids=["windows", "channels"])
def test_a_block_changes_its_map_only_where_it_is_told_to(number: int) -> None:
    plain = twins(seed=4).ours.vision.stages[0].blocks[number]
    block = in_forms(copy.deepcopy(plain), FAST)
    x = torch.randn(1, 12, 12, TINY.vision.dims[0])
    before = x.clone()
    with torch.inference_mode():
        expected = plain(x)
        torch.testing.assert_close(block(x), expected)
        assert torch.equal(x, before)
        assert block(x, in_place=True) is x
    torch.testing.assert_close(x, expected)


def test_fast_tower_has_the_plain_towers_gradients() -> None:
    """With gradients no map is changed in place."""
    plain = twins(seed=4).ours.vision.requires_grad_(True)
    tower = in_forms(copy.deepcopy(plain), FAST)
    pixels = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0))
    for network in (plain, tower):
        network(pixels).square().mean().backward()
    for (name, one), (_, other) in zip(plain.named_parameters(), tower.named_parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4 * one.grad.abs().max().item(), msg=name)
