"""Linear maps in fewer bits, each made from the one that it replaces; `choose` says where they are used.

`Int8Linear`, for a CPU: whole numbers, summed as such by oneDNN, through the operator that torch.compile's own code
calls.  A CPU without VNNI sums pairs of products in sixteen bits, where two large ones do not fit: there, weights are
rounded to [-63, 63].

`Float8Linear`, for a GPU that multiplies it: e4m3, summed in float32.

In both, weights are rounded once, each output channel by its own largest value.  Inputs are rounded at every call, each
row by itself, so that the rest of the batch changes nothing.

`HalfLinear`, for a CPU: weights in float16, inputs and results in float32.  Few rows wait for weights to be read, and
these are half as long.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.fast.fused import gelu_, to_float8
from harness.florence2.fast.linear import filled

FLOAT8 = torch.float8_e4m3fn
TAIL = 8  # bytes behind a row: the step and the least value, float32 each
LEAST = 1e-20  # of what one of the whole numbers is worth, so that what is of one value divides by something


class Int8Linear(nn.Module):
    """A linear map with eight-bit weights and inputs, by oneDNN.

    Rows are rounded in one pass, by what FBGEMM has for tables of embeddings: to whole numbers of 0 to 255 from their
    least to their largest value, which it writes behind them.  There the weight is nought, and what a row's least value
    is worth is added to its sums.
    """

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        rounded, self.scale = whole(like)
        self.packed = torch.ops.onednn.qlinear_prepack(F.pad(rounded, (0, TAIL)), None)
        self.sums = rounded.sum(1) * self.scale  # (out,)
        self.zero = torch.zeros(len(rounded), dtype=torch.int32)
        self.bias = torch.zeros_like(self.scale) if like.bias is None else like.bias.detach().float()

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), float32."""
        rounded = torch.ops.quantized.embedding_bag_byte_prepack(x.reshape(-1, x.shape[-1]))
        step, least = rounded[:, -TAIL:].contiguous().view(torch.float32).split(1, dim=1)  # (rows, 1) each
        step = step.clamp_min(LEAST)
        given = filled(rounded, self.packed.numel())
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            given, 1.0, 0, self.packed, self.scale, self.zero, None, 1.0, 0, torch.float32, "none", [], ""
        )
        out = out[: len(rounded)].addcmul_(least / step, self.sums)
        out = torch.addcmul(self.bias, out, step, out=out)
        return (gelu_(out) if gelu else out).view(*x.shape[:-1], -1)


class HalfLinear(nn.Module):
    """A linear map with weights in float16 and all else in float32, by FBGEMM."""

    def __init__(self, like: nn.Linear) -> None:
        super().__init__()
        bias = None if like.bias is None else like.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(like.weight.detach().float(), bias)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), float32."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return gelu_(out) if gelu else out


def whole(like: nn.Linear) -> tuple[Tensor, Tensor]:
    """A weight (out, in) as whole numbers, int8, and what one of them is worth of each output, (out,)."""
    weight, most = like.weight.detach().float(), largest_weight()
    scale = (weight.abs().amax(1) / most).clamp_min(LEAST)
    return (weight / scale[:, None]).round().to(torch.int8), scale


@cache
def largest_weight() -> int:
    """127 where sums of the largest products are whole on this CPU; 63 where they are cut off at sixteen bits."""
    inputs, weight = torch.full((1, 64), 255, dtype=torch.uint8), torch.full((1, 64), 127, dtype=torch.int8)
    one, zero = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    packed = torch.ops.onednn.qlinear_prepack(weight, None)
    product = torch.ops.onednn.qlinear_pointwise(
        inputs, 1.0, 0, packed, one, zero, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return 127 if product.item() == 64 * 255 * 127 else 63


class Float8Linear(nn.Module):
    """A linear map with eight-bit weights and inputs, and bfloat16 around it.  Both sizes are multiples of 16."""

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
