"""Linear maps, by the fastest kernel that each CPU has; only the order of additions differs.

In float32 without gradients a CPU has two libraries: MKL, which is torch's default, and oneDNN, through the operator
that torch.compile's own code calls.  oneDNN can make a GELU inside the product.  The rules (`_by_onednn`):
    tiny products are MKL's: calling oneDNN takes longer than they do;
    on an Intel CPU MKL is as fast or faster, but for many rows with a GELU inside and AVX-512;
    on another CPU with AVX-512 all other products are oneDNN's;
    without AVX-512 a GELU inside slows the product down, and only few rows of many weights are oneDNN's.
In bfloat16, on a CPU that multiplies it, all products are oneDNN's: torch's own adds bias and GELU in separate passes.
Elsewhere the map is torch's `linear`.

With few rows and many weights, the time goes into reading the weights.  oneDNN reads them faster from a copy laid out
in blocks, to the same bits, so each such weight is kept a second time (`Linear.packed`).

oneDNN makes a kernel for every number of rows, keeps it, and takes longer to make it than for a small product itself.
As answers come and go, so do rows: those of small products are padded to one of a few numbers (`evened`).
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

MANY = 256  # rows from which a GELU inside the product is worth more than MKL
LIGHT = 2**18  # weights; fewer stay in a core's cache, and 32 rows take hardly longer than eight
MAPPED = 2**11  # rows: texts have fewer, and a strip of a map about as many
TINY = 2**21  # multiplications with few weights, up to which calling oneDNN takes longer than MKL's whole product
SMALL = 2**27  # multiplications: a few times as long as oneDNN takes to make a kernel
LARGE = 2**30  # multiplications, from which a sixteenth more would cost noticeable time

Made = tuple[Tensor, int, Tensor]  # the weight (held, so that no other takes its address), its version, what was made


class Linear(nn.Linear):
    """`nn.Linear`, by `linear`, with a GELU behind it where the caller wants one."""

    _packed: Made | None = None  # the weight as oneDNN lays it out

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out)."""
        weight = self.packed() if _is_packed(x, self.weight, gelu) else self.weight
        if self._packed is not None and torch.is_grad_enabled():
            self._packed = None  # what trains it may change it without a new version
        return linear(x, weight, self.bias, gelu=gelu)

    def packed(self) -> Tensor:
        """The weight in blocks, made at the first call and again where the weight has changed."""
        made = _made(self._packed, self.weight, lambda weight: torch.ops.mkldnn._reorder_linear_weight(weight, MANY))
        if made is not self._packed:
            self._packed = made
        return made[2]

    def __getstate__(self) -> dict[str, Any]:
        """Without the weight in blocks, which torch can neither copy nor pickle."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class Head(Linear):
    """Scores of the vocabulary, in float32 whatever the weights are in.

    Rounded to half precision, neighbouring bins of a location would tie.
    """

    _float: Made | None = None  # on a CPU: the weight in float32

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., words)."""
        if self.weight.dtype == torch.float32 or torch.is_grad_enabled():
            return super().forward(x, gelu=gelu)
        if x.device.type == "cuda":
            scores = torch.mm(x.flatten(0, -2), self.weight.T, out_dtype=torch.float32)
            return scores.view(*x.shape[:-1], -1)
        self._float = _made(self._float, self.weight, Tensor.float)
        return linear(x.float(), self._float[2], None)


class FeedForward(feed_forward.FeedForward):
    """The plain network's, with the GELU inside the first product."""

    up: Linear

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim) to (..., dim)."""
        out: Tensor = self.down(self.up(x, gelu=True))
        return out


def bias_in_sum(last: nn.Module) -> Tensor | None:
    """The bias that `add_product` leaves out, to be added where the sum is begun; None: it leaves out none."""
    return last.bias if isinstance(last, Linear) else None


def add_product(added: Tensor, x: Tensor, last: nn.Module) -> Tensor:
    """`added` (..., out) and what a linear map makes of x (..., in), but for its `bias_in_sum`, by one kernel."""
    if not isinstance(last, Linear):
        out: Tensor = added + last(x)
        return out
    return torch.addmm(added.flatten(0, -2), x.flatten(0, -2), last.weight.T).view(added.shape)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, *, gelu: bool = False) -> Tensor:
    """`x @ weight.T + bias`, and GELU of it: (..., in), (out, in), (out) to (..., out)."""
    if x.device.type == "cpu" and not torch.is_grad_enabled() and _by_onednn(x, weight.numel(), gelu):
        given = x.reshape(-1, x.shape[-1])
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            filled(given, weight.numel()), weight, bias, "gelu" if gelu else "none", [], "none"
        )
        return out[: given.shape[0]].view(*x.shape[:-1], weight.shape[0])
    return linear_gelu(x, weight, bias) if gelu else F.linear(x, weight, bias)


def filled(rows: Tensor, weight: int) -> Tensor:
    """(M, in), with rows of zeros behind them where the product with so many weights is not large."""
    count = rows.shape[0]
    more = evened(count, weight) - count
    return F.pad(rows, (0, 0, 0, more)) if more else rows


def evened(rows: int, weight: int) -> int:
    """Rounds a row count up to one of a few sizes, so that oneDNN reuses its kernels.

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


def _made(before: Made | None, weight: Tensor, make: Callable[[Tensor], Tensor]) -> Made:
    """What was made of a weight, or is made anew where that is another: elsewhere in memory, or changed in place.

    An inference tensor has no version: outside inference mode it is not changed in place.
    """
    version = 0 if weight.is_inference() else weight._version
    if before is not None and before[0].data_ptr() == weight.data_ptr() and before[1] == version:
        return before
    held = weight.detach()
    return held, version, make(held)


def _is_packed(x: Tensor, weight: Tensor, gelu: bool) -> bool:
    """Whether oneDNN multiplies few rows with so many weights that what takes time is to read them.

    A single row is multiplied otherwise, and gains nothing.
    """
    count = weight.numel()
    if count < LIGHT or x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_grad_enabled():
        return False
    return 1 < x.numel() // x.shape[-1] < MANY and _by_onednn(x, count, gelu)


def _by_onednn(x: Tensor, weight: int, gelu: bool) -> bool:
    if x.dtype == torch.float32:
        rows = x.numel() // x.shape[-1]
        many, light = rows >= MANY, weight < LIGHT
        if light and rows * weight < TINY:
            return False
        if mkl_is_quick() and not (gelu and many and has_avx512()):
            return False
        if (light or many) and not has_avx512():
            return False
    return _has_onednn(x.dtype)


@cache
def has_avx512() -> bool:
    """Whether torch's own kernels use it, as oneDNN's and MKL's then do."""
    return "AVX512" in torch.backends.cpu.get_cpu_capability()


@cache
def mkl_is_quick() -> bool:
    """Whether this is a CPU of the maker of MKL, which on others takes its slowest ways."""
    try:
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return intel and bool(torch.backends.mkl.is_available())  # type: ignore[no-untyped-call]


@cache
def _has_onednn(dtype: torch.dtype) -> bool:
    """The operator is not part of torch's public interface, so it may be missing; bfloat16 it takes on some CPUs."""
    if not (torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
