"""Calibrated scores of boxes: the probability that a box is right, fitted on the answers to another split.

A model's own scores rank its boxes, and need not say how often boxes are right.  Florence-2 spreads the probability of
a corner over adjacent bins, so a box with a score of 0.05 may be right nine times in ten.  Calibration is Platt's
(1999) logistic regression, with his smoothed targets, on the logarithms of the model's two scores:

    P(right) = 1 / (1 + exp(-(constant + region * log(region score) + label * log(label score))))

A box is right if COCO's matching at an IoU of 0.5 counts it as right; boxes that it ignores are left out of the fit.
With two scores the ranking may change, and AP with it.  The model's own scores stay in the answers, and `mAP` is
computed from them as before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Biased, Boxes, Metric, Row, Statistic, Task, Weights
from harness.errors import DataError, UsageError
from harness.memo import of_latest
from harness.metrics import tide
from harness.metrics.detection import Detector, OverDataSets, data_sets, detector_of, scene
from harness.metrics.reduce import PERCENT, clusters_of

RANKED = ("mAP", "AP50", "AP75")  # computed again from the calibrated scores
LOWEST = 1e-12  # scores below it are taken as this
BINS = 10
FEWEST = 20  # boxes of a fit, right or wrong
STEPS, LONGEST, CONVERGED = 200, 4.0, 1e-9  # of Newton's method: how many, the longest, and the last

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Change = Callable[[Sequence[Row[Any]]], Sequence[Row[Any]]]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The coefficients of a fit; `label` is 0 for a model that gives its boxes no label scores."""

    constant: float
    region: float
    label: float

    def __call__(self, value: Boxes) -> Boxes:
        """The boxes with P(right) as region score, and no label score; those without scores stay as they are."""
        if value.region_scores is None:
            return value
        labels = value.label_scores or (1.0,) * len(value.boxes)
        scores = tuple(map(self.probability, value.region_scores, labels))
        return replace(value, region_scores=scores, label_scores=None)

    def probability(self, region: float, label: float) -> float:
        """P(right) of a box with these scores, each 0 to 1."""
        logs = (math.log(max(score, LOWEST)) for score in (region, label))
        exponent = sum(
            (weight * log for weight, log in zip((self.region, self.label), logs, strict=True)), self.constant
        )
        return 1 / (1 + math.exp(-max(exponent, -700.0)))

    def __str__(self) -> str:
        return (
            f"P(right) = 1 / (1 + exp(-({self.constant:.4g} + {self.region:.4g} * log(region score) + "
            f"{self.label:.4g} * log(label score))))"
        )


def fit(task: Task[Any], rows: Sequence[Row[Any]]) -> tuple[Calibration, int]:
    """The calibration of the boxes of these rows, and the number of boxes that it was fitted on.

    UsageError for a task that does not score detections.  DataError for boxes without scores, for fewer than FEWEST
    boxes, and for boxes that are all right or all wrong.
    """
    detector = detector_of(task)
    if detector is None:
        raise UsageError(f"{task.name} does not rank boxes by scores: only detection can be calibrated")
    values = [row.answer.value for row in rows]
    if any(isinstance(value, Boxes) and value.boxes and value.region_scores is None for value in values):
        raise DataError("the boxes have no scores, so there is nothing to calibrate")
    parts = [_examples(group, detector) for group in data_sets(task, rows)]
    logs, right = (np.concatenate(each) for each in zip(*parts, strict=True))
    if len(right) < FEWEST or right.all() or not right.any():
        raise DataError(
            f"{len(right)} boxes, {int(right.sum())} of them right: calibration needs at least {FEWEST}, of both sorts"
        )
    columns = [0, *(place for place in (1, 2) if np.ptp(logs[:, place - 1]) > 0)]
    coefficients = np.zeros(3)
    coefficients[columns] = _logistic(np.column_stack([np.ones(len(logs)), logs])[:, columns], right)
    return Calibration(*coefficients.tolist()), len(right)


def _examples(rows: Sequence[Row[Any]], detector: Detector) -> tuple[Floats, Flags]:
    """The logarithms of region and label score (N, 2) of the boxes that count, and whether each is right (N,)."""
    region, label = (
        scene(_changed(rows, change), detector.synonyms).found.scores
        for change in (
            lambda boxes: replace(boxes, label_scores=None),
            lambda boxes: replace(boxes, region_scores=None),
        )
    )
    kinds = np.array(_kinds(rows, detector), object)
    counted = kinds != tide.IGNORED
    logs = np.log(np.maximum(np.column_stack([region, label]), LOWEST))
    return logs[counted], (kinds == tide.RIGHT)[counted]


