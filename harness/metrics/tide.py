"""What is wrong with detections, and what each kind of mistake costs: TIDE (Bolya, Foley, Hays and Hoffman, ECCV 2020).

A detection that COCO counts as wrong at an IoU of 0.5 is, by the first of these that holds,

    localisation     its best truth of the same category overlaps by 0.1 to 0.5
    classification   a truth of another category overlaps by 0.5 or more
    duplicate        a truth of its category overlaps by 0.5 or more, and a detection of higher score has it
    background       no truth of any category overlaps by more than 0.1
    both             what is left: the wrong category, and 0.1 to 0.5

and a truth is missed that no detection has, nor would have if its place or category were mended.  What a kind costs is
how much AP50 rises once every mistake of that kind alone is mended: a detection in the wrong place or category takes
the truth that it nearly had (of several, that of the highest score), or goes where that truth is taken; the others go;
a missed truth is not asked for (where all are missed, what that costs is NaN: nothing would be left to find).  Costs do
not add up to what AP50 lacks, and none is below 0.

AP50 is COCOeval's: over the categories that have a truth, matched as in `metrics/coco_eval.py`.  The authors' own code
(tidecv 1.0.1) finds the same counts, and costs that differ where a recall is one of the 101 but for rounding; besides,
it counts a category without truth as an AP of 0, allows 100 detections an image and not a category, and names
detections within crowds as mistakes as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco

from harness.metrics.average_precision import RECALLS, Detections, Flags, Indices, Numbers, Truth, check
from harness.metrics.reduce import PERCENT

KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
FOREGROUND, BACKGROUND = 0.5, 0.1  # of IoU
MOST = 100  # detections of a category in an image
RIGHT, IGNORED = "right", "ignored"


@dataclass(frozen=True, slots=True, eq=False)
class Mistakes:
    """Of every detection its kind (one of KINDS, RIGHT or IGNORED), of every truth whether it is missed and its best
    IoU with a detection of its category; AP50 in percent, and how much of it each kind costs."""

    kinds: tuple[str, ...]  # of detections, as given
    missed: Flags  # of truths
    overlap: Numbers  # of truths; crowds: NaN
    ap50: float
    costs: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """How many mistakes of each kind."""
        return {
            kind: int(self.missed.sum()) if kind == "missed" else sum(one == kind for one in self.kinds)
            for kind in KINDS
        }


def mistakes(truth: Truth, detections: Detections, images: int, categories: int) -> Mistakes:
    """Every detection and truth, looked at image by image.  ValueError for records that do not fit together."""
    check(truth, detections, images, categories)
    kinds = np.full(len(detections.image), RIGHT, dtype=object)
    wanted = np.full(len(detections.image), -1)  # the truth that a mistaken detection nearly had
    missed = np.zeros(len(truth.image), np.bool_)
    overlap = np.where(truth.crowd, np.nan, 0.0)
    order = np.lexsort((-detections.scores, detections.image))  # of equal scores, the one given first
    edges = np.searchsorted(detections.image[order], np.arange(images + 1))
    there = np.argsort(truth.image, kind="stable")
    starts = np.searchsorted(truth.image[there], np.arange(images + 1))
    for image in range(images):
        mine, its = order[edges[image] : edges[image + 1]], there[starts[image] : starts[image + 1]]
        if len(mine) or len(its):
            _image(truth, detections, mine, its, kinds, wanted, missed, overlap)
    best = _best_claims(detections, kinds, wanted, len(truth.image))
    base = _ap50(detections, truth, kinds == RIGHT, kinds != IGNORED, detections.category, categories)
    costs = {}
    for kind in KINDS:
        right, counted, category, sought = kinds == RIGHT, kinds != IGNORED, detections.category, truth
        mended = kinds == kind
        if kind == "missed":
            sought = _without(truth, missed)
        elif kind in ("localisation", "classification"):
            takes = mended & best
            right, counted = right | takes, counted & (~mended | takes)
            category = (
                np.where(takes, truth.category[np.where(takes, wanted, 0)], category) if takes.any() else category
            )
        else:
            counted = counted & ~mended
        gained = _ap50(detections, sought, right, counted, category, categories) - base
        costs[kind] = gained if math.isnan(gained) else max(0.0, gained)
    return Mistakes(tuple(kinds.tolist()), missed, overlap, base, costs)


def _image(
    truth: Truth,
    detections: Detections,
    mine: Indices,
    its: Indices,
    kinds: np.ndarray[tuple[int], np.dtype[np.object_]],
    wanted: Indices,
    missed: Flags,
    overlap: Numbers,
) -> None:
    """One image's part of `kinds`, `wanted`, `missed` and `overlap`; detections by falling score."""
    crowd = truth.crowd[its]
    real = its[~crowd]
    iou = np.zeros((len(mine), len(its)))
    if len(mine) and len(its):
        iou = coco.iou(detections.boxes[mine], truth.boxes[its], crowd.astype(np.uint8)).reshape(len(mine), len(its))
    alike = detections.category[mine][:, None] == truth.category[its]
    overlap[real] = np.where(alike, iou, 0.0)[:, ~crowd].max(0, initial=0.0)
    taken = np.zeros(len(its), np.bool_)
    before: dict[int, int] = {}  # detections of each category
    wrong = []
    for row, detection in enumerate(mine.tolist()):
        category = int(detections.category[detection])
        before[category] = before.get(category, 0) + 1
        if before[category] > MOST:
            kinds[detection] = IGNORED
            continue
        free = np.where(alike[row] & ~taken & ~crowd & (iou[row] >= FOREGROUND), iou[row], -1.0)
        if free.max(initial=-1.0) >= 0:
            taken[len(free) - 1 - int(free[::-1].argmax())] = True  # the later of equals
        elif (alike[row] & crowd & (iou[row] >= FOREGROUND)).any():
            kinds[detection] = IGNORED
        else:
            wrong.append((row, detection))
    usable = np.zeros(len(its), np.bool_)
    same, other = np.where(alike & ~crowd, iou, 0.0), np.where(alike | crowd, 0.0, iou)
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
            wanted[detection] = its[place]
            usable[place] = True
    missed[its] = ~taken & ~usable & ~crowd


def _best(row: Numbers) -> tuple[float, int]:
    """The largest, and the first place of it; 0 where there is none."""
    return (float(row.max()), int(row.argmax())) if len(row) else (0.0, 0)


def _best_claims(
    detections: Detections, kinds: np.ndarray[tuple[int], np.dtype[np.object_]], wanted: Indices, truths: int
) -> Flags:
    """Which detections would have the truth that they nearly had: of all that want one, that of the highest score."""
    claims = np.flatnonzero(wanted >= 0)
    claims = claims[np.lexsort((-detections.scores[claims], wanted[claims]))]
    first = np.ones(len(claims), np.bool_)
    first[1:] = wanted[claims][1:] != wanted[claims][:-1]
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
    """AP at 0.5 in percent over categories with truth, detections sorted as COCOeval does; NaN where there is none."""
    sought = np.bincount(truth.category[~truth.crowd], minlength=categories)
    order = np.lexsort((detections.image, -detections.scores))
    found = []
    for one in np.flatnonzero(sought).tolist():
        mine = order[(category[order] == one) & counted[order]]
        hits = np.cumsum(right[mine])
        precision = hits / np.arange(1, len(mine) + 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(hits / sought[one], RECALLS, side="left")
        found.append(np.append(precision, 0.0)[np.minimum(place, len(mine))].mean())
    return PERCENT * float(np.mean(found)) if found else float("nan")
