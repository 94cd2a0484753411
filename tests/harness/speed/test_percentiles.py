"""Percentiles against exact binomial sums, against scipy and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binom

from harness.speed.percentiles import PERCENTILES, TAIL, _binomial_quantile, least_count, percentile, percentiles


def below(n: int, share: float, most: int) -> float:
    """P(at most `most` of n fall below the true percentile), summed term by term."""
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(most + 1))


@pytest.mark.parametrize(("n", "percent"), [(6, 50), (101, 50), (36, 90), (500, 90), (400, 99)])
def test_interval_of_percentile_covers_95_percent(n: int, percent: float) -> None:
    """The values 1 to n are their own ranks.  It misses where fewer than low, or at least high, fall below."""
    estimate = percentile([float(value) for value in range(1, n + 1)], percent)
    assert estimate is not None
    assert estimate.value == math.ceil(percent / 100 * n)  # nearest rank
    assert estimate.low is not None
    assert estimate.high is not None
    low, high = int(estimate.low), int(estimate.high)
    assert below(n, percent / 100, low - 1) <= 0.025 + 1e-9
    assert 1 - below(n, percent / 100, high - 1) <= 0.025 + 1e-9


@pytest.mark.parametrize("percent", [50.0, 90.0, 95.0, 99.0, 99.9])
def test_percentile_below_least_count_is_none(percent: float) -> None:
    least = least_count(percent)
    share = max(percent / 100, 1 - percent / 100)
    assert share**least <= 0.025 < share ** (least - 1)  # the probability that all values lie on one side
    assert percentile([1.0] * (least - 1), percent) is None
    assert percentile([1.0] * least, percent) is not None
    assert least_count(99) == 368


@pytest.mark.parametrize("percent", PERCENTILES)
@pytest.mark.parametrize("n", [1, 2, 6, 37, 368, 3688, 24_576])
def test_binomial_quantile_matches_scipy(n: int, percent: float) -> None:
    for mass in (TAIL, 1 - TAIL):
        assert _binomial_quantile(n, percent / 100, mass) == binom.ppf(mass, n, percent / 100)


def test_interval_of_simulated_exponential_covers_its_percentile() -> None:
    """The true coverage is at least 95 %; of 400 samples, 93 % is two standard errors (1.1 %) below."""
    generator = np.random.default_rng(0)
    true, covered = -math.log(0.1), 0  # p90 of an exponential
    for _ in range(400):
        estimate = percentiles(generator.exponential(size=200).tolist())["p90"]
        covered += (estimate.low or 0) <= true <= (estimate.high or 0)
    assert covered >= 0.93 * 400


def test_percentiles_of_100_values_end_at_p95() -> None:
    assert set(percentiles([1.0] * 100)) == {"p50", "p90", "p95"}
