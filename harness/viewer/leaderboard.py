"""Which models of one column are the best beyond noise, and how far their ranks are certain.

The intervals of the records decide, because a record need not have its answers.  Two models differ beyond noise if
their 95 % intervals do not overlap.  That is stricter than a paired test on the same samples (`compare`), which may
separate models whose intervals overlap.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass

from harness.core import Estimate


@dataclass(frozen=True, slots=True)
class Place:
    """The rank interval of a model in its column, 1 for the highest; `best`: certainly above all others."""

    first: int
    last: int
    best: bool


def places(column: Mapping[str, Estimate]) -> dict[str, Place]:
    """The place of each model with a value and an interval; larger is better.

    The first rank counts the models that are certainly better, and the last rank those that are not certainly worse.
    A model alone in its column is not best.
    """
    ends = {
        name: (estimate.low, estimate.high)
        for name, estimate in column.items()
        if estimate.value is not None and estimate.low is not None and estimate.high is not None
    }
    lows, highs = sorted(low for low, _ in ends.values()), sorted(high for _, high in ends.values())
    others = len(ends) - 1
    result = {}
    for name, (low, high) in ends.items():  # its own interval is neither better nor worse
        better, worse = len(lows) - bisect_right(lows, high), bisect_left(highs, low)
        result[name] = Place(1 + better, len(ends) - worse, 0 < others == worse)
    return result
