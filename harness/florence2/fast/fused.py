"""Steps that a GPU does in one pass over memory and torch in several: each with what it computes in plain torch.

Where the tensors are on a GPU, Triton is installed and no gradients are kept, `kernels` does them; elsewhere the plain
functions here do.  Both are tested against each other.

Shapes: B images, T tokens of a map, H x W of them, C channels; G groups of D channels; R rows, K beams of C slots; N
heads of D channels; M places of a cache; V words.
"""

from __future__ import annotations

import logging
from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.davit import from_windows, to_windows

log = logging.getLogger(__name__)
MOST = 448.0  # the largest number of e4m3
LEAST = 1e-12  # of a row's largest value, so that a row of zeros divides by something
PIECE = 2**16  # numbers, whose GELU takes longer than calling oneDNN
GELU_INSIDE = False  # a product of our own with GELU inside, for cuBLAS's and a pass: not measured on a GPU yet


def usable(x: Tensor) -> bool:
    """Whether the kernels take this."""
    return x.is_cuda and not torch.is_grad_enabled() and _kernels() is not None


def convolve_add_norm(
    x: Tensor,
    shape: tuple[int, int],
    conv: nn.Conv2d,
    norm: nn.LayerNorm,
    bias: Tensor | None = None,
    *,
    window_in: int = 0,
    window_out: int = 0,
) -> tuple[Tensor, Tensor]:
    """A depthwise 3 x 3 convolution of a map (B, T, C) of this (H, W), plus the map, and the norm of that sum.

    `bias` (C,) is added to the sum but not to what is normalised: that of a linear map whose product will be added.
    The map is read by rows or, with a window's side, window after window, and written so.  Gives two of (B, T, C).
    """
    kernels = _kernels() if usable(x) else None
    if kernels is not None:
        both = kernels.convolve_add_norm(
            x, shape, (conv.weight, conv.bias), (norm.weight, norm.bias, norm.eps), bias, window_in, window_out
        )
        return both[0], both[1]
    (batch, _, dim), (height, width) = x.shape, shape
    rows = from_windows(x, window_in, height, width) if window_in else x.view(batch, height, width, dim)
    planes = rows.permute(0, 3, 1, 2)
    rows = (conv(planes) + planes).permute(0, 2, 3, 1)
    rows = to_windows(rows, window_out).view(rows.shape) if window_out else rows
    added = rows.flatten(1, 2)
    return added if bias is None else added + bias, norm(added)


def add_norm(x: Tensor, y: Tensor, norm: nn.LayerNorm) -> Tensor:
    """The norm of x + y, both (..., C)."""
    kernels = _kernels() if usable(x) else None
    if kernels is not None:
        fused: Tensor = kernels.add_norm(x, y, (norm.weight, norm.bias, norm.eps))
        return fused
    out: Tensor = norm(x + y)
    return out


def channel_products(qkv: Tensor, groups: int) -> Tensor:
    """Queries times keys, summed over the tokens: (B, T, 3C) to (B, G, D, D), float32 from the kernel."""
    kernels = _kernels() if usable(qkv) else None
    if kernels is not None:
        summed: Tensor = kernels.channel_products(qkv, groups)
        return summed
    q, k, _ = qkv.view(*qkv.shape[:2], 3, groups, -1).unbind(2)  # (B, T, G, D)
    return torch.einsum("btgi,btgj->bgij", q, k)


