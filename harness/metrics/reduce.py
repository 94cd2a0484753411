"""Scores to the numbers papers quote: means, ratios of sums, and shares, in percent (multiplied by 100 here, once).

Every row counts, whatever its answer was: an unreadable one with the score it was given, which is 0.  Sums are taken
over each cluster once, in order of first appearance, so that a metric under any weighting of the clusters costs two
dot products.

    mean("iou")                 mIoU: the mean over sentences
    ratio("both", "either")     oIoU (cumulative IoU): all pixels shared over all pixels covered
    share_above("iou", 0.5)     Acc@0.5, P@0.5: the share of sentences with an IoU of 0.5 or more
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.core import Fixed, Metric, Row, Statistic, Weights

PERCENT = 100.0


def clusters_of(rows: Sequence[Row[Any]]) -> list[int]:
    """Each row's cluster as a number, counted in order of first appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(row.sample.cluster, len(numbers)) for row in rows]


def mean(key: str, *, in_order: bool = False) -> Metric:
    """The mean of a score over rows; `in_order` added up one by one, as official code that rounds its sums does."""
    return _Ratio(lambda row: row.score.values[key], _one, in_order=in_order)


def mean_where_defined(key: str) -> Metric:
    """The mean of a score over rows; none (NaN) where a row has it not, or it is not defined for one."""
    return _Ratio(lambda row: row.score.values.get(key, math.nan), _one, may_lack=True)


def ratio(numerator: str, denominator: str, *, empty: float = 0.0) -> Metric:
    """The sum of one score over the sum of another; `empty` (NaN: not defined) where the latter is 0."""
    return _Ratio(lambda row: row.score.values[numerator], lambda row: row.score.values[denominator], empty)


def share_above(key: str, threshold: float) -> Metric:
    """The share of rows whose score is the threshold or more."""
    return _Ratio(lambda row: float(row.score.values[key] >= threshold), _one)


def share_of(holds: Callable[[Row[Any]], bool]) -> Metric:
    """The share of rows of which something holds."""
    return _Ratio(lambda row: float(holds(row)), _one)


@dataclass(frozen=True, slots=True)
class PairedMetric:
    """A metric whose difference between two runs is resampled by another metric than the number of one run.

    CIDEr is such a metric: one run's interval keeps the document frequencies of the whole set, a difference counts them
    again within each resample.  Both metrics give the same number where nothing is resampled.
    """

    one_run: Metric
    two_runs: Metric

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return self.one_run.prepare(rows)


def between_runs(metric: Metric) -> Metric:
    """The metric that resamples the difference of two runs."""
    return metric.two_runs if isinstance(metric, PairedMetric) else metric


def mean_of(metric: Metric) -> Callable[[Row[Any]], float] | None:
    """The score of a row that a metric is the mean of; None where the metric is no mean."""
    if isinstance(metric, PairedMetric):
        return mean_of(metric.one_run)
    return metric.above if isinstance(metric, _Ratio) and metric.below is _one else None


def _one(row: Row[Any]) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class _Ratio:
    """Sum of `above` over sum of `below`: all of the above."""

    above: Callable[[Row[Any]], float]
    below: Callable[[Row[Any]], float]
    empty: float = 0.0
    in_order: bool = False
    may_lack: bool = False

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        """ValueError where there are no rows, or a score is not finite."""
        if not rows:
            raise ValueError("there are no rows to reduce")
        clusters, values = clusters_of(rows), [self.above(row) for row in rows]
        if self.may_lack and any(map(math.isnan, values)):
            return Fixed(math.nan)
        above = np.bincount(clusters, values)  # (clusters,)
        below = np.bincount(clusters, [self.below(row) for row in rows])
        if not np.isfinite([above, below]).all():
            raise ValueError("a score is not finite")

        def statistic(weights: Weights) -> float:
            if self.in_order and (weights == 1.0).all():
                return PERCENT * sum(values) / len(values)
            total = float(weights @ below)
            return PERCENT * float(weights @ above) / total if total else self.empty

        return statistic
