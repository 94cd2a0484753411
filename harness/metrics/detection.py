"""The metrics of a detection benchmark, from a model's labelled boxes to AP.

    detector = Detector(synonyms)
    detector.metrics()     COCOeval's twelve numbers, AP without scores, precision, recall and F1
    detector.corpus        F1 and counts of each image

`coco_eval.py` computes the numbers from tables of truths and detections.  This module fills the tables, and decides:

- Category.  A label names a category by its exact name, else by the name without case and spaces, else by a table of
  synonyms.  A box with any other label is no detection; the record counts such boxes (`unmapped labels`).
- Score.  Florence-2 gives its boxes no scores, and AP needs an order.  `mAP` orders boxes by region score x label
  score: the geometric means of the probabilities of a box's four location tokens and of its label's tokens.  Boxes of
  a prediction file keep the scores of the file.
- Ties.  `mAP constant` gives all boxes the same score: the mean, lowest and highest AP over random orders.  Precision,
  recall and F1 at an IoU of 0.5 need no scores.

Images are numbered in the order of the rows, so the order of the samples decides ties.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
    Phrase,
    Row,
    Sample,
    Score,
    Statistic,
    Task,
    Weights,
    Xywh,
)
from harness.geometry.boxes import is_finite, to_xywh
from harness.metrics import coco_eval
from harness.metrics.average_precision import PRECISIONS
from harness.metrics.reduce import clusters_of, ratio

Synonyms = Mapping[str, str]
ORDERS = 10  # of ties
REMEMBERED = 80  # sets of rows: ODinW has 35, and two runs are compared
POLICY = (
    "mAP orders a model's boxes by region score x label score, geometric means of token probabilities, and a file's by "
    f"its own scores; constant: all alike, over {ORDERS} orders of the ties; intervals of AP and AR: basic bootstrap"
)


def score(sample: Sample[Objects], answer: Answer) -> Score:
    """No number for one image by itself (`Detector.scores` gives them); unreadable where the answer is no boxes."""
    return Score({}, readable=isinstance(answer.value, Boxes))


# ---------------------------------------------------------------------------- labels and scores


@lru_cache(maxsize=256)
def _places(phrases: tuple[Phrase, ...]) -> tuple[dict[str, int], dict[str, int]]:
    exact = {phrase.text: place for place, phrase in reversed(list(enumerate(phrases)))}
    loose = {_loosely(phrase.text): place for place, phrase in reversed(list(enumerate(phrases)))}
    return exact, loose


def category_of(label: str, phrases: tuple[Phrase, ...], synonyms: Synonyms) -> int | None:
    """Which of the categories a label names; None: none."""
    exact, loose = _places(phrases)
    if label in exact:
        return exact[label]
    plain = _loosely(label)
    return loose[plain] if plain in loose else loose.get(synonyms.get(plain, plain))


def _loosely(text: str) -> str:
    return " ".join(text.lower().split())


def found_in(row: Row[Any], synonyms: Synonyms) -> Iterator[tuple[Xywh, int, float]]:
    """Every proper box of an answer, as COCO has it, with its category and score; not inverted or infinite ones."""
    value = row.answer.value
    if not isinstance(value, Boxes):
        return
    ones = (1.0,) * len(value.boxes)
    region, named = value.region_scores or ones, value.label_scores or ones
    boxes = zip(value.boxes, value.xywh or map(to_xywh, value.boxes), strict=True)
    for (box, xywh), label, one, other in zip(boxes, value.labels, region, named, strict=True):
        category = category_of(label, row.sample.question.phrases, synonyms)
        if category is not None and is_finite(box) and box[0] <= box[2] and box[1] <= box[3]:
            yield xywh, category, one * other


def unmapped(row: Row[Any], synonyms: Synonyms) -> int:
    """How many of an answer's labels name no category."""
    value = row.answer.value
    labels = value.labels if isinstance(value, Boxes) else ()
    return sum(category_of(label, row.sample.question.phrases, synonyms) is None for label in labels)


