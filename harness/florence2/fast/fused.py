"""Operations that a kernel computes in one pass over memory, and plain torch in several.

Each function calls its Triton kernel (`kernels`) if the tensors are on a GPU, Triton works and gradients are off;
otherwise it computes the same in plain torch.  Tests compare the two.

Shapes:
    B  images        T  tokens of a map, H x W        C  channels      G  groups of D channels
    R  rows: K beams of each slot                     N  heads of D channels
    M  positions of a cache                           V  words of the vocabulary
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
LEAST = 1e-12  # lower bound of a row's largest value: a row of zeros is not divided by zero
PIECE = 2**16  # numbers per call of oneDNN's GELU; the call's overhead is then small
GELU_INSIDE = False  # whether Triton multiplies with a GELU inside, instead of cuBLAS and a pass; not measured yet


def usable(x: Tensor) -> bool:
    """Whether the kernels can compute on this tensor."""
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
    """The sum of a map and its depthwise 3 x 3 convolution, and the norm of the sum: (B, T, C) each.

    The map is (B, T, C), with T tokens of `shape` (H, W).  `bias` (C,) is added to the returned sum, but not before the
    norm: it belongs to a linear map whose product is added later.  `window_in` and `window_out` are sides of windows;
    they say that tokens of the input and of both outputs are in the order of windows.  0: in the order of rows.
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
    """The norm of x + y; x, y and the result are (..., C)."""
    kernels = _kernels() if usable(x) else None
    if kernels is not None:
        fused: Tensor = kernels.add_norm(x, y, (norm.weight, norm.bias, norm.eps))
        return fused
    out: Tensor = norm(x + y)
    return out


def channel_products(qkv: Tensor, groups: int) -> Tensor:
    """Products of queries and keys, summed over the tokens: (B, T, 3C) to (B, G, D, D); float32 from the kernel."""
    kernels = _kernels() if usable(qkv) else None
    if kernels is not None:
        summed: Tensor = kernels.channel_products(qkv, groups)
        return summed
    q, k, _ = qkv.view(*qkv.shape[:2], 3, groups, -1).unbind(2)  # (B, T, G, D)
    return torch.einsum("btgi,btgj->bgij", q, k)


def attend_lineage(qkv: Tensor, keys: Tensor, values: Tensor, lineage: Tensor, positions: Tensor) -> Tensor:
    """Self-attention of one new token per row, over a cache that is not reordered when beams diverge: (R, N*D).

    `qkv` (R, 3*N*D) are the new token's query, key and value.  Key and value are stored in `keys` and `values`
    (R, N, M, D) at the row's position, `positions` (R,).  A beam's earlier keys and values are in the rows of the beams
    that it descends from: `lineage` (slots, K, >= M) is the beam that wrote each earlier position.
    """
    kernels = _kernels() if usable(qkv) else None
    if kernels is not None:
        attended: Tensor = kernels.attend_lineage(qkv, keys, values, lineage, positions)
        return attended
    rows, heads, capacity, size = keys.shape
    beams = lineage.shape[1]
    q, k, v = qkv.view(rows, 3, heads, size).unbind(1)
    row = torch.arange(rows, device=qkv.device)
    keys[row, :, positions], values[row, :, positions] = k, v
    first = torch.div(row, beams, rounding_mode="floor")[:, None] * beams
    ahead = torch.arange(capacity, device=qkv.device) - positions[:, None]  # (R, M)
    writer = torch.where(ahead < 0, first + lineage[:, :, :capacity].flatten(0, 1), row[:, None])
    at = writer[:, None, :, None].expand(-1, heads, -1, size)
    past = keys.gather(0, at), values.gather(0, at)
    x = F.scaled_dot_product_attention(q[:, :, None], past[0], past[1], (ahead <= 0)[:, None, None])
    return x[:, :, 0].flatten(1)


def normalisers(scores: Tensor) -> Tensor:
    """The log-sum-exp of each row: (R, V) to (R,), float32."""
    kernels = _kernels() if usable(scores) else None
    if kernels is not None:
        summed: Tensor = kernels.normalisers(scores)
        return summed
    return scores.logsumexp(-1)


def candidates(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Candidate scores and their words, for each row of (R, V) float32: (R, J) each.

    The `count` best of a row are among its J candidates; J >= count.
    """
    kernels = _kernels() if usable(scores) else None
    if kernels is not None:
        both = kernels.candidates(scores, count)
        return both[0], both[1]
    best, token = scores.topk(count)
    return best, token


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Exact (erf) GELU of a linear map: (..., in), (out, in), (out,) to (..., out)."""
    kernels = _kernels() if GELU_INSIDE and x.dtype != torch.float32 and usable(x) else None
    if kernels is not None:
        out: Tensor = kernels.linear_gelu(x, weight, bias)
        return out
    product = F.linear(x, weight, bias)
    return F.gelu(product) if torch.is_grad_enabled() else gelu_(product)


def gelu_(x: Tensor) -> Tensor:
    """Exact (erf) GELU of a contiguous tensor (..., C), in place.

    On a CPU torch calls oneDNN, which is faster than torch's own kernel for large tensors, but builds and keeps a
    kernel for every shape.  So oneDNN computes pieces of one size, and torch's own kernel the remaining rows.
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
        torch.ops.aten.gelu_(rows[whole:].T)  # oneDNN does not accept a transposed tensor
    return x


def to_float8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (R, C) in e4m3, scaled so that the largest value of a row is 448; and the scales, (R, 1) float32.

    A row is its e4m3 numbers times its scale.
    """
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
        except Exception as error:  # Triton and the compilers that it starts have their own exceptions
            reason = (str(error).splitlines() or [repr(error)])[0]
            log.warning("Triton is installed, but does not work (%s): using plain torch", reason)
            return None
    return kernels
