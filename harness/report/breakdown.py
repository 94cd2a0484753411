"""What a run gets wrong, and where: IoUs, confidence beside being right, and its numbers by what is asked about.

Everything comes from rows that are marked: nothing here reads a file or draws.  A thing that is sought is a sentence's
object, a phrase, or a truth of detection; what is wrong with it goes by TIDE's words and thresholds
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
MOST = 12  # bars of a kind: the most frequent
PARTS = 4  # by length: quarters of the samples
RESAMPLES = 500
Z = 1.96  # of a 95 % interval


class Bar(NamedTuple):
    """A number with its interval, in percent, and how many it is of."""

    name: str
    estimate: Estimate


class Confidence(NamedTuple):
    """What a model gave a box, 0 to 1, and whether the box is right (an IoU of 0.5, and the category)."""

    given: float
    right: bool


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One run's: `bars` by title, `overlaps` of things sought, `mistakes` of each sample by its id."""

    bars: Mapping[str, Sequence[Bar]] = field(default_factory=dict)
    overlaps: Sequence[float] = ()
    confidences: Sequence[Confidence] = ()
    mistakes: Mapping[str, Sequence[str]] = field(default_factory=dict)


COSTS = "AP50 that each kind of mistake costs"
BY_SIZE = "mean IoU by size of the object"
BY_TYPE = "R@1 by type of phrase"
BY_PHRASE_SIZE = "R@1 by size of the phrase's boxes"
BY_ANSWER = "accuracy by type of answer"
BY_QUESTION = "accuracy by type of question"
BY_REFERENCE = "score by length of the references"
BY_CAPTION = "score by length of the caption written"


def breakdown(task: Task[Any], rows: Sequence[Row[Any]], seed: int = 0) -> Breakdown:
    """Of a run's marked rows, by what their targets are; an empty one where there is nothing to tell."""
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
    if isinstance(target, Text) and rows[0].sample.question.kind == "vqa":
        return Breakdown(bars=_told({BY_ANSWER: _by_group(rows, 0, seed), BY_QUESTION: _by_group(rows, 1, seed)}))
    if isinstance(target, Text) and "caption" in rows[0].sample.question.kind:
        return Breakdown(
            bars=_told({BY_REFERENCE: _by_length(rows, _reference, seed), BY_CAPTION: _by_length(rows, _written, seed)})
        )
    return Breakdown()


def _told(bars: Mapping[str, Sequence[Bar]]) -> dict[str, Sequence[Bar]]:
    return {title: some for title, some in bars.items() if some}


def kind_of(overlap: float) -> str:
    """What is wrong with a box or an outline of this IoU with what was sought; '' where nothing is."""
    return "background" if overlap < tide.BACKGROUND else "localisation" if overlap < tide.FOREGROUND else ""


# ---------------------------------------------------------------------------- of each form of target


def _detection(groups: Sequence[Sequence[Row[Any]]], detector: Detector) -> Breakdown:
    """Over several data sets, counts are summed and costs averaged, as ODinW's AP is."""
    counts: Counter[str] = Counter()
    costs: dict[str, list[float]] = {kind: [] for kind in tide.KINDS}
    overlaps: list[float] = []
    confidences: list[Confidence] = []
    mistakes: dict[str, Sequence[str]] = {}
    for group in groups:
        scene = scene_of(group, detector.synonyms)
        found = tide.mistakes(scene.truth, scene.found, scene.images, scene.categories)
        counts.update(found.counts)
        if not math.isnan(found.ap50):
            for kind, cost in found.costs.items():
                costs[kind] += [] if math.isnan(cost) else [cost]
        overlaps += found.overlap[~scene.truth.crowd].tolist()
        values = [row.answer.value for row in group]
        if any(isinstance(value, Boxes) and value.region_scores is not None for value in values):
            given = zip(scene.found.scores.tolist(), found.kinds, strict=True)
            confidences += [Confidence(score, kind == tide.RIGHT) for score, kind in given if kind != tide.IGNORED]
        wrong: dict[int, set[str]] = {}
        for image, kind in zip(scene.found.image.tolist(), found.kinds, strict=True):
            wrong.setdefault(image, set()).add(kind)
        for image in scene.truth.image[found.missed].tolist():
            wrong.setdefault(image, set()).add("missed")
        for image, kinds in wrong.items():
            mistakes[group[image].sample.id] = [kind for kind in tide.KINDS if kind in kinds]
    bars = [
        Bar(kind, Estimate(float(np.mean(costs[kind])) if costs[kind] else None, None, None, counts[kind]))
        for kind in tide.KINDS
    ]
    return Breakdown({COSTS: bars}, overlaps, _as_chances(confidences), mistakes)