# ---------------------------------------------------------------------------- rows to tables


@dataclass(frozen=True, slots=True)
class Scene:
    """Rows as arrays: what there is, what was found, and how many images and categories there are."""

    truth: coco_eval.Truth
    found: coco_eval.Detections
    images: int
    categories: int
    clusters: list[int]


def scene(rows: Sequence[Row[Any]], synonyms: Synonyms) -> Scene:
    """ValueError where the rows are not of one set of categories."""
    phrases = rows[0].sample.question.phrases
    there: list[tuple[int, int, Xywh, float, bool]] = []
    found: list[tuple[int, int, Xywh, float]] = []
    for image, row in enumerate(rows):
        target = row.sample.target
        if not isinstance(target, Objects) or row.sample.question.phrases != phrases:
            raise ValueError(f"sample {row.sample.id} is of another data set than {rows[0].sample.id}")
        for box, category, area, crowd in zip(target.xywh, target.categories, target.areas, target.crowd, strict=True):
            there.append((image, category, box, area, crowd))
        found.extend((image, category, box, score) for box, category, score in found_in(row, synonyms))
    truth = coco_eval.Truth(
        image=np.array([one[0] for one in there], np.int64),
        category=np.array([one[1] for one in there], np.int64),
        boxes=np.array([one[2] for one in there], np.float64).reshape(-1, 4),
        area=np.array([one[3] for one in there], np.float64),
        crowd=np.array([one[4] for one in there], np.bool_),
    )
    detections = coco_eval.Detections(
        image=np.array([one[0] for one in found], np.int64),
        category=np.array([one[1] for one in found], np.int64),
        boxes=np.array([one[2] for one in found], np.float64).reshape(-1, 4),
        scores=np.array([one[3] for one in found], np.float64),
    )
    return Scene(truth, detections, len(rows), len(phrases), clusters_of(rows))


class Known:
    """What several metrics need of the same rows, each computed once."""

    def __init__(self, rows: Sequence[Row[Any]], synonyms: Synonyms, engine: coco_eval.Engine) -> None:
        self.rows = rows  # kept, so that no other row can take their place in memory
        self.engine = engine
        self.scene = scene(rows, synonyms)

    @cached_property
    def official(self) -> dict[str, float]:
        """COCOeval's twelve numbers."""
        here = self.scene
        return coco_eval.evaluate(here.truth, here.found, here.images, here.categories, engine=self.engine)

    @cached_property
    def matches(self) -> coco_eval.MatchTable:
        """The table that is summed anew under other weights."""
        return coco_eval.match(self.scene.truth, self.scene.found, self.scene.images, self.scene.categories)

    @cached_property
    def constant(self) -> tuple[float, float, float]:
        """mAP with all scores alike: mean, lowest and highest over orders of the ties."""
        here = self.scene
        return coco_eval.constant_score_ap(here.truth, here.found, here.images, here.categories, orders=ORDERS)


