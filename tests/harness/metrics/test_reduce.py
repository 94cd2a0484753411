"""Metrics from scores, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.core import Metric
from harness.metrics.reduce import (
    PairedMetric,
    between_runs,
    hmean,
    mean,
    mean_of,
    ratio,
    ratio_where_defined,
    share_above,
)
from tests.rows import rows

ONES = np.ones(2)
ROWS = rows([("a", 0.2), ("b", 0.5), ("a", 0.8)], both=[1, 10, 0], either=[2, 20, 8])


def test_metrics_with_weights_of_one_are_plain_sums() -> None:
    assert mean("iou").prepare(ROWS)(ONES) == pytest.approx(50)  # (0.2 + 0.5 + 0.8) / 3
    assert ratio("both", "either").prepare(ROWS)(ONES) == pytest.approx(100 * 11 / 30)
    assert share_above("iou", 0.5).prepare(ROWS)(ONES) == pytest.approx(200 / 3)  # 0.5 itself counts
    assert share_above("iou", 0.9).prepare(ROWS)(ONES) == 0


def test_weights_are_those_of_clusters_in_order_of_appearance() -> None:
    # a twice, b never: 0.2, 0.8, 0.2, 0.8
    assert mean("iou").prepare(ROWS)(np.array([2.0, 0.0])) == pytest.approx(50)
    # b alone
    assert mean("iou").prepare(ROWS)(np.array([0.0, 3.0])) == pytest.approx(50)
    assert ratio("both", "either").prepare(ROWS)(np.array([1.0, 0.0])) == pytest.approx(10)  # 1 / 10
    assert ratio("both", "either").prepare(ROWS)(np.array([0.0, 0.0])) == 0


def test_ratio_where_defined_is_the_ratio_or_nan() -> None:
    assert ratio_where_defined("both", "either").prepare(ROWS)(ONES) == ratio("both", "either").prepare(ROWS)(ONES)
    assert math.isnan(ratio_where_defined("lacking", "either").prepare(ROWS)(ONES))
    undefined = rows([("a", 1.0), ("b", math.nan)], either=[1, 1])
    assert math.isnan(ratio_where_defined("iou", "either").prepare(undefined)(ONES))


def test_hmean_is_that_of_precision_and_recall() -> None:
    found = rows([("a", 0.0), ("b", 0.0)], right=[1, 2], true=[2, 4], predicted=[1, 5])
    precision, recall = 3 / 6, 3 / 6
    assert hmean("right", "true", "predicted").prepare(found)(ONES) == pytest.approx(
        100 * 2 * precision * recall / (precision + recall)
    )
    # the first cluster alone: precision 1 / 1, recall 1 / 2
    assert hmean("right", "true", "predicted").prepare(found)(np.array([1.0, 0.0])) == pytest.approx(200 / 3)
    assert hmean("right", "true", "predicted").prepare(found)(np.array([0.0, 0.0])) == 0


def test_no_rows_or_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="no rows"):
        mean("iou").prepare([])
    with pytest.raises(ValueError, match="not finite"):
        mean("iou").prepare(rows([("a", math.nan)]))


def test_paired_metric_uses_the_first_metric_for_one_run_and_the_second_for_two() -> None:
    first, second = mean("iou"), ratio("both", "either")
    both = PairedMetric(first, second)
    assert both.prepare(ROWS)(ONES) == pytest.approx(50)  # the mean, as above
    assert between_runs(both) is second and between_runs(first) is first
    each = mean_of(both)  # a permutation test exchanges the scores of the metric of one run
    assert each is not None and [each(row) for row in ROWS] == [0.2, 0.5, 0.8]
    assert mean_of(PairedMetric(second, first)) is None


@pytest.mark.parametrize("metric", [mean("iou"), ratio("both", "either"), share_above("iou", 0.5)])
def test_weight_counts_as_copies(metric: Metric) -> None:
    a, b = [ROWS[0], ROWS[2]], [ROWS[1]]
    copies = metric.prepare([*a * 3, *b * 2])
    assert metric.prepare(ROWS)(np.array([3.0, 2.0])) == pytest.approx(copies(ONES))