def _kinds(rows: Sequence[Row[Any]], detector: Detector) -> tuple[str, ...]:
    tables = scene(rows, detector.synonyms)
    return tide.mistakes(tables.truth, tables.found, tables.images, tables.categories).kinds


def _logistic(features: Floats, right: Flags) -> Floats:
    """The coefficients (F,) that maximise the likelihood of Platt's targets, by Newton's method."""
    positive = int(right.sum())
    targets = np.where(right, (positive + 1) / (positive + 2), 1 / (len(right) - positive + 2))
    coefficients = np.zeros(features.shape[1])
    for _ in range(STEPS):
        probability = 1 / (1 + np.exp(-np.clip(features @ coefficients, -700, 700)))
        curvature = (features * (probability * (1 - probability))[:, None]).T @ features
        step = np.linalg.lstsq(curvature, features.T @ (targets - probability), rcond=None)[0]
        coefficients += step * min(1.0, LONGEST / float(np.abs(step).max(initial=LONGEST)))
        if np.abs(step).max() < CONVERGED:
            return coefficients
    raise DataError("the calibration does not converge: the scores of right and of wrong boxes hardly differ")


# ---------------------------------------------------------------------------- metrics


def calibrated(task: Task[Any], calibration: Calibration, fitted_on: str) -> Task[Any]:
    """The task with AP by calibrated scores, and the calibration error of the model's own and the calibrated ones.

    `fitted_on` says on what the calibration was fitted; the record's policy repeats it.
    """
    detector = detector_of(task)
    if detector is None or task.corpus is None:
        raise UsageError(f"{task.name} does not rank boxes by scores: only detection can be calibrated")
    change = of_latest(partial(_changed, change=calibration))  # the metrics are given the same rows, one by one
    ranked: dict[str, Metric] = {
        f"{name} calibrated": _under(task.metrics[name], change) for name in RANKED if name in task.metrics
    }
    error = _Error(detector, task)
    errors: dict[str, Metric] = {"calibration error": error, "calibration error calibrated": _Calibrated(error, change)}
    policy = (
        f"{task.corpus.policy}; calibrated scores are {calibration}, fitted on {fitted_on}; calibration error is the "
        f"mean distance of score and share of right boxes (IoU 0.5) over {BINS} bins of equal numbers of boxes"
    )
    return replace(
        task,
        metrics={**task.metrics, **ranked, **errors},
        corpus=replace(task.corpus, policy=policy),
        marking=(*task.marking, "calibrated"),
    )


def _under(metric: Metric, change: Change) -> Metric:
    """The metric of changed rows; of those of each data set for a mean over data sets."""
    if isinstance(metric, OverDataSets):
        return replace(metric, metric=_Calibrated(metric.metric, change))
    return _Calibrated(metric, change)


@dataclass(frozen=True, slots=True)
class _Calibrated:
    """A metric of the rows with calibrated scores."""

    metric: Metric
    change: Change

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return self.metric.prepare(self.change(rows))


@dataclass(frozen=True, slots=True)
class _Error:
    """The expected calibration error in percent: the mean distance of score and share of right boxes over BINS bins."""

    detector: Detector
    task: Task[Any]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        place = dict(zip((row.sample.id for row in rows), clusters_of(rows), strict=True))
        scores, right, clusters = [], [], []
        for group in data_sets(self.task, rows):
            found = scene(group, self.detector.synonyms).found
            counted = np.array(_kinds(group, self.detector), object)
            kept = counted != tide.IGNORED
            scores.append(found.scores[kept])
            right.append((counted == tide.RIGHT)[kept])
            clusters.append(np.array([place[group[image].sample.id] for image in found.image.tolist()], int)[kept])
        return _error_of(np.concatenate(scores), np.concatenate(right), np.concatenate(clusters))


def _error_of(scores: Floats, right: Flags, clusters: NDArray[np.int64]) -> Statistic:
    """The statistic of boxes (N,); the bins are those of all boxes, under any weights."""
    edges = np.unique(np.quantile(scores, np.arange(1, BINS) / BINS, method="lower")) if len(scores) else scores
    bins = np.searchsorted(edges, scores, side="left")

    def statistic(weights: Weights) -> float:
        weight = weights[clusters]
        if not weight.sum() > 0:
            return math.nan
        distance = np.bincount(bins, weight * (scores - right))  # of each bin: its weight times its distance
        return float(PERCENT * np.abs(distance).sum() / weight.sum())

    return Biased(statistic)


def _changed(rows: Sequence[Row[Any]], change: Callable[[Boxes], Boxes]) -> list[Row[Any]]:
    """The rows with their boxes changed."""
    return [
        replace(row, answer=replace(row.answer, value=change(row.answer.value)))
        if isinstance(row.answer.value, Boxes)
        else row
        for row in rows
    ]
