"""Thresholds of scores, chosen for each origin on images whose truth is known.

A region is right if its label is that of an object and their IoU is at least 0.5.  Regions take objects in the order
of their scores, each object once, so a repeated box is wrong; suppression within the origin runs first, as in the stage
`boxes`.  Scores of different origins cannot be compared, so each has its own curve and threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.core import Box
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Annotation, Origin, Record
from harness.data_engine.regions import Boxes, box_of, label_of
from harness.geometry.boxes import iou

RIGHT = 0.5  # IoU
PRIOR = 10  # regions of the mean precision that are added to those of each label
FEWEST = 20  # regions above a threshold, below which its precision says little
Object = tuple[str, Box]  # its category and box


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall of an origin's regions with at least each threshold's score, in percent.

    `thresholds` are the scores at which precision changes, ascending; `kept` counts the regions.  `chosen` is None if
    no threshold has the wanted precision with `FEWEST` regions, or the origin gives no scores.

    `precisions` has the share of right regions of each label, and as "" that of all, from 0 to 1, among those that the
    threshold keeps; shares of few regions are drawn towards that of all.
    """

    origin: str
    images: int
    thresholds: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    kept: tuple[int, ...]
    wanted: float
    chosen: float | None
    precisions: Mapping[str, float] = field(default_factory=dict)

    def at(self, threshold: float) -> tuple[float, float] | None:
        """Precision and recall at a threshold of the curve; None if no region has that score."""
        places = [place for place, each in enumerate(self.thresholds) if each >= threshold]
        return (self.precision[places[0]], self.recall[places[0]]) if places else None


def right_of(regions: Sequence[Annotation], objects: Sequence[Object]) -> list[bool]:
    """Whether each region is right; the regions are in the order in which they take objects."""
    free = list(objects)
    found = []
    for region in regions:
        label, box = label_of(region).casefold(), box_of(region)
        fits = [(iou(box, other), place) for place, (name, other) in enumerate(free) if name.casefold() == label]
        best = max(fits, default=(0.0, -1))
        found.append(best[0] >= RIGHT)
        if found[-1]:
            free.pop(best[1])
    return found


def curve(
    records: Iterable[Record], truth: Mapping[str, Sequence[Object]], origin: Origin, stage: Boxes, wanted: float
) -> Curve:
    """The curve of an origin over the images of `truth`, by reference, and the lowest threshold of this precision.

    `wanted` is from 0 to 1.  `stage` says how boxes are suppressed; its thresholds are not used.
    """
    alone = replace(stage, score=0.0, scores={}, precisions={}, witnesses=1)
    marked: list[tuple[float, bool, str]] = []
    objects = images = 0
    for record in records:
        if record.image.reference not in truth:
            continue
        images += 1
        objects += len(truth[record.image.reference])
        own = tuple(each for each in record.annotations if each.kind == "region" and each.origin == origin.id)
        suppressed = alone(replace(record, annotations=own, verdicts=()))
        scored = [each for each in suppressed.kept() if each.score is not None]
        scored.sort(key=lambda each: (-(each.score or 0.0), each.id))
        right = right_of(scored, truth[record.image.reference])
        for each, is_right in zip(scored, right, strict=True):
            marked.append((each.score or 0.0, is_right, label_of(each).casefold()))
    marked.sort(reverse=True)
    thresholds, precision, recall, kept = [], [], [], []
    count = 0
    for place, (score, is_right, _) in enumerate(marked):
        count += is_right
        if place + 1 == len(marked) or marked[place + 1][0] < score:
            thresholds.append(score)
            precision.append(100 * count / (place + 1))
            recall.append(100 * count / objects if objects else 0.0)
            kept.append(place + 1)
    fits = [place for place, share in enumerate(precision) if share >= 100 * wanted and kept[place] >= FEWEST]
    chosen = thresholds[max(fits)] if fits else None
    kept_labels = [(is_right, label) for score, is_right, label in marked if score >= (chosen or 0.0)]
    return Curve(
        origin.called, images, tuple(thresholds[::-1]), tuple(precision[::-1]), tuple(recall[::-1]), tuple(kept[::-1]),
        wanted, chosen, label_precisions(kept_labels),
    )  # fmt: skip


def label_precisions(marked: Iterable[tuple[bool, str]]) -> dict[str, float]:
    """The share of right regions by label, and as "" that of all; {} without regions.

    `PRIOR` regions of the mean share are added to those of each label.
    """
    by_label: dict[str, list[bool]] = {}
    for is_right, label in marked:
        by_label.setdefault(label, []).append(is_right)
    every = [flag for flags in by_label.values() for flag in flags]
    if not every:
        return {}
    mean = sum(every) / len(every)
    shares = {label: (sum(flags) + PRIOR * mean) / (len(flags) + PRIOR) for label, flags in sorted(by_label.items())}
    return {"": mean, **shares}


def calibrated(recipe: Recipe, curves: Iterable[Curve], most: int = 50) -> Recipe:
    """The recipe with the chosen thresholds, and with the curves that they were chosen from, thinned to `most` points.

    An origin without a choice keeps its threshold.
    """
    scores: dict[str, float] = {}
    precisions: dict[str, Mapping[str, float]] = {}
    calibration = dict(recipe.calibration)
    for each in curves:
        step = max(1, -(-len(each.thresholds) // most))
        calibration[each.origin] = {
            "images": each.images,
            "wanted": each.wanted,
            "thresholds": list(each.thresholds[::step]),
            "precision": [round(number, 3) for number in each.precision[::step]],
            "recall": [round(number, 3) for number in each.recall[::step]],
        }
        if each.chosen is not None:
            scores[each.origin] = calibration[each.origin]["chosen"] = each.chosen  # type: ignore[index]
        if each.precisions:
            precisions[each.origin] = {label: round(share, 4) for label, share in each.precisions.items()}
    stages = tuple(
        replace(stage, scores={**stage.scores, **scores}, precisions={**stage.precisions, **precisions})
        if isinstance(stage, Boxes)
        else stage
        for stage in recipe.stages
    )
    return replace(recipe, stages=stages, calibration=calibration)
