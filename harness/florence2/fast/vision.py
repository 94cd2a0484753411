"""Faster forms of the vision tower's modules, with the parameters and axis letters of the plain ones (`davit`).

A block has three implementations:
    `in_passes`   on a GPU: convolution, residual and norm are one pass over memory, which also orders the tokens by
                  windows or rows for the next module; the other residuals are added inside matrix products
    `in_strips`   on a CPU without gradients: the map is changed in place, one strip after another
    `forward`     in all other cases: as the plain block, with residuals added in place

Channel attention does not multiply its D x D attention with the values.  It folds the attention into the output
projection, `proj(v A^T) = v (A^T W^T)`, so the values are read once.  On a CPU in float32, for a map with many tokens,
the whole attention becomes one linear map (`as_one_map`).  Only the order of additions differs from the plain modules.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2 import davit
from harness.florence2.davit import convolve, from_windows, to_windows
from harness.florence2.fast import fused
from harness.florence2.fast.linear import FeedForward, Linear, add_product, bias_in_sum, linear
from harness.florence2.fast.strips import convolved, prefers_strips, spans

LARGE = 512 * 512  # pixels; larger images are encoded one at a time on a CPU
BLOCK = 128  # channels; a symmetric product is computed in blocks of so many rows


class DaViT(davit.DaViT):
    """`davit.DaViT` that encodes large images one at a time on a CPU."""

    def forward(self, pixels: Tensor) -> Tensor:
        """See `davit.DaViT.forward`."""
        if _is_large(pixels):
            return torch.cat([self(image[None]) for image in pixels])
        return super().forward(pixels)


class Stage(davit.Stage):
    """`davit.Stage` whose blocks may change the map in place."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H', W', C') to (B, H, W, C)."""
        x = self.embed(x)
        in_place = prefers_strips(x)
        for block in self.blocks:
            x = block(x, in_place=in_place)
        return x


