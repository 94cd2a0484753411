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

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.config import VisionConfig
from harness.florence2.fast import fused
from harness.florence2.fast.linear import FeedForward, Linear, add_product, bias_in_sum, linear
from harness.florence2.fast.strips import convolved, spans, wanted
from harness.florence2.windows import from_windows, to_windows

LARGE = 512 * 512  # pixels
BLOCK = 128  # channels of a symmetric product at a time


class DaViT(nn.Module):
    """Four stages, each a convolution that shrinks the map and pairs of spatial and channel blocks."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.stages = nn.ModuleList(Stage(config, index) for index in range(4))

    @property
    def dtype(self) -> torch.dtype:
        """What pixels are to be in."""
        return next(self.parameters()).dtype

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, height, width) to the last map (B, H, W, C)."""
        if _is_large(pixels):
            return torch.cat([self(one[None]) for one in pixels])
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
        in_place = wanted(x)
        for block in self.blocks:
            x = block(x, in_place=in_place)
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

    def __init__(self, dim: int, mlp_ratio: int, attention: WindowAttention | ChannelAttention) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attention = attention
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, mlp_ratio * dim)

    def forward(self, x: Tensor, *, in_place: bool = False) -> Tensor:
        """(B, H, W, C) to (B, H, W, C), on a CPU also in place."""
        if fused.usable(x):
            return self.in_passes(x)
        if in_place:
            return self.in_strips(x)
        x = convolve(self.conv1, x).add_(x)
        x = self.attention(self.norm1(x)).add_(x)
        x = convolve(self.conv2, x).add_(x)
        out: Tensor = self.mlp(self.norm2(x)).add_(x)
        return out

    def in_strips(self, x: Tensor) -> Tensor:
        """`forward` by which the map itself is changed, a strip at a time."""
        self.attention.in_strips(x, self.conv1, self.norm1)
        for strip, y in convolved(x, self.conv2):
            torch.add(y, self.mlp(self.norm2(y)), out=strip)
        return x

    def in_passes(self, x: Tensor) -> Tensor:
        """`forward` in as few passes over memory as there are: convolution, residual and norm are one, which also
        lays the map out for what follows, and the other residuals are where products are added up."""
        shape = x.shape[1], x.shape[2]
        attention, down = self.attention, self.mlp.down
        window = attention.fits(shape)
        added, normed = fused.convolve_add_norm(
            x.flatten(1, 2), shape, self.conv1, self.norm1, bias_in_sum(attention.proj), window_out=window
        )
        added = attention.add_to(added, normed, shape)
        added, normed = fused.convolve_add_norm(
            added, shape, self.conv2, self.norm2, bias_in_sum(down), window_in=window
        )
        return add_product(added, self.mlp.up(normed, gelu=True), down).view(x.shape)


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
        x = self.proj(self.mix(to_windows(x, self.window)))
        return from_windows(x, self.window, height + down, width + right)[:, :height, :width]

    def in_strips(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
        """The convolution, and `forward` of its norm, added to a map (B, H, W, C) where it is."""
        for strip, y in convolved(x, conv, self.window):
            torch.add(y, self(norm(y)), out=strip)

    def mix(self, x: Tensor) -> Tensor:
        """Windows (B*K, L, C) to the same, before the output projection."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended: Tensor = F.scaled_dot_product_attention(q, k, v)  # (B*K, N, L, D)
        return attended.transpose(1, 2).flatten(2)

    def fits(self, shape: tuple[int, int]) -> int:
        """The side of a window if a map of this (H, W) is whole windows; else 0: it stays in rows."""
        return 0 if shape[0] % self.window or shape[1] % self.window else self.window

    def add_to(self, added: Tensor, normed: Tensor, shape: tuple[int, int]) -> Tensor:
        """What attention makes of `normed`, added; both (B, T, C), in windows where the map `fits`.

        `added` has the output projection's bias already, where `bias_in_sum` gives one.
        """
        if self.fits(shape):
            mixed = self.mix(normed.reshape(-1, self.window**2, normed.shape[-1]))
            return add_product(added, mixed.view(normed.shape), self.proj)
        attended: Tensor = self(normed.view(len(normed), *shape, -1)).flatten(1, 2)
        bias = bias_in_sum(self.proj)
        return added + (attended if bias is None else attended - bias)


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

        folded = self.fold(attention.view(batch, self.groups, *attention.shape[1:]))
        x = torch.baddbmm(self.proj.bias, v, folded)  # (B, T, C)
        return x.view(batch, height, width, dim)

    def in_strips(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
        """The convolution, and `forward` of its norm, added to a map (B, H, W, C) where it is: in float32, and where
        tokens are many, `as_one_map`."""
        batch, height, width, dim = x.shape
        if height * width < 2 * dim or x.dtype != torch.float32 or not isinstance(self.qkv, Linear):
            for strip, y in convolved(x, conv):
                strip.copy_(y)
            x.add_(self(norm(x)))
            return
        products, sums = x.new_zeros(batch, dim, dim), x.new_zeros(batch, 1, dim)
        for strip, y in convolved(x, conv):
            strip.copy_(y)
            rows = norm(y).flatten(1, 2)
            for start in range(0, dim, BLOCK):
                summed = products[:, start : start + BLOCK, start:]
                summed.copy_(torch.baddbmm(summed, rows[..., start : start + BLOCK].mT, rows[..., start:]))
            sums += rows.sum(1, keepdim=True)
        products = products.triu() + products.triu(1).mT  # which is symmetric: what lies below was not multiplied
        weight, bias = self.as_one_map(products, sums, height * width)
        for top, bottom in spans(x):
            strip = x[:, top:bottom]
            rows = norm(strip).flatten(1, 2)
            mapped = linear(rows, weight[0], bias[0]) if batch == 1 else torch.baddbmm(bias[:, None], rows, weight.mT)
            strip += mapped.view(strip.shape)

    def as_one_map(self, products: Tensor, sums: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """The linear map that this is for each image, (B, out, in) and (B, out), given x^T x (B, C, C) of so many
        tokens and their sum (B, 1, C).

        Neither queries, keys nor values are needed: `q^T k = Wq (x^T x) Wk^T`, and the values' map is folded like the
        projection.  Of five products over all tokens two are left, and of the size of the weights two are new.
        """
        dim = products.shape[-1]
        # A one beside each token's channels, and so the biases beside their weights.
        last = torch.cat([sums, sums.new_full((len(sums), 1, 1), tokens)], 2).mT
        augmented = torch.cat([torch.cat([products, sums], 1), last], 2)  # (B, C + 1, C + 1)
        query, key, value = torch.cat([self.qkv.weight, self.qkv.bias[:, None]], 1).view(3, dim, dim + 1)
        keys = (augmented @ key.T).unflatten(-1, (self.groups, -1)).transpose(1, 2)  # (B, N, C + 1, D)
        queries = query.view(self.groups, -1, dim + 1)  # (N, D, C + 1)
        attention = ((queries @ keys) * tokens**-0.5).softmax(-1)  # (B, N, D, D)
        both = self.fold(attention).mT @ value  # (B, C, C + 1)
        return both[..., :-1].contiguous(), both[..., -1] + self.proj.bias

    def fold(self, attention: Tensor) -> Tensor:
        """Attention (B, N, D, D) and the output projection as one map of values, (B, C, C)."""
        dim = len(self.proj.weight)
        weight = self.proj.weight.view(dim, self.groups, -1).permute(1, 2, 0)  # (N, D, C)
        return (attention.transpose(-1, -2) @ weight).flatten(1, 2)

    def fits(self, shape: tuple[int, int]) -> int:
        """Always 0: the map stays in rows."""
        return 0

    def add_to(self, added: Tensor, normed: Tensor, shape: tuple[int, int]) -> Tensor:
        """See `WindowAttention.add_to`."""
        qkv = self.qkv(normed)
        products = fused.channel_products(qkv, self.groups) * (shape[0] * shape[1]) ** -0.5
        return torch.baddbmm(added, qkv.chunk(3, -1)[2], self.fold(products.softmax(-1).to(qkv.dtype)))


def _is_large(pixels: Tensor) -> bool:
    """Whether pictures are better encoded one at a time: several large ones, on a CPU, whose maps its cache cannot hold
    together anyway."""
    batch, _, height, width = pixels.shape
    return batch > 1 and height * width > LARGE and pixels.device.type == "cpu" and not torch.is_grad_enabled()


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """(B, H', W', C') to (B, H, W, C), without copying: the permuted map is channels-last already."""
    y: Tensor = conv(x.permute(0, 3, 1, 2))
    return y.permute(0, 2, 3, 1)
