"""The metrics of a detection benchmark, from a model's labelled boxes to AP.

    detector = Detector(synonyms)
    detector.metrics()     COCOeval's twelve numbers, AP without scores, precision, recall and F1
    detector.corpus        F1 and counts of each image

`coco_eval.py` computes the numbers from tables of truths and detections.  This module fills the tables:

- Category.  `labels.py` finds the category that a box's label names.  A box whose label names none is not a detection;
  the record counts such boxes (`unmapped labels`).
- Score.  Florence-2 gives its boxes no scores, and AP needs an order.  `mAP` ranks boxes by region score x label score:
  the geometric means of the probabilities of a box's four location tokens and of its label's tokens.  Boxes of a
  prediction file keep the scores of the file.
- Ties.  `mAP constant` gives all boxes the same score: the mean, lowest and highest AP over random orders.  Precision,
  recall and F1 at an IoU of 0.5 need no scores.

Images are numbered in the order of the rows, so the order of the samples decides ties.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from harness.core import (
    Answer,
    Biased,
    Boxes,
    Corpus,
    Fixed,
    Metric,
    Objects,
    Row,
    Sample,
    Score,
    Statistic,
    Task,
    Weights,
    Xywh,
)
from harness.metrics import coco_eval
from harness.metrics.average_precision import PRECISIONS
from harness.metrics.labels import Synonyms, detections_in, unmapped
from harness.metrics.reduce import clusters_of, hmean, ratio

ORDERS = 10  # random orders of ties for `mAP constant`
CACHED = 210  # sequences of rows with cached results: a comparison of two runs on RF100-VL needs 200
POLICY = (
    "mAP ranks a model's boxes by region score x label score, which are geometric means of token probabilities, and "
    "the boxes of a prediction file by the file's scores; mAP constant gives all boxes one score, over "
    f"{ORDERS} random orders; AP and AR have basic bootstrap intervals"
)


def score(sample: Sample[Objects], answer: Answer) -> Score:
    """A score without values, since `Detector.scores` computes them; unreadable where the answer is not boxes."""
    return Score({}, readable=isinstance(answer.value, Boxes))


# ---------------------------------------------------------------------------- rows to tables


@dataclass(frozen=True, slots=True)
class Scene:
    """Rows as tables of truths and of detections, with the numbers of images and categories."""

    truth: coco_eval.Truth
    found: coco_eval.Detections
    images: int
    categories: int
    clusters: list[int]  # the cluster number of each image
    zero: int | None = None  # the truth whose annotation id is 0


def scene(rows: Sequence[Row[Any]], synonyms: Synonyms, *, negative: bool = False) -> Scene:
    """The tables of rows, one image each; ValueError where the rows have different categories.

    With `negative`, a result file's detections with a negative width or height are included.
    """
    phrases = rows[0].sample.question.phrases
    truths: list[tuple[int, int, Xywh, float, bool]] = []
    predictions: list[tuple[int, int, Xywh, float]] = []
    zero: int | None = None
    for image, row in enumerate(rows):
        target = row.sample.target
        if not isinstance(target, Objects) or row.sample.question.phrases != phrases:
            raise ValueError(
                f"samples {rows[0].sample.id} and {row.sample.id} have different categories: they are of two data sets"
            )
        if target.zero is not None:
            zero = len(truths) + target.zero
        for box, category, area, crowd in zip(target.xywh, target.categories, target.areas, target.crowd, strict=True):
            truths.append((image, category, box, area, crowd))
        predictions.extend(
            (image, category, box, score) for box, category, score in detections_in(row, synonyms, negative=negative)
        )
    truth = coco_eval.Truth(
        image=np.array([record[0] for record in truths], np.int64),
        category=np.array([record[1] for record in truths], np.int64),
        boxes=np.array([record[2] for record in truths], np.float64).reshape(-1, 4),
        area=np.array([record[3] for record in truths], np.float64),
        crowd=np.array([record[4] for record in truths], np.bool_),
    )
    detections = coco_eval.Detections(
        image=np.array([record[0] for record in predictions], np.int64),
        category=np.array([record[1] for record in predictions], np.int64),
        boxes=np.array([record[2] for record in predictions], np.float64).reshape(-1, 4),
        scores=np.array([record[3] for record in predictions], np.float64),
        signed=negative,
    )
    return Scene(truth, detections, len(rows), len(phrases), clusters_of(rows), zero)


class Evaluation:
    """Results that several metrics need from the same rows, each computed once."""

    def __init__(self, rows: Sequence[Row[Any]], synonyms: Synonyms, engine: coco_eval.Engine) -> None:
        self.rows = rows  # a reference, so that the ids of samples and answers, which are the cache key, are not reused
        self.engine = engine
        self.scene = scene(rows, synonyms)
        self.synonyms = synonyms

    @cached_property
    def negative(self) -> int:
        """The number of detections of a result file with a negative width or height."""
        values = (row.answer.value for row in self.rows)
        boxes = (box for value in values if isinstance(value, Boxes) for box in value.xywh or ())
        return sum(min(box[2:]) < 0 for box in boxes)

    @cached_property
    def official(self) -> dict[str, float]:
        """COCOeval's twelve numbers in percent."""
        scene = self.scene
        return coco_eval.evaluate(scene.truth, scene.found, scene.images, scene.categories, engine=self.engine)

    @cached_property
    def of_files(self) -> dict[str, float]:
        """pycocotools' twelve numbers in percent, with annotation id 0 and negative sizes as in the files."""
        tables = scene(self.rows, self.synonyms, negative=True) if self.negative else self.scene
        return coco_eval.evaluate(tables.truth, tables.found, tables.images, tables.categories, zero=tables.zero)

    @cached_property
    def matches(self) -> coco_eval.MatchTable:
        """The table that gives AP and AR under any weights of the images."""
        return coco_eval.match(self.scene.truth, self.scene.found, self.scene.images, self.scene.categories)

    @cached_property
    def constant(self) -> tuple[float, float, float]:
        """mAP in percent with all scores equal: mean, lowest and highest over random orders of the ties."""
        scene = self.scene
        return coco_eval.constant_score_ap(scene.truth, scene.found, scene.images, scene.categories, orders=ORDERS)


