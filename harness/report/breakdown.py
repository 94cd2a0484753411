"""Error analysis of one run: IoUs, box confidences, error types per sample, and scores by group.

Everything is computed from scored rows; nothing here reads a file or draws.  The object to find is the object of a
referring expression, a phrase, or a true box of detection.  Error types and thresholds follow TIDE
(`metrics/tide.py`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from harness.core import Boxes, Estimate, Grounded, Mask, Objects, Polygons, Row, Task, Text
from harness.geometry.boxes import iou
from harness.metrics import tide
from harness.metrics.detection import Detector, data_sets, detector_of
from harness.metrics.detection import scene as scene_of
from harness.metrics.reduce import mean_where_defined, ratio
from harness.report.gallery import object_size, size_of
from harness.statistics import estimate

SIZES = ("small", "medium", "large")
MOST = 12  # bars in a chart: the most frequent groups
QUARTERS = 4  # groups of samples by length
RESAMPLES = 500
Z = 1.96  # standard errors; half width of a 95 % interval


class Bar(NamedTuple):
    """A named score, in percent, with its interval and its n."""

    name: str
    estimate: Estimate


class Confidence(NamedTuple):
    """The confidence of a predicted box, 0 to 1, and whether the box is correct: category, and IoU of at least 0.5."""

    value: float
    correct: bool


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The error analysis of one run.

    `bars` are by chart title.  `overlaps` has the IoU of each object to find, 0 to 1.  `mistakes` has the error types
    of each sample, by sample id.
    """

    bars: Mapping[str, Sequence[Bar]] = field(default_factory=dict)
    overlaps: Sequence[float] = ()
    confidences: Sequence[Confidence] = ()
    mistakes: Mapping[str, Sequence[str]] = field(default_factory=dict)


COSTS = "AP50 lost to each error type"
BY_SIZE = "mean IoU by object size"
BY_TYPE = "R@1 by phrase type"
BY_PHRASE_SIZE = "R@1 by object size of the phrase"
BY_ANSWER = "accuracy by answer type"
BY_QUESTION = "accuracy by question type"
BY_REFERENCE = "score by length of the references"
BY_CAPTION = "score by length of the predicted caption"


def breakdown(task: Task[Any], rows: Sequence[Row[Any]], seed: int = 0) -> Breakdown:
    """The error analysis of a run's scored rows, by the type of their targets.

    An empty Breakdown if no row has a target, or if the task has neither scores nor a detector.  `seed` is for the
    bootstrap.
    """
    rows = [row for row in rows if row.sample.target is not None]
    if not rows or not (rows[0].score.values or detector_of(task)):
        return Breakdown()
    target, detector = rows[0].sample.target, detector_of(task)
    if isinstance(target, Objects) and detector is not None:
        return _detection(data_sets(task, rows), detector)
    if isinstance(target, Grounded):
        return _grounding(rows, seed)
    if isinstance(target, Boxes | Polygons | Mask) and "iou" in rows[0].score.values:
        return _regions(rows, seed)
    if isinstance(target, Text) and rows[0].sample.question.kind == "vqa" and task.headline == "accuracy":
        return Breakdown(bars=_not_empty({BY_ANSWER: _by_group(rows, 0, seed), BY_QUESTION: _by_group(rows, 1, seed)}))
    if isinstance(target, Text) and "caption" in rows[0].sample.question.kind:
        by_reference, by_caption = _by_length(rows, _reference_length, seed), _by_length(rows, _caption_length, seed)
        return Breakdown(bars=_not_empty({BY_REFERENCE: by_reference, BY_CAPTION: by_caption}))
    return Breakdown()


def _not_empty(charts: Mapping[str, Sequence[Bar]]) -> dict[str, Sequence[Bar]]:
    return {title: bars for title, bars in charts.items() if bars}


def error_type(overlap: float) -> str:
    """The error type of a single box or outline with this IoU (0 to 1); "" if it is correct."""
    return "background" if overlap < tide.BACKGROUND else "localisation" if overlap < tide.FOREGROUND else ""


# ---------------------------------------------------------------------------- by type of target


