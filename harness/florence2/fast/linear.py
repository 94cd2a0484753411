"""Linear maps by the fastest kernel of each CPU; only the order of additions differs from the plain maps.

In float32 without gradients a CPU has two libraries: MKL, torch's default, and oneDNN, through the operator that code
from torch.compile calls.  oneDNN can compute a GELU inside the product.  `_by_onednn` has the rules:
    tiny products          MKL: a call of oneDNN takes longer than the product
    Intel CPU              MKL, which is as fast or faster; with AVX-512, oneDNN for many rows with a GELU inside, and
                           for few rows with heavy weights, but not for three and fewer, for which MKL has kernels
    other CPU, AVX-512     oneDNN
    other CPU, no AVX-512  oneDNN for few rows with many weights; MKL otherwise: a GELU inside slows the product down
In bfloat16, oneDNN computes all products if the CPU supports bfloat16: torch adds bias and GELU in separate passes.
In all other cases the map is torch's `linear`.

A product of few rows with many weights is bound by reading the weights.  oneDNN reads them faster from a copy that is
packed in blocks, and otherwise packs them in every product of many rows.  So each such weight has a second, packed copy
(`Linear.packed`): on an Intel CPU only for few rows, since a product of many rows hardly gains.

oneDNN builds and keeps a kernel for every row count, and building takes longer than a small product.  Row counts change
as sequences begin and end, so the rows of small products are padded to one of a few counts (`padded_count`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2 import feed_forward
from harness.florence2.fast.fused import linear_gelu

MANY = 256  # rows; from here on, oneDNN with a GELU inside is faster than MKL on an Intel CPU
LIGHT = 2**18  # weights; fewer stay in a core's cache, so 32 rows take hardly longer than eight
HEAVY = 2**19  # weights; with fewer, MKL on an Intel CPU is as fast for few rows
SINGLE = 3  # rows; for 1 to 3, MKL has kernels of its own on an Intel CPU
MAPPED = 2**11  # rows; text has fewer, and a strip of a map has about as many
TINY = 2**21  # multiplications; below it, with light weights, a call of oneDNN takes longer than MKL's product
SMALL = 2**27  # multiplications; such a product takes a few times as long as oneDNN needs to build a kernel
LARGE = 2**30  # multiplications; from here on, a sixteenth more rows takes noticeable time

Derived = tuple[Tensor, int, Tensor]  # a weight (held, so its address stays taken), its version, the derived tensor


class Linear(nn.Linear):
    """`nn.Linear` computed by `linear`, with an optional GELU behind it."""

    _packed: Derived | None = None  # the weight in oneDNN's blocks

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out)."""
        weight = self.packed() if _is_packed(x, self.weight, gelu) else self.weight
        if self._packed is not None and torch.is_grad_enabled():
            self._packed = None  # an optimiser may change the weight without a new version
        return linear(x, weight, self.bias, gelu=gelu)

    def packed(self) -> Tensor:
        """The weight in oneDNN's blocks; packed at the first call, and again after the weight changes."""
        packed = _derived(self._packed, self.weight, _pack)
        if packed is not self._packed:
            self._packed = packed
        return packed[2]

    def __getstate__(self) -> dict[str, Any]:
        """The state without the packed weight, which torch can neither copy nor pickle."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class Head(Linear):
    """The map to the vocabulary's scores, which are float32 in every precision of the weights.

    In half precision, the scores of adjacent bins would tie.
    """

    _float: Derived | None = None  # the weight in float32, on a CPU

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to scores (..., V), float32."""
        if self.weight.dtype == torch.float32 or torch.is_grad_enabled():
            return super().forward(x, gelu=gelu)
        if x.device.type == "cuda":
            scores = torch.mm(x.flatten(0, -2), self.weight.T, out_dtype=torch.float32)
            return scores.view(*x.shape[:-1], -1)
        self._float = _derived(self._float, self.weight, Tensor.float)
        return linear(x.float(), self._float[2], None)