class Detector:
    """The metrics of a detection benchmark; `policy` is the text about scores and ties in the record of a run."""

    def __init__(self, synonyms: Synonyms, engine: coco_eval.Engine = "pycocotools", policy: str = POLICY) -> None:
        self.synonyms = synonyms
        self.engine: coco_eval.Engine = engine
        self.policy = policy
        self._cache: dict[tuple[int, ...], Evaluation] = {}

    def evaluation_of(self, rows: Sequence[Row[Any]]) -> Evaluation:
        """The results of these rows, cached by the identity and order of their samples and answers."""
        key = tuple(id(part) for row in rows for part in (row.sample, row.answer))
        if key not in self._cache:
            if len(self._cache) >= CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[key] = Evaluation(rows, self.synonyms, self.engine)
        return self._cache[key]

    def metrics(self) -> dict[str, Metric]:
        """COCOeval's twelve numbers, mAP with all scores equal, and precision, recall and F1 over all boxes."""
        return {
            **{name: _Official(self, name) for name in coco_eval.NAMES},
            "mAP constant": _Constant(self, "mean"),
            "mAP constant lowest": _Constant(self, "lowest"),
            "mAP constant highest": _Constant(self, "highest"),
            "precision": ratio("true positives", "predictions", empty=math.nan),
            "recall": ratio("true positives", "targets", empty=math.nan),
            "F1": hmean("true positives", "targets", "predictions"),
        }

    @property
    def corpus(self) -> Corpus[Objects]:
        """The scores of all images; the record of a run counts the boxes whose label names no category."""
        return Corpus(self.scores, ("unmapped labels",), self.policy)

    def remarks(self, rows: Sequence[Row[Any]]) -> list[str]:
        """A sentence where pycocotools gives other numbers, because of annotation id 0 or of negative sizes."""
        evaluation = self.evaluation_of(rows)
        negative = evaluation.negative
        causes = []
        if evaluation.scene.zero is not None:
            causes.append(
                ("annotation id 0", "counts a detection of that object as wrong", "number annotations from 1")
            )
        if negative:
            sizes = f"{negative:,} detections with a negative width or height"
            causes.append((sizes, "counts them among the detections", "write [x, y, width, height]"))
        if not causes:
            return []
        pairs = [(name, evaluation.official[name], evaluation.of_files[name]) for name in coco_eval.NAMES]
        changed = [
            f"{name} {theirs:.1f} (here {ours:.1f})"
            for name, ours, theirs in pairs
            if ours != theirs and not math.isnan(ours)  # both are NaN where no truth has the size
        ]
        if not changed:
            return []
        what, reason, todo = (" and ".join(parts) for parts in zip(*causes, strict=True))
        return [f"{what}: pycocotools {reason}, and gives {', '.join(changed)}; {todo}"]

    def scores(self, rows: Sequence[Row[Any]]) -> list[dict[str, float]]:
        """For each image: F1 at an IoU of 0.5, its counts, and the number of boxes whose label names no category.

        F1 is 1 where the image has no truths and no detections.
        """
        scores: list[dict[str, float]] = []
        for group in by_categories(rows):
            tables = self.evaluation_of(group).scene
            counts = coco_eval.precision_recall_f1(tables.truth, tables.found, tables.images, tables.categories)
            for row, (right, found, there) in zip(group, counts.tolist(), strict=True):
                f1 = 2 * right / (found + there) if found + there else 1.0
                more = {"true positives": right, "predictions": found, "targets": there}
                scores.append({"F1": f1, **more, "unmapped labels": float(unmapped(row, self.synonyms))})
        return scores


