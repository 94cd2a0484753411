"""Linear maps in fewer bits, each built from the map that it replaces; `choose` decides where they are used.

`Int8Linear` (CPU) has int8 factors and integer sums, by oneDNN, through the operator that code from torch.compile
calls.  A CPU without VNNI sums pairs of products in 16 bits, which two large products overflow.  There, weights are
rounded to [-63, 63].

`Float8Linear` (GPU) has e4m3 factors and float32 sums.

Both round weights once, with a scale per output channel.  Both round inputs at every call, with a scale per row, so a
row's result does not depend on the rest of the batch.

`HalfLinear` (CPU) has float16 weights, and inputs and results in float32.  A product of few rows is bound by reading
the weights, which have half the bytes of float32.

`ShortlistHead` (CPU) is the map to the vocabulary's scores.  Its int8 scores choose the best words of each row, which
then get float32 scores: in eight bits, the scores of adjacent location bins would tie.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.fast.fused import gelu_, to_float8
from harness.florence2.fast.linear import pad_rows

FLOAT8 = torch.float8_e4m3fn
TAIL = 8  # bytes behind a rounded row: its step and its least value, float32 each
LEAST = 1e-20  # lower bound of a step: a constant row is not divided by zero
SHORTLIST = 64  # words of a row with float32 scores; beam search considers the two best of each beam


class Int8Linear(nn.Module):
    """A linear map with int8 weights and uint8 inputs, by oneDNN.

    FBGEMM's operator for embedding tables rounds a row to integers 0..255, from its least to its largest value, and
    appends step and least value (TAIL bytes).  Weights of these bytes are 0.  A row's least value contributes
    least * sums of the weights, which is added to its product.
    """

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        rounded, self.scale = rounded_weight(like)
        self.packed = torch.ops.onednn.qlinear_prepack(F.pad(rounded, (0, TAIL)), None)
        self.sums = rounded.sum(1) * self.scale  # (out,)
        self.zero = torch.zeros(len(rounded), dtype=torch.int32)
        self.bias = torch.zeros_like(self.scale) if like.bias is None else like.bias.detach().float()

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), float32."""
        rounded = torch.ops.quantized.embedding_bag_byte_prepack(x.reshape(-1, x.shape[-1]))
        step, least = rounded[:, -TAIL:].contiguous().view(torch.float32).split(1, dim=1)  # (rows, 1) each
        step = step.clamp_min(LEAST)
        padded = pad_rows(rounded, self.packed.numel())
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            padded, 1.0, 0, self.packed, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        out = out[: len(rounded)].addcmul_(least / step, self.sums)
        out = torch.addcmul(self.bias, out, step, out=out)
        return (gelu_(out) if gelu else out).view(*x.shape[:-1], len(self.sums))

    def __deepcopy__(self, memo: dict[int, Any]) -> Int8Linear:
        """Itself: nothing in it changes, and torch cannot copy a weight in oneDNN's blocks."""
        return self


class HalfLinear(nn.Module):
    """A linear map with float16 weights, by FBGEMM; all other numbers are float32."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        bias = None if like.bias is None else like.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(like.weight.detach().float(), bias)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), float32."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return gelu_(out) if gelu else out


class ShortlistHead(nn.Module):
    """The vocabulary's scores from int8 weights; those of each row's `SHORTLIST` best words from float32 weights."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        self.all_words = Int8Linear(like)
        self.weight = like.weight.detach().float()  # (V, in); the embedding's memory, if they are tied

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to scores (..., V), float32."""
        rows = x.reshape(-1, x.shape[-1])
        scores: Tensor = self.all_words(rows)
        best = scores.topk(min(SHORTLIST, scores.shape[1])).indices  # (rows, SHORTLIST)
        scores.scatter_(1, best, torch.bmm(self.weight[best], rows[..., None])[..., 0])
        return scores.view(*x.shape[:-1], scores.shape[1])


def rounded_weight(like: nn.Linear) -> tuple[Tensor, Tensor]:
    """A weight (out, in) in int8, and the scale of each output channel, (out,)."""
    weight, largest = like.weight.detach().float(), largest_weight()
    scale = (weight.abs().amax(1) / largest).clamp_min(LEAST)
    return (weight / scale[:, None]).round().to(torch.int8), scale


@cache
def largest_weight() -> int:
    """The largest rounded weight: 127, or 63 if this CPU saturates sums of two products at 16 bits."""
    inputs, weight = torch.full((1, 64), 255, dtype=torch.uint8), torch.full((1, 64), 127, dtype=torch.int8)
    one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    product = torch.ops.onednn.qlinear_pointwise(
        inputs, 1.0, 0, packed, one, zero, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return 127 if product.item() == 64 * 255 * 127 else 63


class Float8Linear(nn.Module):
    """A linear map with e4m3 weights and inputs, and bfloat16 results; both sizes are multiples of 16."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        weight, scale = to_float8(like.weight.detach().float())
        self.register_buffer("weight", weight, persistent=False)  # (out, in)
        self.register_buffer("scale", scale.T, persistent=False)  # (1, out)
        bias = None if like.bias is None else like.bias.detach().bfloat16()
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), bfloat16."""
        rounded, by_row = to_float8(x.reshape(-1, x.shape[-1]))
        out = torch._scaled_mm(
            rounded, self.weight.T, by_row, self.scale, self.bias, out_dtype=torch.bfloat16, use_fast_accum=False
        )
        return (F.gelu(out) if gelu else out).view(*x.shape[:-1], -1)
