"""Linear maps, by the quickest kernel there is.

On a CPU, in float32 and without gradients, that is oneDNN's, through the operator that torch.compile's own code calls:
beside torch's default (MKL) it was measured at 1.15 times for large products and 3 times for the few rows of a decoding
step, on an AMD EPYC, and GELU costs nothing when it is part of the same kernel.  On an Intel Xeon MKL is as quick or
quicker, for few rows up to four times, so that oneDNN's is kept for large products with a GELU.  Without AVX-512 a GELU
inside costs a third of the product, and MKL is as quick or quicker on an AMD CPU as well, but for few rows of many
weights.  In bfloat16, on a CPU that multiplies it, torch's own is oneDNN's as well, but adds the bias and makes the
GELU in passes of their own.  Elsewhere it is torch's `linear`.  Only the order of additions differs.

What takes time of few rows and many weights is to read these.  Laid out in blocks, as oneDNN would have them, they are
read in 0.65 to 0.85 of the time (an AMD EPYC; to the same bits), so there is a second one of each such weight: of the
decoder and the vocabulary 0.36 GB at the base size, 0.9 GB at the large one.

oneDNN makes a kernel for every number of rows, keeps it (half a megabyte each), and takes longer for that than a small
product itself.  As answers come and go, so do rows: those of small products are filled up to one of a few numbers.
Tiny products in float32, of few rows and few weights, are torch's default: calling oneDNN takes longer than they do.

In training on a CPU, `bfloat16_products` makes the three products of a linear map (forward, and backward to its input
and to its weight) in bfloat16 and leaves everything else in float32: torch's own autocast also halves what surrounds
them, where that costs more in conversions than it saves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.fast.fused import linear_gelu

MANY = 256  # rows from which on a GELU inside is worth more than MKL
LIGHT = 2**18  # weights, that lie in a core's cache: 32 rows of them take hardly longer than eight
MAPPED = 2**11  # rows: texts have fewer, and a strip of a map about as many
TINY = 2**21  # multiplications with so few weights: up to here calling oneDNN takes longer than MKL's whole product
SMALL = 2**27  # multiplications: a few times as long as oneDNN takes to make a kernel
LARGE = 2**30  # multiplications, from which on a sixteenth more would be felt

Made = tuple[Tensor, int, Tensor]  # of which weight (held, or another could come to lie there), of which version, what


class Linear(nn.Linear):
    """`nn.Linear`, by `linear`, with a GELU behind it where that is asked for."""

    _packed: Made | None = None  # the weight as oneDNN lays it out

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., out)."""
        weight = self.packed() if _is_packed(x, self.weight, gelu) else self.weight
        if self._packed is not None and torch.is_grad_enabled():
            self._packed = None  # what trains it may change it without a new version
        return linear(x, weight, self.bias, gelu=gelu)

    def packed(self) -> Tensor:
        """The weight in blocks, made when it is first asked for and when it is another."""
        made = _made(self._packed, self.weight, lambda weight: torch.ops.mkldnn._reorder_linear_weight(weight, MANY))
        if made is not self._packed:
            self._packed = made
        return made[2]

    def __getstate__(self) -> dict[str, Any]:
        """Without the weight in blocks, which torch can neither copy nor pickle."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class Head(Linear):
    """Scores of the vocabulary, in float32 whatever the weights are in.

    Rounded to half precision, neighbouring bins of a location tie: of florence2-nano-ft's location tokens 97 in 100
    stayed what they are in float32 with float16 weights, and 99.8 with scores in float32.
    """

    def __init__(self, dim: int, words: int) -> None:
        super().__init__(dim, words, bias=False)
        self._float: Made | None = None  # on a CPU: the weight in float32

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """(..., in) to (..., words)."""
        if self.weight.dtype == torch.float32 or torch.is_grad_enabled():
            return super().forward(x, gelu=gelu)
        if x.device.type == "cuda":
            scores = torch.mm(x.flatten(0, -2), self.weight.T, out_dtype=torch.float32)
            return scores.view(*x.shape[:-1], -1)
        self._float = _made(self._float, self.weight, Tensor.float)
        return linear(x.float(), self._float[2], None)


class FeedForward(nn.Module):
    """Two linear maps with a GELU (the exact one) between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.up = Linear(dim, hidden)
        self.down = Linear(hidden, dim)

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
    if _in_bfloat16 and x.device.type == "cpu" and torch.is_grad_enabled():
        rows: Tensor = _Bfloat16Products.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
        product = rows.view(*x.shape[:-1], -1)
        return F.gelu(product) if gelu else product
    return linear_gelu(x, weight, bias) if gelu else F.linear(x, weight, bias)


def filled(rows: Tensor, weight: int) -> Tensor:
    """(M, in), with rows of zeros behind them where the product with so many weights is not large."""
    count = rows.shape[0]
    more = evened(count, weight) - count
    return F.pad(rows, (0, 0, 0, more)) if more else rows


def evened(rows: int, weight: int) -> int:
    """The next number of few binary digits and zeros behind them: of a small product three, which is less than a
    quarter more, of one that is not large five, less than a sixteenth.  Where weights are few that begins at twice the
    size, and before it is a multiple of 32, from 64 rows on less than half more.  As many rows as a map of a large
    picture has are of few numbers anyway: less than a sixteenth more."""
    if rows * weight >= LARGE:
        return rows
    light = weight < LIGHT
    small = rows <= MAPPED and rows * weight < (2 * SMALL if light else SMALL)
    digits = (2 if light else 3) if small else 5
    step = max(32 if light else 1, 1 << max(0, (rows - 1).bit_length() - digits))
    return -(-rows // step) * step


_in_bfloat16 = False


@contextmanager
def bfloat16_products() -> Iterator[None]:
    """Within it, linear maps that are differentiated on a CPU multiply in bfloat16; sums and results are float32."""
    global _in_bfloat16
    before, _in_bfloat16 = _in_bfloat16, True
    try:
        yield
    finally:
        _in_bfloat16 = before


class _Bfloat16Products(torch.autograd.Function):
    """(M, in), (out, in), (out) to (M, out); float32 outside, bfloat16 factors inside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        product = F.linear(x, weight).float()
        return product if bias is None else product.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        half = gradient.bfloat16()
        to_x, to_weight, to_bias = ctx.needs_input_grad
        return (
            (half @ weight).float() if to_x else None,
            (half.T @ x).float() if to_weight else None,
            gradient.sum(0) if to_bias and ctx.biased else None,
        )


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
