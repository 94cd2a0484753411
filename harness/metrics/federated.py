"""LVIS's box AP, whose images are each annotated for some of the categories only.

The rules are those of the official package `lvis` (0.5.3, `LVISEval`), which differ from COCO's (`coco_eval.py`):

- A detection counts only if the image is annotated for its category: it shows the category, or is known not to
  (`neg_category_ids`).  Others are neither right nor wrong.
- An unmatched detection does not count either, if not all objects of its category in the image are annotated
  (`not_exhaustive_category_ids`).
- Of an image, the 300 detections with the highest scores count, over all categories and before the first rule.
- There are no crowds: every annotation is one object.
- APr, APc and APf are means over the rare, common and frequent categories, and AP is the mean over all.  Categories
  without truths are left out.

Fixed AP (Dave et al., arXiv:2102.01066) has no limit for an image; for each category it takes the 10,000 detections
with the highest scores over all images.  The resamples of its intervals keep this choice.  Published figures on LVIS
minival, from MDETR and GLIP on, are of fixed AP.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Biased, Corpus, Federated, Metric, Row, Statistic, Vocabulary, Weights
from harness.metrics import coco_eval
from harness.metrics.average_precision import Detections, Flags, MatchTable, Numbers
from harness.metrics.detection import Scene, scene
from harness.metrics.labels import unmapped
from harness.metrics.reduce import hmean, ratio

MOST = 300  # detections of an image
MOST_FIXED = 10_000  # detections of a category, for fixed AP
CACHED = 2  # sequences of rows: the two runs of a comparison
KEPT = 4096  # sets of weights whose AP of each category is kept
POLICY = (
    f"AP takes the {MOST} detections of each image with the highest scores, and fixed AP the {MOST_FIXED:,} of each "
    "category; a model's boxes are ranked by region score x label score, which are geometric means of token "
    "probabilities, and the boxes of a prediction file by the file's scores; AP and AR have basic bootstrap intervals"
)


@dataclass(frozen=True, slots=True)
class Federation:
    """What the images are annotated for.  Axes: I images, K categories."""

    shown: Flags  # (I, K) the image has a truth of the category
    absent: Flags  # (I, K) the image is known not to show the category
    incomplete: Flags  # (I, K) not all objects of the category are annotated

    def known(self, detections: Detections) -> Flags:
        """(N,): the image of the detection is annotated for its category."""
        where = detections.image, detections.category
        known: Flags = self.shown[where] | self.absent[where]
        return known

    def match(self, detections: Detections, tables: Scene) -> MatchTable:
        """The matches of the detections that count."""
        found = taken(detections, self.known(detections))
        spared = self.incomplete[found.image, found.category]
        most = len(found.image)
        return coco_eval.match(tables.truth, found, tables.images, tables.categories, most=most, spared=spared)


def federation(rows: Sequence[Row[Any]], tables: Scene) -> Federation:
    """The annotated categories of each row's image; ValueError where a target is not of a federated data set."""
    shape = tables.images, tables.categories
    shown, absent, incomplete = (np.zeros(shape, np.bool_) for _ in range(3))
    shown[tables.truth.image, tables.truth.category] = True
    for image, row in enumerate(rows):
        target = row.sample.target
        if not isinstance(target, Federated):
            raise ValueError(f"sample {row.sample.id} does not say for which categories it is annotated")
        absent[image, list(target.absent)] = True
        incomplete[image, list(target.incomplete)] = True
    return Federation(shown, absent, incomplete)


def taken(detections: Detections, chosen: NDArray[np.bool_]) -> Detections:
    """The detections that are chosen, in their order."""
    return Detections(
        detections.image[chosen], detections.category[chosen], detections.boxes[chosen], detections.scores[chosen]
    )


class Evaluation:
    """Results that several metrics need from the same rows, each computed once."""

    def __init__(self, rows: Sequence[Row[Any]]) -> None:
        self.rows = rows  # a reference, so that the ids of the cache key are not reused
        vocabulary = vocabulary_of(rows)
        self.frequencies = np.array(vocabulary.frequencies)
        self.scene = scene(rows, vocabulary.synonyms)
        self.federation = federation(rows, self.scene)
        found = self.scene.found
        self.limited = taken(found, coco_eval.ranks(found.image, found.scores) < MOST)
        self._by_category: dict[tuple[bool, str, bytes], Numbers] = {}

    @cached_property
    def table(self) -> MatchTable:
        """The matches under the limit of 300 detections for each image."""
        return self.federation.match(self.limited, self.scene)

    @cached_property
    def fixed(self) -> MatchTable:
        """The matches under the limit of 10,000 detections for each category."""
        found = self.scene.found
        chosen = coco_eval.ranks(found.category, found.scores) < MOST_FIXED
        if chosen.all() and len(self.limited.image) == len(found.image):
            return self.table
        return self.federation.match(taken(found, chosen), self.scene)

    def by_category(self, weights: Weights, name: str, fixed: bool) -> Numbers:
        """(K,): the AP of each category in percent under weights of the rows' clusters; NaN without truths."""
        table = self.fixed if fixed else self.table
        key = (table is not self.table, name, weights.tobytes())
        if key not in self._by_category:
            if len(self._by_category) >= KEPT:
                self._by_category.clear()
            self._by_category[key] = table.by_category(weights[np.array(self.scene.clusters)], name)
        return self._by_category[key]

    def counts(self) -> NDArray[np.int64]:
        """(I, 3): detections that are right at an IoU of 0.5, detections that count, and truths."""
        found = taken(self.limited, self.federation.known(self.limited))
        spared = self.federation.incomplete[found.image, found.category]
        tables = self.scene
        return coco_eval.precision_recall_f1(tables.truth, found, tables.images, tables.categories, spared=spared)


