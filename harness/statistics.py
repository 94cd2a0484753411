"""Intervals and paired tests by image: clusters of samples are resampled, never single samples.

Percentile bootstrap.  A resample draws as many clusters as there are, with replacement.  It is represented by one
weight per cluster, the number of times that the cluster was drawn (multinomial).  A metric is evaluated under the
weights of every resample, so ratios of sums, AP and CIDEr are not treated as means.  The interval reaches from the
2.5th to the 97.5th percentile.

Basic bootstrap, for `Biased` metrics.  Resamples of such a metric are biased, and the percentile bootstrap would count
the bias twice.  The basic bootstrap subtracts the deviations of the resamples from the metric's value instead.
benchmarks/README.md compares the coverage of both with other methods.

Strata.  If samples are of several data sets, the images of each can be resampled separately.

Undefined resamples.  A metric can be undefined in a resample, for example if no object of a size was drawn.  Such
resamples are left out.  There is no interval if they are more than a tenth of all.

Pairing.  Draws depend only on the number of clusters and the seed.  So all metrics of a run, and two runs on the same
samples, have the same resamples.  A difference is computed within each resample, where the difficulty of the images
cancels.

p-value.  Twice the smaller share of resamples whose difference is at most 0 or at least 0, with one added to both
counts.  So a p-value is never 0.

Intervals describe the choice of images.  They say nothing about other data sets, other training seeds, or samples that
the model was trained on.  With fewer than two clusters there is no interval (None).

Sources: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 and 16; for clusters, Cameron,
Gelbach and Miller, Review of Economics and Statistics 90 (3), 2008.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Biased, Estimate, Fixed, Metric, Row, Statistic

RESAMPLES = 1000
TAILS = (2.5, 97.5)  # percentiles
DEFINED = 0.9  # the smallest share of defined resamples that an interval may use
ROUNDING = 1e-9  # percent; smaller differences come from the order of additions and count as 0


@dataclass(frozen=True, slots=True)
class Difference:
    """The difference of a metric, run B minus run A.

    `low` and `high` are its 95 % interval, `p` the two-sided p-value of no difference; all are None if there are too
    few clusters.  `n` is the number of samples, `resamples` the number of resamples that `p` is computed from.
    """

    value: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    resamples: int = 0


@lru_cache(maxsize=2)
def resample_weights(strata: tuple[int, ...], resamples: int, seed: int) -> NDArray[np.uint8]:
    """(resamples, clusters): how often each resample draws each cluster.

    `strata` are the numbers of clusters in each stratum; the columns of a stratum are adjacent.  The first rows do not
    depend on `resamples`.  The array is cached and read-only.  A byte suffices: a resample of 255 clusters or fewer has
    no larger number, and with more clusters one is drawn 256 times with a probability below 1e-500.
    """
    generator = np.random.default_rng(seed)
    weights = np.empty((resamples, sum(strata)), dtype=np.uint8)
    for row in weights:
        start = 0
        for size in strata:
            row[start : start + size] = np.bincount(generator.integers(size, size=size), minlength=size)
            start += size
    weights.setflags(write=False)
    return weights


def interval(
    statistic: Statistic, strata: int | tuple[int, ...], *, n: int, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    """A metric's value with its 95 % interval.

    `strata` is the number of clusters, or the numbers of clusters in each stratum; `n` is the number of samples.
    `value` is None if it is not finite.  There is no interval for a `Fixed` metric, or if resamples are undefined.
    """
    strata = (strata,) if isinstance(strata, int) else strata
    value = statistic(np.ones(sum(strata)))
    if not np.isfinite(value):
        return Estimate(None, None, None, n)
    if isinstance(statistic, Fixed):
        return Estimate(value, None, None, n)
    low, high = _percentiles(_resampled(statistic, strata, seed, resamples))
    if isinstance(statistic, Biased) and low is not None and high is not None:
        low, high = _basic_interval(value, low, high)
    return Estimate(value, low, high, n)


def estimate(
    metric: Metric, rows: Sequence[Row[Any]], seed: int, *, stratified: bool = False, resamples: int = RESAMPLES
) -> Estimate:
    """A metric of a run with its interval, resampled by cluster.

    `stratified` resamples the clusters of each data set (a sample's first group) separately.
    """
    strata = strata_of(rows) if stratified else (_clusters(rows),)
    return interval(metric.prepare(rows), strata, n=len(rows), seed=seed, resamples=resamples)


def strata_of(rows: Sequence[Row[Any]]) -> tuple[int, ...]:
    """The number of clusters in each data set (first group); ValueError if a data set's rows are not adjacent."""
    clusters: dict[str, set[str]] = {}
    before = None
    for row in rows:
        group = row.sample.groups[0] if row.sample.groups else ""
        if group != before and group in clusters:
            raise ValueError(f"the rows of {group!r} are not adjacent")
        clusters.setdefault(group, set()).add(row.sample.cluster)
        before = group
    return tuple(map(len, clusters.values()))


def paired(
    metric: Metric,
    rows_a: Sequence[Row[Any]],
    rows_b: Sequence[Row[Any]],
    seed: int,
    *,
    stratified: bool = False,
    resamples: int = RESAMPLES,
    further: int = 0,
) -> Difference:
    """The difference of a metric between two runs on the same samples, in any order; B minus A.

    `stratified` and `resamples` are as for `estimate`.  If the p-value is the smallest that `resamples` can give, it is
    computed from `further` resamples in all, if `further` is larger.

    If the metric of both runs is `Biased`, interval and p-value are the basic bootstrap's, which subtracts the bias
    that does not cancel.  A `Fixed` metric has neither.

    ValueError if the samples are not the same, including targets and clusters, or the difference is not finite.
    """
    a = metric.prepare(rows_a)
    b = metric.prepare(in_order_of(rows_a, rows_b))
    clusters = _clusters(rows_a)
    value = b(np.ones(clusters)) - a(np.ones(clusters))
    if not np.isfinite(value):
        raise ValueError(f"the difference between the two runs is {value}")
    if isinstance(a, Fixed) or isinstance(b, Fixed):
        return Difference(value, None, None, None, len(rows_a))
    strata = strata_of(rows_a) if stratified else (clusters,)
    biased = isinstance(a, Biased) and isinstance(b, Biased)

    def resampled_differences(first: int, last: int) -> NDArray[np.float64]:
        found = _resampled(b, strata, seed, last, first) - _resampled(a, strata, seed, last, first)
        found = 2 * value - found if biased else found
        found[np.abs(found) < ROUNDING] = 0.0
        return found

    differences = resampled_differences(0, resamples)
    low, high = _percentiles(differences)
    p = None if low is None else _p_value(differences)
    if p is not None and p <= 2 / (resamples + 1) < 1 and further > resamples:
        differences = np.concatenate([differences, resampled_differences(resamples, further)])
        p = _p_value(differences)
    return Difference(value, low, high, p, len(rows_a), len(differences))


def _resampled(
    statistic: Statistic, strata: tuple[int, ...], seed: int, resamples: int, first: int = 0
) -> NDArray[np.float64]:
    """(resamples - first,): the statistic under every resample from `first` on; empty for fewer than two clusters."""
    if sum(strata) < 2:
        return np.empty(0)
    weights = resample_weights(strata, resamples, seed)[first:]
    return np.array([statistic(row.astype(np.float64)) for row in weights])


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float] | tuple[None, None]:
    """The 2.5th and 97.5th percentile of the defined values; (None, None) if too few are defined."""
    resamples = len(values)
    values = values[np.isfinite(values)]
    if not resamples or len(values) < DEFINED * resamples:
        return None, None
    low, high = np.percentile(values, TAILS)
    return float(low), float(high)