def _detection(groups: Sequence[Sequence[Row[Any]]], detector: Detector) -> Breakdown:
    """Over several data sets, counts are summed and costs are averaged, like the AP of ODinW."""
    counts: Counter[str] = Counter()
    costs: dict[str, list[float]] = {kind: [] for kind in tide.KINDS}
    overlaps: list[float] = []
    confidences: list[Confidence] = []
    mistakes: dict[str, Sequence[str]] = {}
    for group in groups:
        scene = scene_of(group, detector.synonyms)
        analysis = tide.mistakes(scene.truth, scene.found, scene.images, scene.categories)
        counts.update(analysis.counts)
        if not math.isnan(analysis.ap50):
            for kind, cost in analysis.costs.items():
                costs[kind] += [] if math.isnan(cost) else [cost]
        overlaps += analysis.overlap[~scene.truth.crowd].tolist()
        values = [row.answer.value for row in group]
        if any(isinstance(value, Boxes) and value.region_scores is not None for value in values):
            scored = zip(scene.found.scores.tolist(), analysis.kinds, strict=True)
            confidences += [Confidence(score, kind == tide.RIGHT) for score, kind in scored if kind != tide.IGNORED]
        by_image: dict[int, set[str]] = {}
        for image, kind in zip(scene.found.image.tolist(), analysis.kinds, strict=True):
            by_image.setdefault(image, set()).add(kind)
        for image in scene.truth.image[analysis.missed].tolist():
            by_image.setdefault(image, set()).add("missed")
        for image, kinds in by_image.items():
            mistakes[group[image].sample.id] = [kind for kind in tide.KINDS if kind in kinds]
    bars = [
        Bar(kind, Estimate(float(np.mean(costs[kind])) if costs[kind] else None, None, None, counts[kind]))
        for kind in tide.KINDS
    ]
    return Breakdown({COSTS: bars}, overlaps, _if_probabilities(confidences), mistakes)


def _regions(rows: Sequence[Row[Any]], seed: int) -> Breakdown:
    """One object per expression: the first predicted box, or the predicted outline."""
    overlaps = [row.score.values["iou"] for row in rows]
    confidences, mistakes = [], {}
    for row, overlap in zip(rows, overlaps, strict=True):
        value = row.answer.value
        scores = value.region_scores if isinstance(value, Boxes) else None
        if scores:
            confidences.append(Confidence(scores[0], overlap >= tide.FOREGROUND))
        kind = error_type(overlap)
        empty = (isinstance(value, Boxes) and not value.boxes) or (isinstance(value, Polygons) and not value.rings)
        if not row.score.readable or (empty and kind):  # nothing is the right answer where nothing is referred to
            kind = "missed"
        mistakes[row.sample.id] = [kind] if kind else []
    by_size: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if row.sample.target != Polygons(()):  # of an expression that refers to nothing
            by_size.setdefault(object_size(row.sample.target), []).append(row)
    bars = [Bar(size, _mean("iou", by_size[size], seed)) for size in SIZES if size in by_size]
    return Breakdown(_not_empty({BY_SIZE: bars}), overlaps, _if_probabilities(confidences), mistakes)


def _if_probabilities(confidences: Sequence[Confidence]) -> Sequence[Confidence]:
    """The confidences; none if any is outside 0 to 1, because calibration is then undefined."""
    return confidences if all(0 <= confidence.value <= 1 for confidence in confidences) else ()


def _grounding(rows: Sequence[Row[Any]], seed: int) -> Breakdown:
    """The first predicted box of each phrase, versus any of its true boxes."""
    overlaps: list[float] = []
    mistakes: dict[str, Sequence[str]] = {}
    counted: list[
        Row[Any]
    ] = []  # rows whose scores are, by group of phrases, the number of phrases and of correct ones
    names: Counter[str] = Counter()
    for row in rows:
        target, value = row.sample.target, row.answer.value
        if not isinstance(target, Grounded):
            raise ValueError(f"the phrases of sample {row.sample.id} have no boxes")
        predicted = value.boxes if isinstance(value, Grounded) and len(value.boxes) == len(target.boxes) else ()
        kinds, numbers = set(), Counter[str]()
        for place, true in enumerate(target.boxes):
            boxes = predicted[place] if predicted else ()
            overlap = max((iou(boxes[0], box) for box in true), default=0.0) if boxes else 0.0
            overlaps.append(overlap)
            kinds.add(error_type(overlap) if boxes else "missed")
            size = size_of(max(((right - left) * (bottom - top) for left, top, right, bottom in true), default=0.0))
            types = target.types[place] if place < len(target.types) else ()
            for name in dict.fromkeys((*types, *[size] * bool(size))):
                names[name] += 1
                numbers[name] += 1
                numbers[f"{name} correct"] += overlap >= tide.FOREGROUND
        mistakes[row.sample.id] = [kind for kind in tide.KINDS if kind in kinds]
        counted.append(replace(row, score=replace(row.score, values=numbers)))

    def bars(groups: Sequence[str]) -> list[Bar]:
        return [Bar(name, replace(_recall(name, counted, seed), n=names[name])) for name in groups if names[name]]

    frequent = [name for name, _ in names.most_common() if name not in SIZES][:MOST]
    return Breakdown(_not_empty({BY_TYPE: bars(frequent), BY_PHRASE_SIZE: bars(SIZES)}), overlaps, (), mistakes)


