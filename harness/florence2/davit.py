"""DaViT, Florence-2's vision tower: attention within windows, then across channels.

Shapes, here and in every comment below:
    B  images        H, W  sides of the feature map          C  channels
    S  window side   K     windows in an image               L  tokens in a window, S * S
    N  heads         D     channels in a head, C / N         T  tokens in a map, H * W

The map is (B, H, W, C) throughout; a convolution reads the same memory as a channels-last (B, C, H, W).
Sources: arXiv:2204.03645 for the blocks; the published Florence-2 code for their order.  There, a depthwise
convolution without a norm precedes each attention and each MLP.  `fast.vision` has faster forms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.config import VisionConfig
from harness.florence2.feed_forward import FeedForward


class DaViT(nn.Module):
    """The vision tower: four stages, each a strided convolution and pairs of spatial and channel blocks."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, index) for index in range(4))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that pixels must have."""
        return next(self.parameters()).dtype

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, height, width) to the last map (B, H, W, C)."""
        x = pixels.permute(0, 2, 3, 1)
        for stage in self.stages:
            x = stage(x)
        return x


class Stage(nn.Module):
    """One stage of the tower: a strided convolution, then spatial and channel blocks in turn."""

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
    """A strided convolution with a norm: after it in the first stage, before it in the others."""

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
    """Depthwise convolution, attention, depthwise convolution, MLP; each with a residual connection."""

    def __init__(self, dim: int, mlp_ratio: int, attention: WindowAttention | ChannelAttention) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        x = x + convolve(self.conv1, x)
        x = x + self.attention(self.norm1(x))
        x = x + convolve(self.conv2, x)
        x = x + self.mlp(self.norm2(x))
        return x


class WindowAttention(nn.Module):
    """Self-attention inside each S x S window; no token attends to another window."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{dim} channels do not divide among {heads} heads")
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        height, width = x.shape[1:3]
        # Padding follows the norm and is not masked: the published weights were trained so.
        x = F.pad(x, (0, 0, 0, -width % self.window, 0, -height % self.window))
        padded_height, padded_width = x.shape[1:3]

        x = to_windows(x, self.window)  # (B*K, L, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B*K, N, L, D) each
        x = F.scaled_dot_product_attention(q, k, v)
        x = self.proj(x.transpose(1, 2).flatten(2))  # (B*K, L, C)

        x = from_windows(x, self.window, padded_height, padded_width)
        return x[:, :height, :width]


class ChannelAttention(nn.Module):
    """Attention among the D channels of each of N groups; a channel's features are its values at all T tokens."""

    def __init__(self, dim: int, groups: int) -> None:
        super().__init__()
        if dim % groups:
            raise ValueError(f"{dim} channels do not divide among {groups} groups")
        self.groups = groups
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        height, width = x.shape[1:3]
        x = x.flatten(1, 2)  # (B, T, C)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.groups, -1)).permute(2, 0, 3, 4, 1)  # (B, N, D, T) each
        # The scale comes before the product, which otherwise overflows float16 at the published sizes.
        q = q * (height * width) ** -0.5
        x = (q @ k.mT).softmax(-1) @ v  # (B, N, D, T)
        x = self.proj(x.permute(0, 3, 1, 2).flatten(2))  # (B, T, C)
        return x.view(x.shape[0], height, width, -1)


def to_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) to windows (B*K, L, C); H and W are multiples of `side`."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // side, side, width // side, side, dim)
    return x.transpose(2, 3).reshape(-1, side * side, dim)


def from_windows(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """Windows (B*K, L, C) to (B, H, W, C): the inverse of `to_windows`."""
    dim = x.shape[-1]
    x = x.view(-1, height // side, width // side, side, side, dim)
    return x.transpose(2, 3).reshape(-1, height, width, dim)


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution of (B, H', W', C') to (B, H, W, C), without a copy: the permuted map is channels-last."""
    y: Tensor = conv(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)