def _basic_interval(value: float, low: float, high: float) -> tuple[float, float]:
    """The basic bootstrap's interval from the percentiles: reflected about the value, and clipped to 0 and 100.

    The interval always contains the value.
    """
    return max(0.0, min(value, 2 * value - high)), min(100.0, max(value, 2 * value - low))


def _p_value(differences: NDArray[np.float64]) -> float:
    differences = differences[np.isfinite(differences)]
    beyond = min(np.count_nonzero(differences <= 0), np.count_nonzero(differences >= 0))
    return float(min(1.0, 2 * (beyond + 1) / (len(differences) + 1)))


def _clusters(rows: Sequence[Row[Any]]) -> int:
    return len({row.sample.cluster for row in rows})


def in_order_of(rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]]) -> list[Row[Any]]:
    """B's rows in the order of A's; ValueError unless both have the same samples, each once."""
    by_id = {row.sample.id: row for row in rows_b}
    ids = {row.sample.id for row in rows_a}
    if not len(ids) == len(rows_a) == len(rows_b) or ids != by_id.keys():
        unpaired = ", ".join(sorted(ids ^ by_id.keys())[:3]) or "none"
        raise ValueError(f"the runs do not pair: {len(rows_a)} and {len(rows_b)} rows; ids in one only: {unpaired}")
    for row in rows_a:
        if row.sample != by_id[row.sample.id].sample:
            raise ValueError(f"the runs do not pair: sample {row.sample.id} is not the same in both")
    return [by_id[row.sample.id] for row in rows_a]