def _by_group(rows: Sequence[Row[Any]], place: int, seed: int) -> list[Bar]:
    """The mean first score of each group; `place` 0 is the answer type, `place` 1 the question type."""
    by_name: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if len(row.sample.groups) > place:
            by_name.setdefault(row.sample.groups[place], []).append(row)
    most = sorted(by_name, key=lambda name: (-len(by_name[name]), name))[:MOST]
    return [Bar(name, _mean(_first_score(rows), by_name[name], seed)) for name in most]


def _by_length(rows: Sequence[Row[Any]], length: Callable[[Row[Any]], float], seed: int) -> list[Bar]:
    """The mean first score of each quarter of the samples by length in words; fewer groups if lengths are tied."""
    lengths = np.array([length(row) for row in rows])
    edges = np.unique(np.quantile(lengths, np.arange(1, QUARTERS) / QUARTERS, method="lower"))
    quarters = np.searchsorted(edges, lengths, side="left")
    bars = []
    for quarter in np.unique(quarters).tolist():
        members = [row for row, its in zip(rows, quarters.tolist(), strict=True) if its == quarter]
        low, high = lengths[quarters == quarter].min(), lengths[quarters == quarter].max()
        name = f"{low:.3g} words" if low == high else f"{low:.3g} to {high:.3g} words"
        bars.append(Bar(name, _mean(_first_score(rows), members, seed)))
    return bars


def _reference_length(row: Row[Any]) -> float:
    """The mean number of words of the references."""
    texts = row.sample.target.texts if isinstance(row.sample.target, Text) else ()
    return float(np.mean([len(text.split()) for text in texts])) if texts else 0.0


def _caption_length(row: Row[Any]) -> float:
    """The number of words of the predicted caption."""
    return float(len(row.answer.value.texts[0].split())) if isinstance(row.answer.value, Text) else 0.0


# ---------------------------------------------------------------------------- estimates


def _first_score(rows: Sequence[Row[Any]]) -> str:
    return next(iter(rows[0].score.values))


def _mean(key: str, rows: Sequence[Row[Any]], seed: int) -> Estimate:
    return estimate(mean_where_defined(key), rows, seed, resamples=RESAMPLES)


def _recall(name: str, rows: Sequence[Row[Any]], seed: int) -> Estimate:
    """The share of correct phrases in a group, in percent; images are resampled with all their phrases."""
    return estimate(ratio(f"{name} correct", name, empty=math.nan), rows, seed, resamples=RESAMPLES)


# ---------------------------------------------------------------------------- calibration


class Bin(NamedTuple):
    """Boxes of similar confidence: the mean confidence, the share of correct boxes with its 95 % Wilson interval, n.

    All but n are shares, 0 to 1.
    """

    confidence: float
    accuracy: float
    low: float
    high: float
    n: int


def bins(confidences: Sequence[Confidence], count: int = 10) -> list[Bin]:
    """At most `count` bins of about equal size, by confidence (adaptive binning: Nguyen and O'Connor, EMNLP 2015).

    Bins of equal width would put nearly all boxes of an underconfident model into one bin.  Boxes of equal confidence
    share a bin.
    """
    values = np.array([confidence.value for confidence in confidences])
    correct = np.array([confidence.correct for confidence in confidences], np.float64)
    edges = np.unique(np.quantile(values, np.arange(1, count) / count, method="lower"))
    places = np.searchsorted(edges, values, side="left")
    result = []
    for place in np.unique(places).tolist():
        inside = places == place
        n, share = int(inside.sum()), float(correct[inside].mean())
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n * n))
        # Rounding may leave the share just outside its interval.
        low, high = min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
        result.append(Bin(float(values[inside].mean()), share, low, high, n))
    return result


def calibration_error(groups: Sequence[Bin]) -> float:
    """The expected calibration error, 0 to 1: the mean distance of confidence and accuracy, weighted by n."""
    return sum(group.n * abs(group.confidence - group.accuracy) for group in groups) / sum(group.n for group in groups)


def auroc(confidences: Sequence[Confidence]) -> float:
    """The area under the ROC curve, 0 to 1: the share of pairs in which the correct box has the higher confidence.

    A pair is a correct and a wrong box; a tie counts half.  NaN if all boxes are correct or all are wrong.
    """
    values = np.array([confidence.value for confidence in confidences])
    correct = np.array([confidence.correct for confidence in confidences], np.bool_)
    wrong = np.sort(values[~correct])
    if not len(wrong) or not correct.any():
        return math.nan
    below, up_to = (np.searchsorted(wrong, values[correct], side=side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(wrong))
