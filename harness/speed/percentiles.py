"""Percentiles of latencies, each with its interval, and only where there are enough of them to have one.

The interval is distribution-free: between two of the ordered values themselves, such that the number of values below
the true percentile, which is binomial, falls between their ranks with probability at least 95 %.  For p99 that takes
368 values, for p99.9 3,688; with fewer the percentile is not given, as it would be little else than the largest value.
(Hahn and Meeker, Statistical Intervals, 1991, section 5.2.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import binom

from harness.core import Estimate

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
TAIL = 0.025


def percentile(ordered: Sequence[float], percent: float) -> Estimate | None:
    """The percentile (nearest rank) of ascending values and its 95 % interval; None where they are too few."""
    n, share = len(ordered), percent / 100
    if n < least_count(percent):
        return None
    low = int(binom.ppf(TAIL, n, share))  # P(below < low) <= TAIL
    high = int(binom.ppf(1 - TAIL, n, share)) + 1  # P(below >= high) <= TAIL
    return Estimate(ordered[max(1, math.ceil(share * n)) - 1], ordered[max(low, 1) - 1], ordered[min(high, n) - 1], n)


def percentiles(values: Sequence[float]) -> Mapping[str, Estimate]:
    """ "p50" and so on, those that the count supports."""
    ordered = np.sort(np.asarray(values, float)).tolist()
    found = {f"p{percent:g}": percentile(ordered, percent) for percent in PERCENTILES}
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def least_count(percent: float) -> int:
    """The fewest values with which the percentile has an interval between two of them."""
    share = percent / 100
    return math.floor(math.log(TAIL) / math.log(max(share, 1 - share))) + 1