def attend_lineage(qkv: Tensor, keys: Tensor, values: Tensor, lineage: Tensor, places: Tensor) -> Tensor:
    """Self-attention of one new token a row, where a beam's past lies in the rows of the beams it descends from.

    `qkv` (R, 3 N D); `keys` and `values` (R, N, M, D), to which the token is added at its place, `places` (R,);
    `lineage` (C, K, >= M) says which beam of the slot wrote what this one has at each earlier place.  Gives (R, N D).
    So beams that part or die copy nothing.
    """
    kernels = _kernels() if usable(qkv) else None
    if kernels is not None:
        attended: Tensor = kernels.attend_lineage(qkv, keys, values, lineage, places)
        return attended
    rows, heads, room, size = keys.shape
    beams = lineage.shape[1]
    q, k, v = qkv.view(rows, 3, heads, size).unbind(1)
    row = torch.arange(rows, device=qkv.device)
    keys[row, :, places], values[row, :, places] = k, v
    first = torch.div(row, beams, rounding_mode="floor")[:, None] * beams
    ahead = torch.arange(room, device=qkv.device) - places[:, None]  # (R, M)
    writer = torch.where(ahead < 0, first + lineage[:, :, :room].flatten(0, 1), row[:, None])
    at = writer[:, None, :, None].expand(-1, heads, -1, size)
    past = keys.gather(0, at), values.gather(0, at)
    x = F.scaled_dot_product_attention(q[:, :, None], past[0], past[1], (ahead <= 0)[:, None, None])
    return x[:, :, 0].flatten(1)


def normalisers(scores: Tensor) -> Tensor:
    """The logarithm of the sum of the exponentials of each row: (R, V) to (R,), float32."""
    kernels = _kernels() if usable(scores) else None
    if kernels is not None:
        summed: Tensor = kernels.normalisers(scores)
        return summed
    return scores.logsumexp(-1)


def candidates(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Scores and words of each row of (R, V) float32 among which the `count` best of it are: two of (R, some)."""
    kernels = _kernels() if usable(scores) else None
    if kernels is not None:
        both = kernels.candidates(scores, count)
        return both[0], both[1]
    best, token = scores.topk(count)
    return best, token


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """GELU (the exact one) of a linear map: (..., in), (out, in), (out,) to (..., out)."""
    kernels = _kernels() if GELU_INSIDE and x.dtype != torch.float32 and usable(x) else None
    if kernels is not None:
        out: Tensor = kernels.linear_gelu(x, weight, bias)
        return out
    product = F.linear(x, weight, bias)
    return F.gelu(product) if torch.is_grad_enabled() else gelu_(product)


def gelu_(x: Tensor) -> Tensor:
    """GELU (the exact one) of (..., C), contiguous, where it is.

    On a CPU torch calls oneDNN, which is faster than torch's own kernel for large tensors, but makes a kernel for every
    shape and keeps it.  So oneDNN gets pieces of one size, and torch's own kernel the rest.
    """
    if x.device.type != "cpu":
        in_place: Tensor = torch.ops.aten.gelu_(x)
        return in_place
    rows = x.view(-1, x.shape[-1])
    piece = max(1, PIECE // rows.shape[1])
    whole = len(rows) // piece * piece
    if whole:
        torch.ops.aten.gelu_(rows[:whole].view(-1, piece * rows.shape[1]))
    if whole < len(rows):
        torch.ops.aten.gelu_(rows[whole:].T)  # which oneDNN does not take
    return x


def to_float8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R, C) as e4m3, each divided by what takes its largest value to 448, and that divisor, (R, 1) float32."""
    kernels = _kernels() if usable(x) else None
    if kernels is not None:
        both = kernels.to_float8(x)
        return both[0], both[1]
    scale = x.abs().amax(1, keepdim=True).float().clamp_min(LEAST) / MOST
    return (x.float() / scale).clamp(-MOST, MOST).to(torch.float8_e4m3fn), scale


@cache
def _kernels() -> ModuleType | None:
    try:
        from harness.florence2.fast import kernels
    except ImportError:
        return None
    if torch.cuda.is_available():
        ones = torch.ones(16, device="cuda")
        try:
            kernels.add_norm(ones, ones, (ones, ones, 1e-5))
        except Exception as error:  # Triton's own kinds, and those of the compiler that it starts
            reason = (str(error).splitlines() or [repr(error)])[0]
            log.warning("Triton is installed and does not work here (%s): going on in plain torch", reason)
            return None
    return kernels
