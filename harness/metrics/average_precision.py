"""COCO's average precision under any weighting of the images, from matches made and sorted once.

An image of weight w counts as if it stood w times in the set: its copies follow each other in the order of images, and
detections are sorted by score as COCOeval sorts them (equal scores by image, then as given).  So whole weights give
what COCOeval gives for the set with the copies written out, to the last bits, ties included: detections of one image
and category with equal scores recur copy by copy (first, second, first, second), any other one beside itself.  A
weight of 2.5 is two copies and half a copy.

A category counts where some truth of it has weight; its AP is the mean over thresholds and 101 recalls of the highest
precision at that recall or beyond (pycocotools 2.0.11, `COCOeval.accumulate`).

Axes: A area ranges, T thresholds, K categories, R recalls, N detections, M truths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Weights
from harness.metrics.reduce import PERCENT

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
EVERY = slice(0, 10)
PRECISIONS = {  # area range and thresholds
    "mAP": ("all", EVERY),
    "AP50": ("all", slice(0, 1)),
    "AP75": ("all", slice(5, 6)),
    "APs": ("small", EVERY),
    "APm": ("medium", EVERY),
    "APl": ("large", EVERY),
}
RECALLED = {  # area range and detections of a category in an image
    "AR1": ("all", 1),
    "AR10": ("all", 10),
    "AR100": ("all", 100),
    "ARs": ("small", 100),
    "ARm": ("medium", 100),
    "ARl": ("large", 100),
}
SLACK = 1e-12  # of a recall, for sums of weights that are no whole numbers


# ---------------------------------------------------------------------------- what is compared


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What there is to find, N records.  ValueError names the record that cannot be."""

    image: Indices  # (N,)
    category: Indices  # (N,)
    boxes: Numbers  # (N, 4)
    area: Numbers  # (N,) square pixels of the object's mask, as annotated
    crowd: Flags  # (N,)

    def __post_init__(self) -> None:
        _check("truth", self.image, self.category, self.boxes, self.area)
        if self.crowd.shape != self.image.shape:
            raise ValueError(f"{len(self.image)} truths, but crowd is of {self.crowd.shape}")
        _refuse("truth", self.area < 0, self.area, "is a negative area")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What was found, N records.  ValueError names the record that cannot be."""

    image: Indices  # (N,)
    category: Indices  # (N,)
    boxes: Numbers  # (N, 4)
    scores: Numbers  # (N,)

    def __post_init__(self) -> None:
        _check("detection", self.image, self.category, self.boxes, self.scores)


def _check(kind: str, image: Indices, category: Indices, boxes: Numbers, more: Numbers) -> None:
    count = len(image)
    shapes = image.shape, category.shape, boxes.shape, more.shape
    if shapes != ((count,), (count,), (count, 4), (count,)):
        raise ValueError(f"{kind}s of unequal lengths: arrays of {shapes}")
    if boxes.dtype != np.float64 or more.dtype != np.float64:
        raise ValueError(f"{kind}s are float64, not {boxes.dtype} and {more.dtype}")
    _refuse(kind, ~np.isfinite(boxes).all(axis=1), boxes, "has a number that is not finite")
    _refuse(kind, (boxes[:, 2:] < 0).any(axis=1), boxes, "has a negative width or height")
    _refuse(kind, ~np.isfinite(more), more, "is not finite")
    _refuse(kind, image < 0, image, "is no image")
    _refuse(kind, category < 0, category, "is no category")


def _refuse(kind: str, wrong: Any, values: Any, complaint: str) -> None:
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(f"{kind} {place}: {values[place].tolist()} {complaint}")


def check(truth: Truth, detections: Detections, images: int, categories: int) -> None:
    """ValueError where a record is of an image or category that there is not."""
    for kind, records in (("truth", truth), ("detection", detections)):
        _refuse(kind, records.image >= images, records.image, f"is none of the {images} images")
        _refuse(kind, records.category >= categories, records.category, f"is none of the {categories} categories")


# ---------------------------------------------------------------------------- what is summed


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """What greedy matching says of every detection, in the order given, and which truths were to be found."""

    image: Indices  # (N,)
    category: Indices  # (N,)
    scores: Numbers  # (N,)
    rank: Indices  # (N,) by score, among those of the same image and category; from 0
    right: Flags  # (A, T, N) matched with a truth that counts
    counted: Flags  # (A, T, N) right or wrong, not ignored
    truth_image: Indices  # (M,)
    truth_category: Indices  # (M,)
    sought: Flags  # (A, M) counts as a truth


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """The detections that count in one area range, by category, then by falling score, and the truths."""

    image: Indices  # (N,)
    category: Indices  # (N,)
    rank: Indices  # (N,)
    right: Flags  # (T, N)
    counted: Flags  # (T, N)
    first: Indices  # (B,) where runs of one category, score and image begin
    truth_image: Indices  # (M,)
    truth_category: Indices  # (M,)

    def copies(self, weights: Weights) -> tuple[Indices, Numbers]:
        """Rows with their copies, in order, and the weight of each.  A run of one row is not copied but weighed."""
        length = np.diff(self.first, append=len(self.image))
        weight = weights[self.image[self.first]]
        times = np.where(length > 1, np.ceil(weight), weight > 0).astype(np.int64)
        run = np.repeat(np.arange(len(times)), times)
        share = np.where(length[run] > 1, np.minimum(1.0, weight[run] - _within(times)), weight[run])
        lengths = length[run]
        return np.repeat(self.first[run], lengths) + _within(lengths), np.repeat(share, lengths)


def _within(lengths: Indices) -> Indices:
    """0, 1, 2 and so on within each of some groups that follow each other."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)


