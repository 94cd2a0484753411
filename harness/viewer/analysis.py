"""The charts of a run, and the paired difference of two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from harness import comparison
from harness.core import Row, Run, Task
from harness.errors import DataError, HarnessError
from harness.metrics import tide
from harness.report.breakdown import COSTS, Breakdown, auroc, bins, calibration_error
from harness.report.page import Shown
from harness.statistics import in_order_of

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # of IoU


def charts(parts: Breakdown) -> dict[str, Any]:
    """The payload of `charts/<run>`: bars by group, recall by IoU threshold, calibration, and precision with recall.

    Shares are in percent.
    """
    drawn: dict[str, Any] = {
        "bars": {
            title: [[bar.name, bar.estimate.value, bar.estimate.low, bar.estimate.high, bar.estimate.n] for bar in bars]
            for title, bars in parts.bars.items()
        },
        "costs": COSTS,
        "kinds": list(tide.KINDS),
    }
    if parts.overlaps:
        overlaps = np.asarray(parts.overlaps)
        drawn["recall"] = [[level, 100 * float(np.mean(overlaps >= level))] for level in THRESHOLDS]
    if parts.confidences:
        groups = bins(parts.confidences)
        drawn["calibration"] = [[100 * part for part in group[:4]] + [group.n] for group in groups]
        drawn["calibration error"] = 100 * calibration_error(groups)
        drawn["auroc"] = 100 * auroc(parts.confidences)
        drawn["precision"] = _precision(parts)
    return drawn


def _precision(parts: Breakdown) -> list[list[float]]:
    """Precision of the predicted boxes of at least each confidence, and the share of boxes kept: [share, precision].

    At most 100 points, one for each hundredth of the boxes; boxes of equal confidence are kept together.
    """
    values = np.array([confidence.value for confidence in parts.confidences])
    correct = np.array([confidence.correct for confidence in parts.confidences], np.float64)
    order = np.argsort(-values, kind="stable")
    values, precision = values[order], np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    ends = np.append(np.nonzero(np.diff(values))[0], len(values) - 1)  # the last box of each confidence
    chosen = ends[np.unique(np.linspace(0, len(ends) - 1, min(100, len(ends))).round().astype(int))]
    return [[100 * (end + 1) / len(values), 100 * float(precision[end])] for end in chosen.tolist()]


def pair(a: Shown, b: Shown) -> dict[str, Any]:
    """The payload of `pair/<a>/<b>`: every metric of both runs and its paired difference, B minus A, headline first.

    `problem` says in a sentence why the runs cannot be compared.
    """
    try:
        comparison.refuse(a.run, b.run)
        task, rows_a, rows_b = _paired_rows(a, b)
    except HarnessError as error:
        return {"problem": str(error)}
    metrics = [
        {
            "metric": name, "a": each.a, "b": each.b, "value": each.difference.value, "low": each.difference.low,
            "high": each.difference.high, "p": each.difference.p, "test": each.test, "smallest": each.smallest,
        }
        for name, each in comparison.metrics_of(task, rows_a, rows_b, a.run.spec.seed).items()
    ]  # fmt: skip
    problem = (
        "" if metrics and metrics[0]["metric"] == task.headline else f"{task.headline} is not defined for both runs"
    )
    return {"problem": problem, "metrics": metrics}


def _paired_rows(a: Shown, b: Shown) -> tuple[Task[Any], Sequence[Row[Any]], Sequence[Row[Any]]]:
    for shown in (a, b):
        if shown.task is None or not shown.rows:
            raise DataError(f"the predictions of {_named(shown.run)} are not here, so samples cannot be compared")
        if shown.task.version != shown.run.spec.version:
            raise DataError(
                f"{_named(shown.run)} was scored by version {shown.run.spec.version} of the task, which now has "
                f"version {shown.task.version}; `score {shown.run.id}` scores its predictions again"
            )
    if a.task is None:
        raise ValueError("a run with rows has its task")
    try:
        return a.task, a.rows, in_order_of(a.rows, b.rows)
    except ValueError as error:
        raise DataError(f"{error}; `compare {a.run.id} {b.run.id}` compares what both have") from error


def _named(run: Run) -> str:
    return f"run {run.id} ({run.spec.model})"
