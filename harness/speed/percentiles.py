"""Percentiles of latencies with 95 % intervals, for counts that are large enough to have an interval.

The interval is distribution-free: both ends are measured values.  The number of values below the true percentile is
binomial, and lies between the ranks of the two ends with a probability of at least 95 %.  A percentile without such an
interval is not reported, since it would be close to the largest value: p99 needs 368 values, p99.9 needs 3,688.
Source: Hahn and Meeker, Statistical Intervals, 1991, section 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harness.core import Estimate

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
TAIL = 0.025


def percentile(ordered: Sequence[float], percent: float) -> Estimate | None:
    """Returns the percentile (nearest rank) of ascending values with its 95 % interval; None for too few values."""
    n, share = len(ordered), percent / 100
    if n < least_count(percent):
        return None
    low = _binomial_quantile(n, share, TAIL)  # P(below < low) <= TAIL
    high = _binomial_quantile(n, share, 1 - TAIL) + 1  # P(below >= high) <= TAIL
    return Estimate(ordered[max(1, math.ceil(share * n)) - 1], ordered[max(low, 1) - 1], ordered[min(high, n) - 1], n)


def percentiles(values: Sequence[float]) -> Mapping[str, Estimate]:
    """Returns the percentiles that the count supports, by the names "p50" to "p99.9"; `values` have any order."""
    ordered = np.sort(np.asarray(values, float)).tolist()
    estimates = {f"p{percent:g}": percentile(ordered, percent) for percent in PERCENTILES}
    return {name: estimate for name, estimate in estimates.items() if estimate is not None}


def least_count(percent: float) -> int:
    """Returns the fewest values for which the percentile has a 95 % interval."""
    share = percent / 100
    return math.floor(math.log(TAIL) / math.log(max(share, 1 - share))) + 1


def _binomial_quantile(n: int, share: float, mass: float) -> int:
    """Returns the smallest k for which P(X <= k) >= mass, where X has the binomial distribution (n, share)."""
    k = np.arange(n + 1)
    choices = np.concatenate([[0.0], np.cumsum(np.log((n - k[:-1]) / k[1:]))])  # log of n over k
    probabilities = np.exp(choices + k * math.log(share) + (n - k) * math.log1p(-share))
    return int(np.searchsorted(np.cumsum(probabilities), mass))