class Block(davit.Block):
    """`davit.Block` with the three implementations above."""

    attention: WindowAttention | ChannelAttention
    mlp: FeedForward

    def forward(self, x: Tensor, *, in_place: bool = False) -> Tensor:
        """(B, H, W, C) to (B, H, W, C); with `in_place` on a CPU, x is overwritten and returned."""
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
        """Changes the map x (B, H, W, C) in place, a strip at a time, and returns it."""
        self.attention.in_strips(x, self.conv1, self.norm1)
        for strip, y in convolved(x, self.conv2):
            torch.add(y, self.mlp(self.norm2(y)), out=strip)
        return x

    def in_passes(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C) in the fewest passes over memory."""
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
    """`davit.WindowAttention` without a copy for padding that is not needed, and in strips or passes."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, H, W, C)."""
        height, width = x.shape[1:3]
        down, right = -height % self.window, -width % self.window
        if down or right:  # F.pad copies the map even without padding
            x = F.pad(x, (0, 0, 0, right, 0, down))
        x = self.proj(self.mix(to_windows(x, self.window)))
        return from_windows(x, self.window, height + down, width + right)[:, :height, :width]

    def in_strips(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> None:
        """Adds the convolution, then the attention of the sum's norm, to a map x (B, H, W, C) in place."""
        for strip, y in convolved(x, conv, self.window):
            torch.add(y, self(norm(y)), out=strip)

    def mix(self, x: Tensor) -> Tensor:
        """Attention without its output projection: windows (B*K, L, C) to (B*K, L, C)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended: Tensor = F.scaled_dot_product_attention(q, k, v)  # (B*K, N, L, D)
        return attended.transpose(1, 2).flatten(2)

    def fits(self, shape: tuple[int, int]) -> int:
        """The window side if a map of this (H, W) divides into windows, which then order its tokens; else 0."""
        return 0 if shape[0] % self.window or shape[1] % self.window else self.window

    def add_to(self, added: Tensor, normed: Tensor, shape: tuple[int, int]) -> Tensor:
        """`added` plus the attention of `normed`; (B, T, C) each, ordered by windows if the map `fits`.

        `added` already contains the `bias_in_sum` of the output projection.
        """
        if self.fits(shape):
            mixed = self.mix(normed.reshape(-1, self.window**2, normed.shape[-1]))
            return add_product(added, mixed.view(normed.shape), self.proj)
        attended: Tensor = self(normed.view(len(normed), *shape, -1)).flatten(1, 2)
        bias = bias_in_sum(self.proj)
        return added + (attended if bias is None else attended - bias)


class ChannelAttention(davit.ChannelAttention):
    """`davit.ChannelAttention` folded into the output projection.

    The scale T ** -0.5 is applied inside the product, so half precision cannot overflow.
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
        """Adds the convolution, then the attention of the sum's norm, to a map x (B, H, W, C) in place.

        In float32, for a map with many tokens, the attention is `as_one_map`.
        """
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
        products = products.triu() + products.triu(1).mT  # symmetric: blocks below the diagonal were not computed
        weight, bias = self.as_one_map(products, sums, height * width)
        for top, bottom in spans(x):
            strip = x[:, top:bottom]
            rows = norm(strip).flatten(1, 2)
            mapped = linear(rows, weight[0], bias[0]) if batch == 1 else torch.baddbmm(bias[:, None], rows, weight.mT)
            strip += mapped.view(strip.shape)

    def as_one_map(self, products: Tensor, sums: Tensor, tokens: int) -> tuple[Tensor, Tensor]:
        """The attention of each image as one linear map: weights (B, out, in) and biases (B, out).

        `products` (B, C, C) is x^T x and `sums` (B, 1, C) the sum of an image's `tokens` tokens x.  Queries, keys and
        values are not computed: `q^T k = Wq (x^T x) Wk^T`, and the values' map is folded like the projection.  Of five
        products over all tokens, two remain; two products of the weights' size are new.
        """
        dim = products.shape[-1]
        # A constant 1 extends each token's channels, so the biases are one more column of the weights.
        last = torch.cat([sums, sums.new_full((len(sums), 1, 1), tokens)], 2).mT
        augmented = torch.cat([torch.cat([products, sums], 1), last], 2)  # (B, C + 1, C + 1)
        query, key, value = torch.cat([self.qkv.weight, self.qkv.bias[:, None]], 1).view(3, dim, dim + 1)
        keys = _products(augmented, key).view(len(sums), dim + 1, self.groups, -1).transpose(1, 2)  # (B, N, C + 1, D)
        queries = query.view(self.groups, -1, dim + 1)  # (N, D, C + 1)
        attention = ((queries @ keys) * tokens**-0.5).softmax(-1)  # (B, N, D, D)
        both = _products(self.fold(attention).mT, value.T.contiguous())  # (B, C, C + 1)
        return both[..., :-1].contiguous(), both[..., -1] + self.proj.bias

    def fold(self, attention: Tensor) -> Tensor:
        """The product of attention (B, N, D, D) and output projection: a map of the values, (B, C, C)."""
        dim = len(self.proj.weight)
        weight = self.proj.weight.view(dim, self.groups, -1).permute(1, 2, 0)  # (N, D, C)
        return (attention.transpose(-1, -2) @ weight).flatten(1, 2)

    def fits(self, shape: tuple[int, int]) -> int:
        """Always 0: tokens are ordered by rows."""
        return 0

    def add_to(self, added: Tensor, normed: Tensor, shape: tuple[int, int]) -> Tensor:
        """See `WindowAttention.add_to`."""
        qkv = self.qkv(normed)
        products = fused.channel_products(qkv, self.groups) * (shape[0] * shape[1]) ** -0.5
        return torch.baddbmm(added, qkv.chunk(3, -1)[2], self.fold(products.softmax(-1).to(qkv.dtype)))


def _products(x: Tensor, weight: Tensor) -> Tensor:
    """`x @ weight.T` by the fastest kernel: (B, M, in), (out, in) to (B, M, out)."""
    return torch.stack([linear(matrix, weight, None) for matrix in x])


def _is_large(pixels: Tensor) -> bool:
    """Whether to encode images one at a time: several large images on a CPU, whose maps exceed its cache anyway."""
    batch, _, height, width = pixels.shape
    return batch > 1 and height * width > LARGE and pixels.device.type == "cpu" and not torch.is_grad_enabled()
