"""Faster forms of the tower's modules, with the parameters of the plain ones (`davit`, whose axis letters hold here).

A block has three ways, and chooses by where its map is:
    on a GPU, `in_passes`: convolution, residual and norm are one pass over memory, which also lays the map out in
    windows or rows for what follows; the other residuals are added inside matrix products;
    on a CPU without gradients, `in_strips`: the map is changed in place, one strip after another;
    elsewhere the plain way, but that residuals are added in place.

Channel attention never multiplies its D x D attention with the values: it folds the attention into the output
projection, `proj(v A^T) = v (A^T W^T)`, so that the values are read once.  On a CPU in float32, where a map has many
tokens, the whole attention becomes one linear map (`as_one_map`).  Only the order of additions differs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2 import davit
from harness.florence2.davit import convolve, from_windows, to_windows
from harness.florence2.fast import fused
from harness.florence2.fast.linear import FeedForward, Linear, add_product, bias_in_sum, linear
from harness.florence2.fast.strips import convolved, spans, wanted

LARGE = 512 * 512  # pixels
BLOCK = 128  # channels of a symmetric product at a time


class DaViT(davit.DaViT):
    """The tower; on a CPU it encodes large images one at a time."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, height, width) to the last map (B, H, W, C)."""
        if _is_large(pixels):
            return torch.cat([self(image[None]) for image in pixels])
        return super().forward(pixels)


class Stage(davit.Stage):
    """One resolution of the tower, whose blocks may change the map in place."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H', W', C') to (B, H, W, C)."""
        x = self.embed(x)
        in_place = wanted(x)
        for block in self.blocks:
            x = block(x, in_place=in_place)
        return x


class Block(davit.Block):
    """Depthwise convolution, attention, depthwise convolution, MLP: four residuals."""

    attention: WindowAttention | ChannelAttention
    mlp: FeedForward

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
        """`forward` that changes the map itself, a strip at a time."""
        self.attention.in_strips(x, self.conv1, self.norm1)
        for strip, y in convolved(x, self.conv2):
            torch.add(y, self.mlp(self.norm2(y)), out=strip)
        return x

    def in_passes(self, x: Tensor) -> Tensor:
        """`forward` in the fewest passes over memory."""
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


class WindowAttention(davit.WindowAttention):
    """Self-attention inside each S x S window; nothing crosses a window's edge."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        height, width = x.shape[1:3]
        down, right = -height % self.window, -width % self.window
        if down or right:  # else padding would copy the map
            x = F.pad(x, (0, 0, 0, right, 0, down))
        x = self.proj(self.mix(to_windows(x, self.window)))
        return from_windows(x, self.window, height + down, width + right)[:, :height, :width]

    def in_strips(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
        """The convolution, and `forward` of its norm, added to a map (B, H, W, C) in place."""
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
        """`added` plus the attention of `normed`; both (B, T, C), in windows where the map `fits`.

        `added` has the output projection's bias already, where `bias_in_sum` gives one.
        """
        if self.fits(shape):
            mixed = self.mix(normed.reshape(-1, self.window**2, normed.shape[-1]))
            return add_product(added, mixed.view(normed.shape), self.proj)
        attended: Tensor = self(normed.view(len(normed), *shape, -1)).flatten(1, 2)
        bias = bias_in_sum(self.proj)
        return added + (attended if bias is None else attended - bias)


class ChannelAttention(davit.ChannelAttention):
    """Attention among the D channels of a group, folded into the output projection.

    It is scaled by T ** -0.5 inside the product, so half precision cannot overflow.
    """

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
        """The convolution, and `forward` of its norm, added to a map (B, H, W, C) in place: in float32, and where
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
        products = products.triu() + products.triu(1).mT  # symmetric: the part below the diagonal was not multiplied
        weight, bias = self.as_one_map(products, sums, height * width)
        for top, bottom in spans(x):
            strip = x[:, top:bottom]
            rows = norm(strip).flatten(1, 2)
            mapped = linear(rows, weight[0], bias[0]) if batch == 1 else torch.baddbmm(bias[:, None], rows, weight.mT)
            strip += mapped.view(strip.shape)

    def as_one_map(self, products: Tensor, sums: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """The linear map that the attention is for each image, (B, out, in) and (B, out), from x^T x (B, C, C) of so
        many tokens and their sum (B, 1, C).

        Queries, keys and values are never made: `q^T k = Wq (x^T x) Wk^T`, and the values' map is folded like the
        projection.  Of five products over all tokens two are left, and two products of the weights' size are new.
        """
        dim = products.shape[-1]
        # Each token's channels are extended by a one, so that the biases are one more column of the weights.
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
    """Whether to encode images one at a time: several large ones, on a CPU, whose maps its cache cannot hold together
    anyway."""
    batch, _, height, width = pixels.shape
    return batch > 1 and height * width > LARGE and pixels.device.type == "cpu" and not torch.is_grad_enabled()
