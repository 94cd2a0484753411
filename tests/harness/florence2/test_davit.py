"""The tower does the same work in different portions on a CPU; the map must not show it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from harness.florence2 import davit
from harness.florence2.bart import CrossAttention, SelfAttention
from tests.twins import TINY, twins


@pytest.mark.parametrize(("name", "value"), [("LARGE", 0), ("STRIP", 48)])
def test_portions_change_nothing(name: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tower = twins(seed=4).ours.vision
    pixels = torch.randn(3, 3, 192, 96, generator=torch.Generator().manual_seed(0))
    calls: list[int] = []
    tower.stages[0].register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    with torch.inference_mode():
        whole = tower(pixels)
        monkeypatch.setattr(davit, name, value)
        torch.testing.assert_close(tower(pixels), whole, rtol=1e-4, atol=2e-4)
    assert calls == ([3, 1, 1, 1] if name == "LARGE" else [3, 3])


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
