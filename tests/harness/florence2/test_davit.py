"""The tower does the same work in different portions on a CPU; the map must not show it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from harness.florence2 import davit
from harness.florence2.bart import CrossAttention, SelfAttention
from harness.florence2.fast import strips
from tests.twins import TINY, twins


def test_large_pictures_are_encoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = twins(seed=4).ours.vision
    pixels = torch.randn(3, 3, 192, 96, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []
    tower.stages[0].register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    with torch.inference_mode():
        whole = tower(pixels)
        monkeypatch.setattr(davit, "LARGE", 0)
        torch.testing.assert_close(tower(pixels), whole, rtol=1e-4, atol=2e-4)
    assert calls == [3, 1, 1, 1]


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("tokens", [1, 100, 700, 1 << 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_strips_change_nothing(images: int, tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the same blocks on the whole map in float64; the side is no multiple of the window's."""
    monkeypatch.setattr(strips, "STRIP", tokens)
    monkeypatch.setattr(davit, "BLOCK", 7)  # of more channels than that, and no multiple
    tower = twins(seed=4).ours.vision.to(memory_format=torch.channels_last)
    pixels = torch.randn(images, 3, 224, 96, generator=torch.Generator().manual_seed(0))
    folded: list[int] = []
    as_one_map = davit.ChannelAttention.as_one_map

    def counted(self: davit.ChannelAttention, products: Tensor, sums: Tensor, count: int) -> tuple[Tensor, Tensor]:
        folded.append(count)
        return as_one_map(self, products, sums, count)

    monkeypatch.setattr(davit.ChannelAttention, "as_one_map", counted)
    with torch.inference_mode():
        found = copy.deepcopy(tower).to(dtype)(pixels.to(dtype))
        with monkeypatch.context() as whole:
            whole.setattr(davit, "wanted", lambda x: False)
            expected = copy.deepcopy(tower).double()(pixels.double())
    assert bool(folded) is (dtype == torch.float32)
    error = ((found.double() - expected).norm() / expected.norm()).item()
    assert error < {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float64: 1e-13}[dtype]


def test_a_block_changes_its_map_only_where_it_is_told_to() -> None:
    block = twins(seed=4).ours.vision.stages[0].blocks[0]
    x = torch.randn(1, 12, 12, TINY.vision.dims[0])
    before = x.clone()
    with torch.inference_mode():
        expected = block(x)
        assert torch.equal(x, before)
        assert block(x, in_place=True) is x
    torch.testing.assert_close(x, expected)


class Across(nn.Module):
    """Cross attention, to be asked as the others are."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = CrossAttention(TINY.text)

    def forward(self, x: Tensor) -> Tensor:
        heads = x.flatten(0, -2).unflatten(-1, (self.qkv.heads, -1)).transpose(0, 1)[None]
        return self.qkv(x.flatten(1, -2), heads, heads, None)


class Among(nn.Module):
    """Attention among the tokens of a text, likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = SelfAttention(TINY.text)

    def forward(self, x: Tensor) -> Tensor:
        return self.qkv(x.flatten(1, -2), None)


@pytest.mark.parametrize("kind", [
    lambda dim: davit.WindowAttention(dim, 3, 6), lambda dim: davit.ChannelAttention(dim, 3), lambda dim: Among(),
    lambda dim: Across(),
], ids=["windows", "channels", "text", "memory"])  # fmt: skip
def test_products_past_float16s_largest_number_are_scaled_before_they_are_written(kind: type[nn.Module]) -> None:
    """65,504 is the largest.  A query times its own key is past it, and by the scale of attention below it."""
    torch.manual_seed(0)
    dim = TINY.text.width
    with torch.inference_mode():
        attention = kind(dim)  # type: ignore[call-arg]
        for name, weight in attention.named_parameters():
            weight.copy_(torch.eye(dim).repeat(len(weight) // dim, 1) if weight.ndim == 2 else torch.zeros(len(weight)))
            assert "bias" in name or weight.shape[1] == dim
        x = 68 * torch.randn(1, 12, 12, dim).sign() * (1 + torch.rand(1, 12, 12, dim) / 32)
        x = x.half()
        assert (x.double() ** 2).flatten(0, 2).unflatten(-1, (3, -1)).sum(-1).min() > 65504
        expected = copy.deepcopy(attention).double()(x.double())
        found = attention.half()(x)
        assert found.dtype == torch.float16
    assert ((found.double() - expected).norm() / expected.norm()).item() < 0.02