class MatchTable:
    """AP and AR under any weights; made once, and summed in milliseconds."""

    def __init__(self, matches: Matches, images: int, categories: int) -> None:
        self.images = images
        self.categories = categories
        self._matches = matches

    def average_precision(self, weights: Weights, name: str = "mAP") -> float:
        """mAP, AP50, AP75, APs, APm or APl in percent; NaN where no truth has weight.

        `weights` is (images,), finite and not negative, else ValueError.
        """
        return _mean(self.by_category(weights, name))

    def by_category(self, weights: Weights, name: str = "mAP") -> Numbers:
        """(categories,): each one's AP in percent; NaN where none of its truths has weight."""
        area, thresholds = PRECISIONS[name]
        table = self._tables[area]
        sought = self._sought(table, weights)
        rows, each = table.copies(weights)
        edges = np.searchsorted(table.category[rows], np.arange(self.categories + 1))  # (K + 1,)
        right = _summed(table.right[thresholds][:, rows], each)  # (T, N + 1)
        counted = _summed(table.counted[thresholds][:, rows], each)
        lengths = np.diff(edges)
        before = right[:, edges[:-1]]  # (T, K)
        precision = np.zeros_like(right)
        precision[:, :-1] = right[:, 1:] - np.repeat(before, lengths, axis=1)
        precision[:, :-1] /= counted[:, 1:] - np.repeat(counted[:, edges[:-1]], lengths, axis=1) + np.spacing(1)

        wanted = before[:, :, None] + _needed(sought, whole=bool((weights == np.floor(weights)).all()))  # (T, K, R)
        places = np.stack([np.searchsorted(line[1:], values) for line, values in zip(right, wanted, strict=True)])
        places = places.clip(edges[:-1, None], edges[1:, None])  # the first row that reaches the recall
        starts = places + len(right[0]) * np.arange(len(right))[:, None, None]
        # from one recall to the next; an empty stretch gives its first row, which does no harm
        best = np.maximum.reduceat(precision.ravel(), starts.ravel()).reshape(starts.shape)
        best[places == edges[1:, None]] = 0.0
        best = np.maximum.accumulate(best[..., ::-1], axis=-1)
        return np.where(sought > 0, PERCENT * best.mean(axis=(0, 2)), np.nan)

    def average_recall(self, weights: Weights, name: str = "AR100") -> float:
        """AR1, AR10, AR100, ARs, ARm or ARl in percent; NaN where no truth has weight."""
        area, most = RECALLED[name]
        table = self._tables[area]
        sought = self._sought(table, weights)
        found = table.right[:, table.rank < most].sum(axis=0) * weights[table.image[table.rank < most]]
        sums = np.bincount(table.category[table.rank < most], found, self.categories)
        there = sought > 0
        return _mean(PERCENT * sums[there] / len(THRESHOLDS) / sought[there])

    def _sought(self, table: _Table, weights: Weights) -> Numbers:
        """(categories,): the weight of all truths."""
        if weights.shape != (self.images,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError(f"weights are {self.images} numbers that are finite and not negative")
        sums = np.bincount(table.truth_category, weights[table.truth_image], self.categories)
        return sums.astype(np.float64)  # of nothing, bincount gives whole numbers

    @cached_property
    def _tables(self) -> dict[str, _Table]:
        them = self._matches
        order = np.lexsort((them.image, -them.scores, them.category))
        return {area: self._table(order, place) for place, area in enumerate(AREAS)}

    def _table(self, order: Indices, place: int) -> _Table:
        them = self._matches
        rows = order[them.counted[place].any(axis=0)[order]]
        keys = np.stack([them.category[rows], them.image[rows], np.unique(them.scores, return_inverse=True)[1][rows]])
        changes = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
        return _Table(
            image=them.image[rows],
            category=them.category[rows],
            rank=them.rank[rows],
            right=them.right[place][:, rows],
            counted=them.counted[place][:, rows],
            first=np.flatnonzero(np.concatenate([np.ones(min(1, len(rows)), np.bool_), changes])),
            truth_image=them.truth_image[them.sought[place]],
            truth_category=them.truth_category[them.sought[place]],
        )


def _summed(flags: Flags, each: Numbers) -> Numbers:
    """(T, N) to (T, N + 1): the weight of what is flagged before each row, and at last of all."""
    sums = np.zeros((len(flags), len(each) + 1))
    np.cumsum(flags * each, axis=1, out=sums[:, 1:])
    return sums


def _needed(sought: Numbers, whole: bool) -> Numbers:
    """(K,) to (K, R): the least weight of right detections that reaches each recall.

    In whole numbers it is the least whose quotient is not below the recall as doubles are divided and compared, for
    that is how COCOeval asks: 57 of 100 do not reach its 0.57, which is 0.5700000000000001.
    """
    total = np.where(sought > 0, sought, 1.0)[:, None]
    least: Numbers = RECALLS * total
    if not whole:
        return least * (1 - SLACK)
    least = np.ceil(least)
    least = np.where((least - 1) / total >= RECALLS, least - 1, least)
    return np.maximum(np.where(least / total < RECALLS, least + 1, least), 0.0)


def _mean(values: Numbers) -> float:
    """Of those that are numbers; NaN where there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