def detector_of(task: Task[Any]) -> Detector | None:
    """The detector that computes a task's AP; None where the task does not score detections."""
    for metric in task.metrics.values():
        inner = metric.metric if isinstance(metric, OverDataSets) else metric
        if isinstance(inner, _Official):
            return inner.detector
    return None


def data_sets(task: Task[Any], rows: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    """The rows of each data set for which a task computes AP.

    A task over several data sets groups rows by their first group; any other groups consecutive rows that have the same
    categories.
    """
    if not any(isinstance(metric, OverDataSets) for metric in task.metrics.values()):
        return list(by_categories(rows))
    groups: dict[tuple[str, ...], list[Row[Any]]] = {}
    for row in rows:
        groups.setdefault(row.sample.groups[:1], []).append(row)
    return list(groups.values())


def by_categories(rows: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """Groups of consecutive rows that have the same categories."""
    group: list[Row[Any]] = []
    for row in rows:
        if group and row.sample.question.phrases != group[0].sample.question.phrases:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


# ---------------------------------------------------------------------------- metrics


@dataclass(frozen=True, slots=True)
class _Official:
    """One of COCOeval's twelve numbers."""

    detector: Detector
    name: str

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        evaluation = self.detector.evaluation_of(rows)
        value = evaluation.official[self.name]
        clusters = np.array(evaluation.scene.clusters)

        def statistic(weights: Weights) -> float:
            if (weights == 1.0).all():
                return value  # the official code's own sum, to the last bit
            table = evaluation.matches
            reweighted = table.average_precision if self.name in PRECISIONS else table.average_recall
            return reweighted(weights[clusters], self.name)

        return Biased(statistic)


@dataclass(frozen=True, slots=True)
class _Constant:
    """mAP with all scores equal."""

    detector: Detector
    which: Literal["mean", "lowest", "highest"]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return Fixed(self.detector.evaluation_of(rows).constant[("mean", "lowest", "highest").index(self.which)])


@dataclass(frozen=True, slots=True)
class OverDataSets:
    """The mean or the median of a metric over data sets, where a sample's first group names its data set.

    The number is NaN unless all data sets in `names` have rows: a mean of fewer would be another benchmark's.
    """

    metric: Metric
    names: tuple[str, ...]
    how: Literal["mean", "median"]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        by_name = {name: [row for row in rows if row.sample.groups[:1] == (name,)] for name in self.names}
        if not all(by_name.values()):
            return Fixed(float("nan"))
        numbers = {row.sample.cluster: place for row, place in zip(rows, clusters_of(rows), strict=True)}
        parts = []
        for group in by_name.values():
            places = np.array([numbers[name] for name in dict.fromkeys(row.sample.cluster for row in group)])
            parts.append((self.metric.prepare(group), places))
        combine = np.mean if self.how == "mean" else np.median
        if all(isinstance(part, Fixed) for part, _ in parts):
            return Fixed(float(combine([part(np.ones(len(places))) for part, places in parts])))

        def statistic(weights: Weights) -> float:
            return float(combine([part(weights[places]) for part, places in parts]))

        return Biased(statistic)
