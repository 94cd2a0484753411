"""DaViT, Florence-2's vision tower: attention within windows, then across channels.

Shapes, here and in every comment below:
    B  images        H, W  sides of the feature map        C  channels
    S  window side   K     windows in an image             L  tokens in a window, S * S
    N  heads         D     channels in a head, C / N       T  tokens in a map, H * W

The map is (B, H, W, C) throughout; a convolution sees the same memory as a channels-last (B, C, H, W).
Facts: arXiv:2204.03645 for the blocks; the published Florence-2 code for their order (a depthwise
convolution, not normalised, before each attention and each MLP).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.config import VisionConfig
from harness.florence2.linear import FeedForward, Linear

STRIP = 2048  # tokens


class DaViT(nn.Module):
    """Four stages, each a convolution that shrinks the map and pairs of spatial and channel blocks."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, index) for index in range(4))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, height, width) to the last map (B, H, W, C)."""
        x = pixels.permute(0, 2, 3, 1)
        for stage in self.stages:
            x = stage(x)
        return x


class Stage(nn.Module):
    """One resolution of the tower."""

    def __init__(self, config: VisionConfig, index: int) -> None:
        super().__init__()
        dim = config.dims[index]
        self.embed = PatchEmbed(config, index)
        self.blocks = nn.ModuleList()
        for _ in range(config.depths[index]):
            spatial = WindowAttention(dim, config.heads[index], config.window)
            channel = ChannelAttention(dim, config.groups[index])
            self.blocks.append(Block(dim, config.mlp_ratio, spatial))
            self.blocks.append(Block(dim, config.mlp_ratio, channel))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H', W', C') to (B, H, W, C)."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return x


class PatchEmbed(nn.Module):
    """A strided convolution; the norm comes after it in the first stage and before it in the others."""

    def __init__(self, config: VisionConfig, index: int) -> None:
        super().__init__()
        before = config.dims[index - 1] if index else 3
        self.prenorm = config.prenorm[index]
        self.conv = nn.Conv2d(
            before, config.dims[index], config.patch_size[index], config.stride[index], config.padding[index]
        )
        self.norm = nn.LayerNorm(before if self.prenorm else config.dims[index])

    def forward(self, x: Tensor) -> Tensor:
        """(B, H', W', C') to (B, H, W, C)."""
        x = self.norm(x) if self.prenorm else x
        x = convolve(self.conv, x)
        return x if self.prenorm else self.norm(x)


class Block(nn.Module):
    """Depthwise convolution, attention, depthwise convolution, MLP: four residuals."""

    def __init__(self, dim: int, mlp_ratio: int, attention: nn.Module) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        x = convolve(self.conv1, x).add_(x)
        x = self.attention(self.norm1(x)).add_(x)
        x = convolve(self.conv2, x).add_(x)
        return in_strips(lambda strip: self.mlp(self.norm2(strip)).add_(strip), x)


class WindowAttention(nn.Module):
    """Self-attention inside each S x S window; nothing crosses a window's edge."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels do not divide among {heads} heads")
        self.heads = heads
        self.window = window
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        height, width = x.shape[1:3]
        # Padding comes after the norm and is attended to, as it was when the published weights were trained.
        down, right = -height % self.window, -width % self.window
        if down or right:
            x = F.pad(x, (0, 0, 0, right, 0, down))
        return in_strips(self.attend, x, self.window)[:, :height, :width]

    def attend(self, x: Tensor) -> Tensor:
        """A map of whole windows (B, H, W, C) to the same."""
        height, width = x.shape[1:3]
        x = to_windows(x, self.window)  # (B*K, L, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)  # (B*K, N, L, D)
        x = self.proj(x.transpose(1, 2).flatten(2))  # (B*K, L, C)
        return from_windows(x, self.window, height, width)


class ChannelAttention(nn.Module):
    """Attention among the D channels of a group, each described by its values over all T tokens.

    The D x D attention is folded into the output projection, so the values are read once:
    `proj(v A^T) = v (A^T W^T)`.  It is scaled by T ** -0.5 inside the product, so half precision cannot
    overflow (unscaled products pass 65,504 at the first stage of the published sizes).
    """

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"{dim} channels do not divide among {groups} groups")
        self.groups = groups
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        batch, height, width, dim = x.shape
        q, k, v = self.qkv(x).view(batch, height * width, 3, dim).unbind(2)  # (B, T, C)
        q = q.unflatten(-1, (self.groups, -1)).permute(0, 2, 3, 1).flatten(0, 1)  # (B*N, D, T)
        k = k.unflatten(-1, (self.groups, -1)).permute(0, 2, 1, 3).flatten(0, 1)  # (B*N, T, D)
        scale = (height * width) ** -0.5
        attention = torch.baddbmm(q.new_zeros(()), q, k, beta=0, alpha=scale).softmax(-1)  # (B*N, D, D)

        weight = self.proj.weight.view(dim, self.groups, -1).permute(1, 2, 0)  # (N, D, C)
        folded = attention.view(batch, self.groups, *attention.shape[1:]).transpose(-1, -2) @ weight  # (B, N, D, C)
        x = torch.baddbmm(self.proj.bias, v, folded.flatten(1, 2))  # (B, T, C)
        return x.view(batch, height, width, dim)


def in_strips(function: Callable[[Tensor], Tensor], x: Tensor, multiple: int = 1) -> Tensor:
    """`function` of a map (B, H, W, C), on a CPU in strips of so many rows (or a multiple) that stay in its cache.

    Elsewhere, and where gradients are kept, at once.  What an MLP makes of the first map (75 MB at the base size) is
    otherwise fresh memory each time.
    """
    rows = STRIP // (x.shape[0] * x.shape[2]) // multiple * multiple or multiple
    if x.device.type != "cpu" or x.shape[1] <= rows or torch.is_grad_enabled():
        return function(x)
    return torch.cat([function(x[:, top : top + rows]) for top in range(0, x.shape[1], rows)], dim=1)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """(B, H', W', C') to (B, H, W, C), without copying: the permuted map is channels-last already."""
    y: Tensor = conv(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)


def to_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) to (B*K, L, C).  H and W are multiples of S."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // side, side, width // side, side, dim)
    return x.transpose(2, 3).reshape(-1, side * side, dim)


def from_windows(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """(B*K, L, C) to (B, H, W, C): undoes `to_windows`."""
    dim = x.shape[-1]
    x = x.view(-1, height // side, width // side, side, side, dim)
    return x.transpose(2, 3).reshape(-1, height, width, dim)