def _regions(rows: Sequence[Row[Any]], seed: int) -> Breakdown:
    """One object a sentence: its first box, or its outline."""
    overlaps = [row.score.values["iou"] for row in rows]
    confidences, mistakes = [], {}
    for row, overlap in zip(rows, overlaps, strict=True):
        value = row.answer.value
        scores = value.region_scores if isinstance(value, Boxes) else None
        if scores:
            confidences.append(Confidence(scores[0], overlap >= tide.FOREGROUND))
        nothing = not row.score.readable or (isinstance(value, Boxes) and not value.boxes)
        nothing |= isinstance(value, Polygons) and not value.rings
        kind = "missed" if nothing else kind_of(overlap)
        mistakes[row.sample.id] = [kind] if kind else []
    by_size: dict[str, list[Row[Any]]] = {}
    for row in rows:
        by_size.setdefault(object_size(row.sample.target), []).append(row)
    bars = [Bar(size, _mean("iou", by_size[size], seed)) for size in SIZES if size in by_size]
    return Breakdown(_told({BY_SIZE: bars}), overlaps, _as_chances(confidences), mistakes)


def _as_chances(confidences: Sequence[Confidence]) -> Sequence[Confidence]:
    """As they are, unless some cannot be probabilities: then there is nothing to calibrate."""
    return confidences if all(0 <= one.given <= 1 for one in confidences) else ()


def _grounding(rows: Sequence[Row[Any]], seed: int) -> Breakdown:
    """The first box of each phrase, against any of its true ones."""
    overlaps: list[float] = []
    mistakes: dict[str, Sequence[str]] = {}
    counted: list[Row[Any]] = []  # whose scores are how many phrases of a name there are, and how many are right
    names: Counter[str] = Counter()
    for row in rows:
        target, value = row.sample.target, row.answer.value
        if not isinstance(target, Grounded):
            raise ValueError(f"the phrases of sample {row.sample.id} have no boxes")
        found = value.boxes if isinstance(value, Grounded) and len(value.boxes) == len(target.boxes) else ()
        kinds, numbers = set(), Counter[str]()
        for place, true in enumerate(target.boxes):
            boxes = found[place] if found else ()
            overlap = max((iou(boxes[0], box) for box in true), default=0.0) if boxes else 0.0
            overlaps.append(overlap)
            kinds.add(kind_of(overlap) if boxes else "missed")
            size = size_of(max(((right - left) * (bottom - top) for left, top, right, bottom in true), default=0.0))
            types = target.types[place] if place < len(target.types) else ()
            for name in dict.fromkeys((*types, *[size] * bool(size))):
                names[name] += 1
                numbers[name] += 1
                numbers[f"{name} right"] += overlap >= tide.FOREGROUND
        mistakes[row.sample.id] = [kind for kind in tide.KINDS if kind in kinds]
        counted.append(replace(row, score=replace(row.score, values=numbers)))

    def bars(wanted: Sequence[str]) -> list[Bar]:
        return [
            Bar(name, replace(_share(name, counted, seed), n=names[name])) for name in wanted if names[name]
        ]  # fmt: skip

    most = [name for name, _ in names.most_common() if name not in SIZES][:MOST]
    return Breakdown(_told({BY_TYPE: bars(most), BY_PHRASE_SIZE: bars(SIZES)}), overlaps, (), mistakes)