def vocabulary_of(rows: Sequence[Row[Any]]) -> Vocabulary:
    """The vocabulary of rows of one data set; ValueError where a target is not of a federated data set."""
    target = rows[0].sample.target
    if not isinstance(target, Federated):
        raise ValueError(f"sample {rows[0].sample.id} does not say for which categories it is annotated")
    return target.vocabulary


# ---------------------------------------------------------------------------- metrics


class Evaluator:
    """The metrics of a federated data set, which share the evaluations of the same rows."""

    def __init__(self) -> None:
        self._cache: dict[tuple[int, ...], Evaluation] = {}

    def evaluation_of(self, rows: Sequence[Row[Any]]) -> Evaluation:
        """The results of these rows, cached by the identity and order of their samples and answers."""
        key = tuple(id(part) for row in rows for part in (row.sample, row.answer))
        if key not in self._cache:
            if len(self._cache) >= CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[key] = Evaluation(rows)
        return self._cache[key]

    def metrics(self) -> dict[str, Metric]:
        """LVIS's thirteen numbers, fixed AP, and precision, recall and F1 over the detections that count."""
        return {
            **{name: _Precision(self, *of) for name, of in PRECISIONS.items()},
            **{name: _Recall(self, name) for name in RECALLS},
            **{f"fixed {name}": _Precision(self, *PRECISIONS[name], fixed=True) for name in FIXED},
            "precision": ratio("true positives", "predictions", empty=math.nan),
            "recall": ratio("true positives", "targets", empty=math.nan),
            "F1": hmean("true positives", "targets", "predictions"),
        }

    @property
    def corpus(self) -> Corpus[Any]:
        """The scores of all images; the record of a run counts the boxes whose label names no category."""
        return Corpus(self.scores, ("unmapped labels",), POLICY)

    def scores(self, rows: Sequence[Row[Any]]) -> list[dict[str, float]]:
        """For each image: F1 at an IoU of 0.5, its counts, and the number of boxes whose label names no category.

        F1 is 1 where the image has no truths and no detections that count.
        """
        scores: list[dict[str, float]] = []
        synonyms = vocabulary_of(rows).synonyms
        for row, (right, found, there) in zip(rows, self.evaluation_of(rows).counts().tolist(), strict=True):
            f1 = 2 * right / (found + there) if found + there else 1.0
            more = {"true positives": right, "predictions": found, "targets": there}
            scores.append({"F1": f1, **more, "unmapped labels": float(unmapped(row, synonyms))})
        return scores

    def remarks(self, rows: Sequence[Row[Any]]) -> list[str]:
        """A sentence where an annotation has the id 0, since LVISEval takes 0 for "not matched"."""
        if self.evaluation_of(rows).scene.zero is None:
            return []
        return ["annotation id 0: lvis counts a detection of that object as wrong; number annotations from 1"]


PRECISIONS: Mapping[str, tuple[str, str]] = {  # name: that of the match table, and the frequency of its categories
    **{name: (name, "") for name in ("AP50", "AP75", "APs", "APm", "APl")},
    "AP": ("mAP", ""),
    **{f"AP{frequency}": ("mAP", frequency) for frequency in "rcf"},
}
RECALLS = ("AR300", "ARs300", "ARm300", "ARl300")
FIXED = ("AP", "APr", "APc", "APf")


@dataclass(frozen=True, slots=True)
class _Precision:
    """The mean AP of the categories of a frequency ("r", "c", "f"; "" for all), in percent."""

    evaluator: Evaluator
    name: str
    frequency: str
    fixed: bool = False

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        evaluation = self.evaluator.evaluation_of(rows)
        among = evaluation.frequencies == self.frequency if self.frequency else slice(None)

        def statistic(weights: Weights) -> float:
            values = evaluation.by_category(weights, self.name, self.fixed)[among]
            values = values[~np.isnan(values)]
            return float(values.mean()) if len(values) else math.nan

        return Biased(statistic)


@dataclass(frozen=True, slots=True)
class _Recall:
    """The mean recall of the categories over the IoU thresholds, in percent."""

    evaluator: Evaluator
    name: str

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        evaluation = self.evaluator.evaluation_of(rows)
        clusters = np.array(evaluation.scene.clusters)
        return Biased(lambda weights: evaluation.table.average_recall(weights[clusters], self.name))
