"""The network in fewer bits, all of it or its linear maps.

`bfloat16` is so where numbers may grow large and most of the work is, from pixels to image tokens; what reads and
writes texts, whose numbers are normalised at every turn, is in float16 on a GPU and float32 on a CPU.  For bins of a
location lie close to each other: of florence2-nano-ft's location tokens 98.4 in 100 stay what they are in float32 that
way, and 95.4 with bfloat16 throughout, which keeps eight bits of a number where float16 keeps eleven.

On a CPU, what writes, a few rows at a time, waits for weights to be read: in `bfloat16` and `int8` these are in
float16, read in less than half of float32's time (`HalfLinear`).  Eight bits gained little more, and lost bins.

Linear maps in eight bits are an option that trades a little accuracy for speed.
Weights are rounded once, each output channel by its own largest value; what is fed in is rounded as it comes, each row
by itself, so that what else is in the batch changes nothing.

`int8`, for a CPU: whole numbers, summed as such by oneDNN, through the operator that torch.compile's own code calls;
everything between the maps is float32.  So is channel attention, which is one linear map that way (`as_one_map`).  A
CPU without VNNI sums pairs of products in sixteen bits, where two large ones do not fit: there, weights are rounded to
[-63, 63], and that is said.

`float8`, for a GPU that multiplies it: e4m3, summed in float32; everything between the maps is bfloat16, and so is the
map to the vocabulary, whose scores would tie, and the output map of channel attention, whose weight is folded into
another product.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.errors import ResourceError
from harness.florence2.davit import ChannelAttention
from harness.florence2.fast import settings
from harness.florence2.fast.fused import gelu_, to_float8
from harness.florence2.fast.linear import Head, Linear, filled
from harness.florence2.model import Florence2

log = logging.getLogger(__name__)
FLOAT8 = torch.float8_e4m3fn
TAIL = 8  # bytes behind a row: the step and the least value, float32 each
LEAST = 1e-20  # of what one of the whole numbers is worth, so that what is of one value divides by something


class Int8Linear(nn.Module):
    """A `Linear` with eight-bit weights and inputs, by oneDNN.

    Rows are rounded in one pass, by what FBGEMM has for tables of embeddings: to whole numbers of 0 to 255 from their
    least to their largest value, which it writes behind them.  There the weight is nought, and what a row's least value
    is worth is added to its sums.
    """

    def __init__(self, like: Linear) -> None:
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
    """A `Linear` with weights in float16 and all else in float32, by FBGEMM."""

    def __init__(self, like: Linear) -> None:
        super().__init__()
        bias = None if like.bias is None else like.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack_fp16(like.weight.detach().float(), bias)

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out), float32."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self.packed)
        return gelu_(out) if gelu else out


def whole(like: Linear) -> tuple[Tensor, Tensor]:
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
    """A `Linear` with eight-bit weights and inputs, and bfloat16 around it.  Both sizes are multiples of 16."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, like: Linear) -> None:
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


def in_precision(model: Florence2, device: torch.device, dtype: torch.dtype) -> Florence2:
    """The model with these weights, changed in place, as above; ResourceError where the device or this build of torch
    has no kernel for eight bits."""
    if dtype == torch.int8:
        if not hasattr(torch.ops.onednn, "qlinear_pointwise"):
            raise ResourceError("int8 needs a torch with oneDNN, which this is not; try --dtype float32")
        if largest_weight() < 127:
            log.warning("this CPU has no VNNI: int8 weights are rounded to seven bits, and less is gained in speed")
        model = _halved_writing(model.float())
        _replaced(model, Int8Linear, lambda parent, _: not isinstance(parent, ChannelAttention))
        return model
    if dtype == torch.bfloat16:
        model = model.to(device=device, dtype=torch.float32 if device.type == "cpu" else torch.float16)
        model.vision.to(dtype)
        model.fusion.to(dtype)
        return _halved_writing(model) if device.type == "cpu" else model
    if dtype != FLOAT8:
        return model.to(device=device, dtype=dtype)
    model = model.to(device=device, dtype=torch.bfloat16)
    try:
        with settings.cuda(device), torch.inference_mode():
            Float8Linear(Linear(1024, 1024, device=device, dtype=torch.bfloat16))(
                torch.ones(16, 1024, device=device).bfloat16()
            )
    except (RuntimeError, ValueError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise ResourceError(f"{device} does not multiply float8 ({reason}); try --dtype bfloat16") from error
    with settings.cuda(device):
        _replaced(model, Float8Linear, _is_for_float8)
    return model


def _halved_writing(model: Florence2) -> Florence2:
    """With `HalfLinear`s where few rows at a time are multiplied, if they are to be had."""
    if "fbgemm" in torch.backends.quantized.supported_engines:
        _replaced(model.decoder.layers, HalfLinear, lambda *_: True)
        model.lm_head = HalfLinear(model.lm_head)  # type: ignore[assignment]
    return model


def _replaced(
    model: nn.Module, kind: Callable[[Linear], nn.Module], wanted: Callable[[nn.Module, Linear], bool]
) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear) and wanted(parent, child):
                setattr(parent, name, kind(child))


def _is_for_float8(parent: nn.Module, child: Linear) -> bool:
    folded = isinstance(parent, ChannelAttention) and child is parent.proj
    return not folded and not isinstance(child, Head) and child.in_features % 16 == child.out_features % 16 == 0