def _by_group(rows: Sequence[Row[Any]], place: int, seed: int) -> list[Bar]:
    """The first score over rows of each group at this place: of answers, then of questions."""
    by_name: dict[str, list[Row[Any]]] = {}
    for row in rows:
        if len(row.sample.groups) > place:
            by_name.setdefault(row.sample.groups[place], []).append(row)
    most = sorted(by_name, key=lambda name: (-len(by_name[name]), name))[:MOST]
    return [Bar(name, _mean(_first(rows), by_name[name], seed)) for name in most]


def _by_length(rows: Sequence[Row[Any]], length: Callable[[Row[Any]], float], seed: int) -> list[Bar]:
    """The first score over quarters of the samples by a length in words; fewer where many are equally long."""
    lengths = np.array([length(row) for row in rows])
    edges = np.unique(np.quantile(lengths, np.arange(1, PARTS) / PARTS, method="lower"))
    part = np.searchsorted(edges, lengths, side="left")
    bars = []
    for one in np.unique(part).tolist():
        theirs = [row for row, its in zip(rows, part.tolist(), strict=True) if its == one]
        low, high = lengths[part == one].min(), lengths[part == one].max()
        name = f"{low:.3g} words" if low == high else f"{low:.3g} to {high:.3g} words"
        bars.append(Bar(name, _mean(_first(rows), theirs, seed)))
    return bars


def _reference(row: Row[Any]) -> float:
    """The mean number of words of the references."""
    texts = row.sample.target.texts if isinstance(row.sample.target, Text) else ()
    return float(np.mean([len(text.split()) for text in texts])) if texts else 0.0


def _written(row: Row[Any]) -> float:
    """The number of words of the caption."""
    return float(len(row.answer.value.texts[0].split())) if isinstance(row.answer.value, Text) else 0.0


# ---------------------------------------------------------------------------- numbers


def _first(rows: Sequence[Row[Any]]) -> str:
    return next(iter(rows[0].score.values))


def _mean(key: str, rows: Sequence[Row[Any]], seed: int) -> Estimate:
    return estimate(mean_where_defined(key), rows, seed, resamples=RESAMPLES)


def _share(name: str, rows: Sequence[Row[Any]], seed: int) -> Estimate:
    """Of the phrases of a name, those that are right: resampled by image, all of whose phrases count."""
    return estimate(ratio(f"{name} right", name, empty=math.nan), rows, seed, resamples=RESAMPLES)


# ---------------------------------------------------------------------------- calibration


class Bin(NamedTuple):
    """Boxes of about the same confidence: its mean, the share that is right with its 95 % interval (Wilson), and n."""

    given: float
    right: float
    low: float
    high: float
    n: int


def bins(confidences: Sequence[Confidence], count: int = 10) -> list[Bin]:
    """Bins of equally many boxes, by confidence (Nguyen and O'Connor, 2015): of equal width, those of a model that is
    sure of little would all be one.  Boxes of equal confidence are in one bin."""
    given = np.array([one.given for one in confidences])
    right = np.array([one.right for one in confidences], np.float64)
    edges = np.unique(np.quantile(given, np.arange(1, count) / count, method="lower"))
    place = np.searchsorted(edges, given, side="left")
    found = []
    for one in np.unique(place).tolist():
        here = place == one
        n, share = int(here.sum()), float(right[here].mean())
        middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n * n))
        low, high = min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))  # but for rounding
        found.append(Bin(float(given[here].mean()), share, low, high, n))
    return found


def calibration_error(found: Sequence[Bin]) -> float:
    """The mean distance of confidence and share right, by boxes; 0 where confidence is the chance of being right."""
    return sum(one.n * abs(one.given - one.right) for one in found) / sum(one.n for one in found)


def told_apart(confidences: Sequence[Confidence]) -> float:
    """AUROC: how often a right box has the higher confidence of a right and a wrong one; NaN where all are one kind."""
    given = np.array([one.given for one in confidences])
    right = np.array([one.right for one in confidences], np.bool_)
    wrong = np.sort(given[~right])
    if not len(wrong) or not right.any():
        return math.nan
    below, upto = (np.searchsorted(wrong, given[right], side=side) for side in ("left", "right"))
    return float((below + upto).mean() / 2 / len(wrong))