class FeedForward(feed_forward.FeedForward):
    """A feed-forward network with the GELU inside its first product."""

    up: Linear

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to (..., dim)."""
        out: Tensor = self.down(self.up(x, gelu=True))
        return out


def bias_in_sum(layer: nn.Module) -> Tensor | None:
    """The bias that `add_product` omits for this linear map, so the caller adds it to the sum; None: no bias."""
    return layer.bias if isinstance(layer, Linear) else None


def add_product(added: Tensor, x: Tensor, layer: nn.Module) -> Tensor:
    """`added` (..., out) plus a linear map of x (..., in), by one kernel; without the map's `bias_in_sum`."""
    if not isinstance(layer, Linear):
        out: Tensor = added + layer(x)
        return out
    return torch.addmm(added.flatten(0, -2), x.flatten(0, -2), layer.weight.T).view(added.shape)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """`x @ weight.T + bias`, then an optional GELU: (..., in), (out, in), (out) to (..., out)."""
    if x.device.type == "cpu" and not torch.is_grad_enabled() and _by_onednn(x, weight.numel(), gelu):
        rows = x.reshape(-1, x.shape[-1])
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            pad_rows(rows, weight.numel()), weight, bias, "gelu" if gelu else "none", [], "none"
        )
        return out[: rows.shape[0]].view(*x.shape[:-1], weight.shape[0])
    return linear_gelu(x, weight, bias) if gelu else F.linear(x, weight, bias)


def pad_rows(rows: Tensor, weight: int) -> Tensor:
    """Rows (M, in) with rows of zeros behind them, for a product with `weight` weights; see `padded_count`."""
    count = rows.shape[0]
    padding = padded_count(count, weight) - count
    return F.pad(rows, (0, 0, 0, padding)) if padding else rows


def padded_count(rows: int, weight: int) -> int:
    """Rounds a row count up to one of a few counts, so that oneDNN reuses its kernels; `weight` counts weights.

    The first binary digits of a count are kept and the rest is rounded up.  Three digits are kept in a small product,
    which adds less than a quarter; five in one that is not large, which adds less than a sixteenth.  A small product
    with few weights keeps two, and is at least a multiple of 32.  A map of a large image keeps five: such maps have few
    different row counts anyway.  A large product keeps its rows.
    """
    if rows * weight >= LARGE:
        return rows
    light = weight < LIGHT
    small = rows <= MAPPED and rows * weight < (2 * SMALL if light else SMALL)
    digits = (2 if light else 3) if small else 5
    step = max(32 if light else 1, 1 << max(0, (rows - 1).bit_length() - digits))
    return -(-rows // step) * step


def _pack(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, MANY)
    return packed


def _derived(previous: Derived | None, weight: Tensor, derive: Callable[[Tensor], Tensor]) -> Derived:
    """`previous` if it was derived from this weight; else derived anew.

    A weight is another one if its address differs, or if it was changed in place.  An inference tensor has no version;
    outside inference mode it cannot be changed in place.
    """
    version = 0 if weight.is_inference() else weight._version
    if previous is not None and previous[0].data_ptr() == weight.data_ptr() and previous[1] == version:
        return previous
    held = weight.detach()
    return held, version, derive(held)


def _is_packed(x: Tensor, weight: Tensor, gelu: bool) -> bool:
    """Whether oneDNN multiplies with many weights, so that packed weights are faster."""
    count, rows = weight.numel(), x.numel() // x.shape[-1]
    if count < LIGHT or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return False
    return rows > 0 and (rows < MANY or not mkl_is_quick()) and _by_onednn(x, count, gelu)


def _by_onednn(x: Tensor, weight: int, gelu: bool) -> bool:
    if x.dtype == torch.float32:
        rows = x.numel() // x.shape[-1]
        many, light = rows >= MANY, weight < LIGHT
        if light and rows * weight < TINY:
            return False
        quicker = gelu if many else rows > SINGLE and weight >= HEAVY  # than MKL on an Intel CPU
        if mkl_is_quick() and not (quicker and has_avx512()):
            return False
        if (light or many) and not has_avx512():
            return False
    return _has_onednn(x.dtype)


@cache
def has_avx512() -> bool:
    """Whether torch's kernels use AVX-512; those of oneDNN and MKL then do as well."""
    return "AVX512" in torch.backends.cpu.get_cpu_capability()


@cache
def mkl_is_quick() -> bool:
    """Whether this is an Intel CPU with MKL; on other CPUs, MKL uses its slow kernels."""
    try:
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return intel and bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether oneDNN's linear map exists, which is not public in torch, and supports the dtype on this CPU."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
