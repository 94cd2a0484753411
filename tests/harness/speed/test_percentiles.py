"""Percentiles against exact binomial sums and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.speed.percentiles import least_count, percentile, percentiles


def below(n: int, share: float, most: int) -> float:
    """P(at most `most` of n fall below the true percentile), summed term by term."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(most + 1))


@pytest.mark.parametrize(("n", "percent"), [(6, 50), (101, 50), (36, 90), (500, 90), (400, 99)])
def test_ranks_hold_the_truth_with_95_percent(n: int, percent: float) -> None:
    """With values 1..n a value is its rank: the interval misses where fewer than low, or at least high, fall below."""
    found = percentile([float(value) for value in range(1, n + 1)], percent)
    assert found is not None
    assert found.value == math.ceil(percent / 100 * n)  # nearest rank
    assert found.low is not None
    assert found.high is not None
    low, high = int(found.low), int(found.high)
    assert below(n, percent / 100, low - 1) <= 0.025 + 1e-9
    assert 1 - below(n, percent / 100, high - 1) <= 0.025 + 1e-9


@pytest.mark.parametrize("percent", [50.0, 90.0, 95.0, 99.0, 99.9])
def test_no_percentile_that_the_count_cannot_support(percent: float) -> None:
    least = least_count(percent)
    share = max(percent / 100, 1 - percent / 100)
    assert share**least <= 0.025 < share ** (least - 1)  # all on one side of it, by chance
    assert percentile([1.0] * (least - 1), percent) is None
    assert percentile([1.0] * least, percent) is not None
    assert least_count(99) == 368


def test_coverage_simulated() -> None:
    draw = np.random.default_rng(0)
    true, held = -math.log(0.1), 0  # p90 of an exponential
    for _ in range(400):
        found = percentiles(draw.exponential(size=200).tolist())["p90"]
        held += (found.low or 0) <= true <= (found.high or 0)
    assert held >= 0.93 * 400
    assert set(percentiles([1.0] * 100)) == {"p50", "p90", "p95"}