class Detector:
    """The metrics of a benchmark's detections."""

    def __init__(self, synonyms: Synonyms, engine: coco_eval.Engine = "pycocotools", policy: str = POLICY) -> None:
        self.synonyms = synonyms
        self.engine: coco_eval.Engine = engine
        self.policy = policy
        self._known: dict[tuple[int, ...], Known] = {}

    def known(self, rows: Sequence[Row[Any]]) -> Known:
        """Of these very rows, in this order."""
        key = tuple(map(id, rows))
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.pop(next(iter(self._known)))
            self._known[key] = Known(rows, self.synonyms, self.engine)
        return self._known[key]

    def metrics(self) -> dict[str, Metric]:
        """COCOeval's twelve, mAP with all scores alike, and precision, recall and F1 over all boxes."""
        return {
            **{name: _Official(self, name) for name in coco_eval.NAMES},
            "mAP constant": _Constant(self, "mean"),
            "mAP constant lowest": _Constant(self, "lowest"),
            "mAP constant highest": _Constant(self, "highest"),
            "precision": ratio("right", "found", empty=math.nan),
            "recall": ratio("right", "there", empty=math.nan),
            "F1": ratio("twice right", "found and there"),
        }

    @property
    def corpus(self) -> Corpus[Objects]:
        """The scores of all images together; records count the boxes whose label is no category's."""
        return Corpus(self.scores, ("unmapped labels",), self.policy)

    def scores(self, rows: Sequence[Row[Any]]) -> list[dict[str, float]]:
        """Each image's F1 at an IoU of 0.5, what it is made of, and its boxes whose label is no category's."""
        numbers: list[dict[str, float]] = []
        for group in alike(rows):
            here = scene(group, self.synonyms)
            counts = coco_eval.precision_recall_f1(here.truth, here.found, here.images, here.categories)
            for row, (right, found, there) in zip(group, counts.tolist(), strict=True):
                f1 = 2 * right / (found + there) if found + there else 1.0
                more = {"right": right, "found": found, "there": there}
                more |= {"twice right": 2 * right, "found and there": found + there}
                numbers.append({"F1": f1, **more, "unmapped labels": float(unmapped(row, self.synonyms))})
        return numbers


def detector_of(task: Task[Any]) -> Detector | None:
    """What computes a task's AP; None where its answers are not marked as detections."""
    for metric in task.metrics.values():
        one = metric.one if isinstance(metric, OverDataSets) else metric
        if isinstance(one, _Official):
            return one.detector
    return None


def data_sets(task: Task[Any], rows: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    """Rows of each data set that a task's AP is of: by their first group where it is over several, else all that follow
    each other and have the same categories."""
    if not any(isinstance(metric, OverDataSets) for metric in task.metrics.values()):
        return list(alike(rows))
    by_name: dict[tuple[str, ...], list[Row[Any]]] = {}
    for row in rows:
        by_name.setdefault(row.sample.groups[:1], []).append(row)
    return list(by_name.values())


def alike(rows: Sequence[Row[Any]]) -> Iterator[list[Row[Any]]]:
    """Rows that follow each other and have the same categories."""
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
    detector: Detector
    name: str

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        known = self.detector.known(rows)
        value = known.official[self.name]
        table, clusters = known.matches, np.array(known.scene.clusters)
        reweighted = table.average_precision if self.name in PRECISIONS else table.average_recall

        def statistic(weights: Weights) -> float:
            if (weights == 1.0).all():
                return value  # as the official code sums it
            return reweighted(weights[clusters], self.name)

        return Biased(statistic)


@dataclass(frozen=True, slots=True)
class _Constant:
    detector: Detector
    which: Literal["mean", "lowest", "highest"]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return Fixed(self.detector.known(rows).constant[("mean", "lowest", "highest").index(self.which)])


@dataclass(frozen=True, slots=True)
class OverDataSets:
    """A metric of each data set (a sample's first group), put together by `how`: their plain mean, or their median.

    Every one of `names` has to be there, or there is no number: a mean of fewer would be of another benchmark.
    """

    one: Metric
    names: tuple[str, ...]
    how: Literal["mean", "median"]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        apart = {name: [row for row in rows if row.sample.groups[:1] == (name,)] for name in self.names}
        if not all(apart.values()):
            return Fixed(float("nan"))
        everyone = {row.sample.cluster: place for row, place in zip(rows, clusters_of(rows), strict=True)}
        parts = []
        for theirs in apart.values():
            places = np.array([everyone[name] for name in dict.fromkeys(row.sample.cluster for row in theirs)])
            parts.append((self.one.prepare(theirs), places))
        combine = np.mean if self.how == "mean" else np.median
        if all(isinstance(part, Fixed) for part, _ in parts):
            return Fixed(float(combine([part(np.ones(len(places))) for part, places in parts])))

        def statistic(weights: Weights) -> float:
            return float(combine([part(weights[places]) for part, places in parts]))

        return Biased(statistic)
