"""The mistakes of detections by kind, and the AP50 that each kind costs: TIDE (Bolya et al., ECCV 2020).

A detection that COCO counts as wrong at an IoU of 0.5 is of the first kind in this list whose condition holds:

    localisation     the closest truth of the same category has an IoU of 0.1 to 0.5
    classification   a truth of another category has an IoU of 0.5 or more
    duplicate        a truth of the same category has an IoU of 0.5 or more; a detection of higher score matched it
    background       no truth of any category has an IoU above 0.1
    both             all others: wrong category, and an IoU of 0.1 to 0.5

A truth is missed if no detection matches it and none of a wrong place or category is corrected to it.

The cost of a kind is the rise of AP50 when all mistakes of this kind alone are corrected:

- A detection in the wrong place or category is moved to its closest truth.  If several have the same closest truth,
  only the one with the highest score is moved, and the others are removed.  Where the truth is already matched, the
  detection is removed.
- A duplicate, a background detection and one that is wrong in both ways are removed.
- A missed truth is removed.  The cost is NaN where all truths are missed.

The costs do not add up to 100 less AP50, and none is below 0.

AP50 is COCOeval's: over the categories that have a truth, matched as in `metrics/coco_eval.py`.  The authors' own code
(tidecv 1.0.1) finds the same counts.  Its costs differ where rounding moves a recall across one of the 101 levels.  It
also gives categories without truths an AP of 0, allows 100 detections for each image instead of each category and
image, and counts detections within crowds as mistakes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco

from harness.metrics.average_precision import RECALLS, Detections, Flags, Indices, Numbers, Truth, check
from harness.metrics.reduce import PERCENT

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU thresholds
MOST = 100  # detections that count for each category and image
RIGHT, IGNORED = "right", "ignored"

Kinds = np.ndarray[tuple[int], np.dtype[np.object_]]  # (N,) of KINDS, RIGHT and IGNORED


@dataclass(frozen=True, slots=True, eq=False)
class Mistakes:
    """The mistakes of N detections of M truths."""

    kinds: tuple[str, ...]  # of each detection, in the order given: one of KINDS, RIGHT or IGNORED
    missed: Flags  # (M,)
    overlap: Numbers  # (M,) highest IoU with a detection of the same category; NaN for crowds
    ap50: float  # in percent
    costs: dict[str, float]  # AP50 in percent by kind

    @property
    def counts(self) -> dict[str, int]:
        """The number of mistakes of each kind."""
        return {kind: int(self.missed.sum()) if kind == "missed" else self.kinds.count(kind) for kind in KINDS}


def mistakes(truth: Truth, detections: Detections, images: int, categories: int) -> Mistakes:
    """The mistakes of all images; ValueError where a record's image or category number is out of range."""
    check(truth, detections, images, categories)
    kinds = np.full(len(detections.image), RIGHT, dtype=object)
    target = np.full(len(detections.image), -1)  # the truth to which a detection is corrected
    missed = np.zeros(len(truth.image), np.bool_)
    overlap = np.where(truth.crowd, np.nan, 0.0)
    order = np.lexsort((-detections.scores, detections.image))  # equal scores in the order given
    edges = np.searchsorted(detections.image[order], np.arange(images + 1))
    truth_order = np.argsort(truth.image, kind="stable")
    truth_edges = np.searchsorted(truth.image[truth_order], np.arange(images + 1))
    for image in range(images):
        found = order[edges[image] : edges[image + 1]]
        there = truth_order[truth_edges[image] : truth_edges[image + 1]]
        if len(found) or len(there):
            _image(truth, detections, found, there, kinds, target, missed, overlap)
    best = _best_claims(detections, kinds, target)
    base = _ap50(detections, truth, kinds == RIGHT, kinds != IGNORED, detections.category, categories)
    costs = {}
    for kind in KINDS:
        right, counted, category, sought = kinds == RIGHT, kinds != IGNORED, detections.category, truth
        corrected = kinds == kind
        if kind == "missed":
            sought = _without(truth, missed)
        elif kind in ("localisation", "classification"):
            moved = corrected & best
            right, counted = right | moved, counted & (~corrected | moved)
            if moved.any():
                category = np.where(moved, truth.category[np.where(moved, target, 0)], category)
        else:
            counted = counted & ~corrected
        gain = _ap50(detections, sought, right, counted, category, categories) - base
        costs[kind] = gain if math.isnan(gain) else max(0.0, gain)
    return Mistakes(tuple(kinds.tolist()), missed, overlap, base, costs)


