"""From scores of samples to metrics of a run: means, ratios of sums, and shares, in percent.

    mean("iou")                 mIoU: the mean over sentences
    ratio("both", "either")     oIoU (cumulative IoU): the sum of intersections over the sum of unions, in pixels
    share_above("iou", 0.5)     Acc@0.5, P@0.5: the share of sentences with an IoU of 0.5 or more

Only this module multiplies by 100.  Every row counts; an unparsable answer has the score 0.  Scores are summed over
each cluster once, so a metric under any weights of the clusters costs two dot products.
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
    """The cluster of each row as a number from 0, in order of first appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(row.sample.cluster, len(numbers)) for row in rows]


def mean(key: str, *, in_order: bool = False) -> Metric:
    """The mean of a score over rows.

    `in_order` sums row by row, for equality to the last bit with official code that does so.
    """
    return _Ratio(lambda row: row.score.values[key], _row_count, in_order=in_order)


def mean_where_defined(key: str) -> Metric:
    """The mean of a score over rows; NaN where a row lacks the score or its score is NaN."""
    return _Ratio(lambda row: row.score.values.get(key, math.nan), _row_count, may_lack=True)


def ratio(numerator: str, denominator: str, *, empty: float = 0.0) -> Metric:
    """The sum of one score over the sum of another; `empty` where the sum of the denominators is 0."""
    return _Ratio(lambda row: row.score.values[numerator], lambda row: row.score.values[denominator], empty)


def ratio_where_defined(numerator: str, denominator: str) -> Metric:
    """The sum of one score over the sum of another; NaN where a row lacks the first score or it is NaN."""
    return _Ratio(
        lambda row: row.score.values.get(numerator, math.nan), lambda row: row.score.values[denominator], may_lack=True
    )


def hmean(right: str, true: str, predicted: str) -> Metric:
    """The harmonic mean of precision and recall, from sums of three scores; 0 where nothing is true or predicted."""
    return _Ratio(
        lambda row: 2 * row.score.values[right], lambda row: row.score.values[true] + row.score.values[predicted]
    )


def share_above(key: str, threshold: float) -> Metric:
    """The share of rows whose score is at or above the threshold."""
    return _Ratio(lambda row: float(row.score.values[key] >= threshold), _row_count)


def share_of(holds: Callable[[Row[Any]], bool]) -> Metric:
    """The share of rows for which `holds` is true."""
    return _Ratio(lambda row: float(holds(row)), _row_count)


@dataclass(frozen=True, slots=True)
class PairedMetric:
    """A metric that is resampled in one way for a single run and in another for the difference of two runs.

    CIDEr is such a metric.  The interval of one run keeps the document frequencies of the full set; the difference of
    two runs uses those of each resample.  Without resampling both give the same number.
    """

    one_run: Metric
    two_runs: Metric

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return self.one_run.prepare(rows)


def between_runs(metric: Metric) -> Metric:
    """The metric to resample for the difference of two runs."""
    return metric.two_runs if isinstance(metric, PairedMetric) else metric


def mean_of(metric: Metric) -> Callable[[Row[Any]], float] | None:
    """The function from a row to the score of which the metric is the mean; None where the metric is not a mean."""
    if isinstance(metric, PairedMetric):
        return mean_of(metric.one_run)
    return metric.above if isinstance(metric, _Ratio) and metric.below is _row_count else None


def _row_count(row: Row[Any]) -> float:
    """The denominator of a mean: each row counts once."""
    return 1.0


@dataclass(frozen=True, slots=True)
class _Ratio:
    """The sum of `above` over the sum of `below`, in percent; all metrics of this module are of this form."""

    above: Callable[[Row[Any]], float]
    below: Callable[[Row[Any]], float]
    empty: float = 0.0
    in_order: bool = False
    may_lack: bool = False

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        """The ratio as a statistic of cluster weights; ValueError where there are no rows or a score is not finite."""
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
