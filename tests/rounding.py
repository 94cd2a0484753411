"""Bounds of rounding errors, so that tolerances do not depend on a processor's order of operations."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = torch.finfo(torch.float32).eps  # 2 ** -23: one rounding is off by at most half of it, relative to the result


def product_bound(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The largest error of a linear map with float32 sums, (..., out), whatever their order.

    A sum of n products in any order is off by at most n * eps * sum |a * b| (Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1, with eps for his smaller unit of roundoff).  A bias is one summand more.
    """
    size = x.double().abs() @ weight.double().abs().T
    if bias is not None:
        size = size + bias.double().abs()
    return (weight.shape[1] + 1) * EPS * size


def gelu_bound(x: Tensor) -> Tensor:
    """The largest error of an exact GELU, x / 2 * (1 + erf(x / sqrt 2)), of float32 numbers in float32.

    The coarsest formula of erf in use is off by 1.5e-7 (Abramowitz and Stegun, 7.1.26).  Its dozen operations, on
    numbers below 2, add at most 9 eps; the product with x adds one rounding of a number of at most |x|.
    """
    return x.double().abs() * ((1.5e-7 + 9 * EPS) / 2 + EPS)


def assert_within(computed: Tensor, exact: Tensor, bound: Tensor | float) -> None:
    """AssertionError unless every number is within its bound of the exact one."""
    error = (computed.detach().double() - exact.detach().double()).abs()
    within = error <= bound
    if not bool(within.all()):  # also for NaN
        worst = float(((error - bound) * ~within).abs().max())
        raise AssertionError(
            f"{int((~within).sum())} of {error.numel()} numbers exceed their bound, by up to {worst:g}"
        )
