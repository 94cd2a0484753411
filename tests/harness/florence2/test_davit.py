"""The modules of the vision tower versus slow loops; `test_model` compares the whole network with transformers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.florence2.bart import CrossAttention, SelfAttention
from harness.florence2.davit import Block, ChannelAttention, WindowAttention, from_windows, to_windows
from harness.florence2.fast.choose import FAST, Forms, in_forms
from tests.twins import TINY


def slow_window_attention(layer: WindowAttention, x: Tensor) -> Tensor:
    """The layer in loops over images, windows and heads."""
    side, heads = layer.window, layer.heads
    b, h, w, c = x.shape
    out = torch.zeros(b, -(-h // side) * side, -(-w // side) * side, c)
    padded = torch.zeros_like(out)
    padded[:, :h, :w] = x
    for i in range(b):
        for top in range(0, out.shape[1], side):
            for left in range(0, out.shape[2], side):
                tokens = padded[i, top : top + side, left : left + side].reshape(-1, c)
                q, k, v = layer.qkv(tokens).split(c, dim=-1)
                pieces = []
                for n in range(heads):
                    cols = slice(n * c // heads, (n + 1) * c // heads)
                    logits = q[:, cols] @ k[:, cols].T / (c // heads) ** 0.5
                    pieces.append(logits.softmax(-1) @ v[:, cols])
                window = layer.proj(torch.cat(pieces, -1)).view(side, side, c)
                out[i, top : top + side, left : left + side] = window
    return out[:, :h, :w]


@pytest.mark.parametrize("forms", [{}, FAST], ids=["plain", "fast"])
@pytest.mark.parametrize(("height", "width"), [(6, 9), (7, 8), (3, 3), (2, 5)])
@torch.no_grad()
def test_window_attention_with_and_without_padding_equals_loop(height: int, width: int, forms: Forms) -> None:
    torch.manual_seed(0)
    layer = WindowAttention(dim=8, heads=2, window=3)
    x = torch.randn(2, height, width, 8)
    torch.testing.assert_close(in_forms(layer, forms)(x), slow_window_attention(layer, x))


def slow_channel_attention(layer: ChannelAttention, x: Tensor) -> Tensor:
    """The layer in loops over images and channels; a channel attends to the channels of its group."""
    b, h, w, c = x.shape
    size = c // layer.groups
    out = torch.zeros(b, h * w, c)
    for i in range(b):
        q, k, v = layer.qkv(x[i].reshape(h * w, c)).split(c, dim=-1)  # (T, C) each
        for n in range(c):
            group = range(n // size * size, n // size * size + size)
            logits = torch.stack([q[:, n] @ k[:, other] / (h * w) ** 0.5 for other in group])
            for share, other in zip(logits.softmax(0), group, strict=True):
                out[i, :, n] += share * v[:, other]
    mapped: Tensor = layer.proj(out)
    return mapped.view(b, h, w, c)


@pytest.mark.parametrize("forms", [{}, FAST], ids=["plain", "fast"])
@pytest.mark.parametrize(("height", "width", "groups"), [(6, 9, 2), (3, 3, 1), (1, 5, 4)])
@torch.no_grad()
def test_channel_attention_equals_loop(height: int, width: int, groups: int, forms: Forms) -> None:
    torch.manual_seed(0)
    layer = ChannelAttention(dim=8, groups=groups)
    x = torch.randn(2, height, width, 8)
    torch.testing.assert_close(in_forms(layer, forms)(x), slow_channel_attention(layer, x))


def test_from_windows_inverts_to_windows() -> None:
    x = torch.arange(2 * 6 * 9 * 4, dtype=torch.float32).view(2, 6, 9, 4)
    torch.testing.assert_close(from_windows(to_windows(x, 3), 3, 6, 9), x, rtol=0, atol=0)


@pytest.mark.parametrize("build", [lambda: WindowAttention(8, 3, 3), lambda: ChannelAttention(8, 3)])
def test_heads_and_groups_that_do_not_divide_channels_are_refused(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match="8 channels do not divide among 3"):
        build()


@torch.no_grad()
def test_block_without_attention_and_mlp_is_its_two_convolutions_with_residuals() -> None:
    """Attention and MLP have output maps of zeros."""
    block = Block(4, 2, ChannelAttention(4, 1))
    for part in (block.attention.proj, block.mlp.down):
        part.weight.zero_()
        part.bias.zero_()
    x = torch.randn(1, 5, 6, 4)
    planes = x.permute(0, 3, 1, 2)
    expected = planes + block.conv1(planes)
    expected = expected + block.conv2(expected)
    torch.testing.assert_close(block(x), expected.permute(0, 2, 3, 1))


class CrossAttentionOfMap(nn.Module):
    """Cross-attention of a map to itself, with the interface of the tower's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = CrossAttention(TINY.text)

    def forward(self, x: Tensor) -> Tensor:
        heads = x.flatten(0, -2).unflatten(-1, (self.qkv.heads, -1)).transpose(0, 1)[None]
        return self.qkv(x.flatten(1, -2), heads, heads, None)


class SelfAttentionOfMap(nn.Module):
    """A text layer's self-attention on a map, with the interface of the tower's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = SelfAttention(TINY.text)

    def forward(self, x: Tensor) -> Tensor:
        return self.qkv(x.flatten(1, -2), None)


@pytest.mark.parametrize("forms", [{}, FAST], ids=["plain", "fast"])
@pytest.mark.parametrize("kind", [
    lambda dim: WindowAttention(dim, 3, 6), lambda dim: ChannelAttention(dim, 3), lambda dim: SelfAttentionOfMap(),
    lambda dim: CrossAttentionOfMap(),
], ids=["windows", "channels", "text", "memory"])  # fmt: skip
def test_attention_in_float16_with_products_beyond_its_range_scales_before_it_stores(
    kind: Callable[[int], nn.Module], forms: Forms
) -> None:
    """A query times its own key exceeds 65,504, float16's largest number; times the scale of attention it does not."""
    torch.manual_seed(0)
    dim = TINY.text.width
    with torch.inference_mode():
        attention = in_forms(kind(dim), forms)
        for name, weight in attention.named_parameters():
            weight.copy_(torch.eye(dim).repeat(len(weight) // dim, 1) if weight.ndim == 2 else torch.zeros(len(weight)))
            assert "bias" in name or weight.shape[1] == dim
        x = 68 * torch.randn(1, 12, 12, dim).sign() * (1 + torch.rand(1, 12, 12, dim) / 32)
        x = x.half()
        assert (x.double() ** 2).flatten(0, 2).unflatten(-1, (3, -1)).sum(-1).min() > 65504
        expected = copy.deepcopy(attention).double()(x.double())
        attended = attention.half()(x)
        assert attended.dtype == torch.float16
    # float16 has 11 bits: logits near 2,000 are rounded to multiples of 1, and each softmax is dominated by one logit.
    assert ((attended.double() - expected).norm() / expected.norm()).item() < 0.02