def _image(
    truth: Truth,
    detections: Detections,
    found: Indices,
    there: Indices,
    kinds: Kinds,
    target: Indices,
    missed: Flags,
    overlap: Numbers,
) -> None:
    """Fills the entries of one image in `kinds`, `target`, `missed` and `overlap`.

    `found` are the image's detections by falling score, `there` its truths.
    """
    crowd = truth.crowd[there]
    iou = np.zeros((len(found), len(there)))
    if len(found) and len(there):
        iou = coco.iou(detections.boxes[found], truth.boxes[there], crowd.astype(np.uint8)).reshape(iou.shape)
    same_category = detections.category[found][:, None] == truth.category[there]
    overlap[there[~crowd]] = np.where(same_category, iou, 0.0)[:, ~crowd].max(0, initial=0.0)
    taken = np.zeros(len(there), np.bool_)
    seen: dict[int, int] = {}  # category to number of detections
    wrong = []
    for row, detection in enumerate(found.tolist()):
        category = int(detections.category[detection])
        seen[category] = seen.get(category, 0) + 1
        if seen[category] > MOST:
            kinds[detection] = IGNORED
            continue
        free = np.where(same_category[row] & ~taken & ~crowd & (iou[row] >= FOREGROUND), iou[row], -1.0)
        if free.max(initial=-1.0) >= 0:
            taken[len(free) - 1 - int(free[::-1].argmax())] = True  # the later of equals
        elif (same_category[row] & crowd & (iou[row] >= FOREGROUND)).any():
            kinds[detection] = IGNORED
        else:
            wrong.append((row, detection))
    usable = np.zeros(len(there), np.bool_)
    same, other = np.where(same_category & ~crowd, iou, 0.0), np.where(same_category | crowd, 0.0, iou)
    for row, detection in wrong:
        near, place = _best(same[row])
        if BACKGROUND <= near <= FOREGROUND:
            kinds[detection] = "localisation"
        elif _best(other[row])[0] >= FOREGROUND:
            kinds[detection], place = "classification", _best(other[row])[1]
        elif near >= FOREGROUND:
            kinds[detection] = "duplicate"
        else:
            kinds[detection] = "background" if _best(iou[row][~crowd])[0] <= BACKGROUND else "both"
        if kinds[detection] in ("localisation", "classification") and not taken[place]:
            target[detection] = there[place]
            usable[place] = True
    missed[there] = ~taken & ~usable & ~crowd


def _best(row: Numbers) -> tuple[float, int]:
    """The largest value and its first position; (0, 0) for an empty row."""
    return (float(row.max()), int(row.argmax())) if len(row) else (0.0, 0)


def _best_claims(detections: Detections, kinds: Kinds, target: Indices) -> Flags:
    """(N,): the detection has the highest score of all with the same target."""
    claims = np.flatnonzero(target >= 0)
    claims = claims[np.lexsort((-detections.scores[claims], target[claims]))]
    first = np.ones(len(claims), np.bool_)
    first[1:] = target[claims][1:] != target[claims][:-1]
    best = np.zeros(len(kinds), np.bool_)
    best[claims[first]] = True
    return best


def _without(truth: Truth, missed: Flags) -> Truth:
    left = ~missed
    return Truth(
        truth.image[left], truth.category[left], truth.boxes[left], truth.area[left], truth.crowd[left]
    )  # fmt: skip


def _ap50(
    detections: Detections, truth: Truth, right: Flags, counted: Flags, category: Indices, categories: int
) -> float:
    """AP50 in percent over the categories that have truths, with COCOeval's order; NaN where there are no truths.

    `right` and `counted` are (N,) flags, and `category` (N,) are the categories of the detections after correction.
    """
    sought = np.bincount(truth.category[~truth.crowd], minlength=categories)
    order = np.lexsort((detections.image, -detections.scores))
    precisions = []
    for number in np.flatnonzero(sought).tolist():
        rows = order[(category[order] == number) & counted[order]]
        hits = np.cumsum(right[rows])
        precision = hits / np.arange(1, len(rows) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(hits / sought[number], RECALLS, side="left")
        precisions.append(np.append(precision, 0.0)[np.minimum(place, len(rows))].mean())
    return PERCENT * float(np.mean(precisions)) if precisions else float("nan")
