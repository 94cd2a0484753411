"""COCO's average precision under any weights of the images.  Matching and sorting are done once.

An image of weight w counts as w copies of the image, next to each other in the order of images.  Detections are sorted
as COCOeval sorts them: by score, equal scores by image, then in the order given.  So integer weights give the same
numbers as COCOeval on a set that contains the copies, ties included.  Detections of one image and category with equal
scores are repeated copy by copy (first, second, first, second).  A weight of 2.5 is two copies and half a copy.

A category counts if one of its truths has weight.  Its AP is the mean over IoU thresholds and 101 recalls of the
highest precision at that recall or above (pycocotools 2.0.11, `COCOeval.accumulate`).

Axes: A area ranges, T thresholds, K categories, R recalls, N detections, M truths.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from harness.core import Weights
from harness.metrics.reduce import PERCENT
from harness.metrics.whole_weights import RECALLS, Flags, Indices, Numbers, WholeSums, needed

__all__ = ["RECALLS", "Flags", "Indices", "Numbers"]

THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
EVERY = slice(0, 10)
PRECISIONS = {  # name: area range, and slice of the thresholds
    "mAP": ("all", EVERY),
    "AP50": ("all", slice(0, 1)),
    "AP75": ("all", slice(5, 6)),
    "APs": ("small", EVERY),
    "APm": ("medium", EVERY),
    "APl": ("large", EVERY),
}
RECALLED = {  # name: area range, and limit of detections for each category and image
    "AR1": ("all", 1),
    "AR10": ("all", 10),
    "AR100": ("all", 100),
    "ARs": ("small", 100),
    "ARm": ("medium", 100),
    "ARl": ("large", 100),
    "AR300": ("all", 300),
    "ARs300": ("small", 300),
    "ARm300": ("medium", 300),
    "ARl300": ("large", 300),
}
KEPT = 2_000  # weightings of a table whose results are kept: the resamples of a run
SLACK = 1e-12  # relative tolerance of a recall, for sums of weights that are not integers


# ---------------------------------------------------------------------------- truths and detections


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The annotated objects, one record each; boxes are [x, y, width, height] in pixels.

    ValueError names the first invalid record.
    """

    image: Indices  # (M,)
    category: Indices  # (M,)
    boxes: Numbers  # (M, 4)
    area: Numbers  # (M,) of the object's mask in square pixels, as annotated
    crowd: Flags  # (M,)

    def __post_init__(self) -> None:
        _check("truth", self.image, self.category, self.boxes, self.area)
        if self.crowd.shape != self.image.shape:
            raise ValueError(f"{len(self.image)} truths, but `crowd` has the shape {self.crowd.shape}")
        _refuse("truth", self.area < 0, self.area, "is a negative area")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The predicted boxes, one record each; boxes are [x, y, width, height] in pixels.

    ValueError names the first invalid record.  `signed` detections may have a negative width or height, as in a result
    file; only COCOeval itself evaluates those.
    """

    image: Indices  # (N,)
    category: Indices  # (N,)
    boxes: Numbers  # (N, 4)
    scores: Numbers  # (N,)
    signed: bool = False

    def __post_init__(self) -> None:
        _check("detection", self.image, self.category, self.boxes, self.scores, signed=self.signed)


def _check(
    kind: str, image: Indices, category: Indices, boxes: Numbers, numbers: Numbers, *, signed: bool = False
) -> None:
    count = len(image)
    shapes = image.shape, category.shape, boxes.shape, numbers.shape
    if shapes != ((count,), (count,), (count, 4), (count,)):
        raise ValueError(f"the {kind} arrays have different lengths: shapes {shapes}")
    if boxes.dtype != np.float64 or numbers.dtype != np.float64:
        raise ValueError(f"{kind} arrays must be float64, not {boxes.dtype} and {numbers.dtype}")
    _refuse(kind, ~np.isfinite(boxes).all(axis=1), boxes, "has a number that is not finite")
    if not signed:
        _refuse(kind, (boxes[:, 2:] < 0).any(axis=1), boxes, "has a negative width or height")
    _refuse(kind, ~np.isfinite(numbers), numbers, "is not finite")
    _refuse(kind, image < 0, image, "is not an image number")
    _refuse(kind, category < 0, category, "is not a category number")


def _refuse(kind: str, wrong: Any, values: Any, complaint: str) -> None:
    """ValueError that names the first record flagged as wrong, if there is one."""
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(f"{kind} {place}: {values[place].tolist()} {complaint}")


def check(truth: Truth, detections: Detections, images: int, categories: int) -> None:
    """ValueError where a record's image or category number is out of range."""
    for kind, records in (("truth", truth), ("detection", detections)):
        _refuse(kind, records.image >= images, records.image, f"is not one of the {images} images")
        _refuse(kind, records.category >= categories, records.category, f"is not one of the {categories} categories")


# ---------------------------------------------------------------------------- matches and their sums


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The results of greedy matching for every detection, in the order given, and which truths count."""

    image: Indices  # (N,)
    category: Indices  # (N,)
    scores: Numbers  # (N,)
    rank: Indices  # (N,) by falling score within the same image and category; from 0
    right: Flags  # (A, T, N) matched with a truth that counts
    counted: Flags  # (A, T, N) right or wrong, not ignored
    truth_image: Indices  # (M,)
    truth_category: Indices  # (M,)
    sought: Flags  # (A, M) the truth counts


@dataclass(frozen=True, eq=False)
class _Table:
    """The detections that count in one area range, sorted by category and falling score, and the truths that count."""

    image: Indices  # (N,)
    category: Indices  # (N,)
    rank: Indices  # (N,)
    right: Flags  # (T, N)
    counted: Flags  # (T, N)
    first: Indices  # first row of each run of equal category, score and image
    categories: int  # K
    truth_image: Indices  # (M,)
    truth_category: Indices  # (M,)

    @cached_property
    def tied(self) -> Flags:
        """(K,): the categories with a run of several rows that has a right one; the order of its copies counts."""
        tied = np.zeros(self.categories, np.bool_)
        if len(self.first):
            several = np.diff(self.first, append=len(self.image)) > 1
            hit = np.logical_or.reduceat(self.right.any(axis=0), self.first)
            tied[self.category[self.first[several & hit]]] = True
        return tied

    @cached_property
    def sums(self) -> WholeSums:
        """The sums over the categories that are not tied."""
        rows = ~self.tied[self.category]
        return WholeSums(
            self.image[rows], self.category[rows], self.right[:, rows], self.counted[:, rows], self.categories
        )

    @cached_property
    def sums_of_all(self) -> WholeSums:
        """The sums over all categories, for weights of which none is above 1: no run has copies."""
        return WholeSums(self.image, self.category, self.right, self.counted, self.categories)

    @cached_property
    def ties(self) -> _Table:
        """The rows of the tied categories."""
        rows = self.tied[self.category]
        place = np.cumsum(rows) - 1
        return replace(
            self,
            image=self.image[rows],
            category=self.category[rows],
            rank=self.rank[rows],
            right=self.right[:, rows],
            counted=self.counted[:, rows],
            first=place[self.first[rows[self.first]]],
        )

    def copies(self, weights: Weights) -> tuple[Indices, Numbers]:
        """Row numbers with their copies, in order, and the weight of each copy.

        A run of a single row is not copied: the row gets the whole weight.
        """
        length = np.diff(self.first, append=len(self.image))
        weight = weights[self.image[self.first]]
        times = np.where(length > 1, np.ceil(weight), weight > 0).astype(np.int64)
        run = np.repeat(np.arange(len(times)), times)
        share = np.where(length[run] > 1, np.minimum(1.0, weight[run] - _within(times)), weight[run])
        lengths = length[run]
        return np.repeat(self.first[run], lengths) + _within(lengths), np.repeat(share, lengths)


def _within(lengths: Indices) -> Indices:
    """(sum of lengths,): 0, 1, 2, ... for each of several consecutive groups of these lengths."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)


class MatchTable:
    """AP and AR under any weights of the images; only the sums are computed for each set of weights."""

    def __init__(self, matches: Matches, images: int, categories: int) -> None:
        self.images = images
        self.categories = categories
        self._matches = matches
        self._tables: dict[str, _Table] = {}
        self._known: dict[tuple[str, bytes], dict[str, Numbers]] = {}
        self._recalled: dict[tuple[str, int], tuple[Indices, Indices, Indices]] = {}

    def average_precision(self, weights: Weights, name: str = "mAP") -> float:
        """mAP, AP50, AP75, APs, APm or APl in percent; NaN where no truth has weight.

        `weights` is (images,).  ValueError where a weight is not finite or is negative.
        """
        return _mean(self.by_category(weights, name))

    def by_category(self, weights: Weights, name: str = "mAP") -> Numbers:
        """(categories,): the AP of each category in percent; NaN where none of its truths has weight.

        The names of one area range are computed together, and kept for the latest weights: the metrics of a run are
        asked for the same resamples, one metric after the other.
        """
        area = PRECISIONS[name][0]
        key = area, hashlib.blake2b(weights.tobytes(), digest_size=16).digest()
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            best, sought = self._best(self._table(area), weights)
            sums = best.sum(axis=2)  # (T, K), over the recalls
            self._known[key] = {
                each: np.where(sought > 0, PERCENT * (sums[thresholds].sum(axis=0) / best[thresholds, 0].size), np.nan)
                for each, (its_area, thresholds) in PRECISIONS.items()
                if its_area == area
            }
        return self._known[key][name]

    def _best(self, table: _Table, weights: Weights) -> tuple[Numbers, Numbers]:
        """(T, K, R): the highest precision at each recall or above, from recall 1 down; (K,): the truths' weight."""
        sought = self._sought(table, weights)
        if not (weights == np.floor(weights)).all():
            return _row_by_row(table, weights, sought, whole=False), sought
        if weights.max(initial=0.0) <= 1:
            return table.sums_of_all.best(weights, sought), sought
        best = table.sums.best(weights, sought)
        if table.tied.any():
            best[:, table.tied] = _row_by_row(table.ties, weights, sought, whole=True)[:, table.tied]
        return best, sought

    def average_recall(self, weights: Weights, name: str = "AR100") -> float:
        """AR1, AR10, AR100, ARs, ARm or ARl in percent; NaN where no truth has weight.

        `weights` is as for `average_precision`.
        """
        area, most = RECALLED[name]
        table = self._table(area)
        sought = self._sought(table, weights)
        image, category, times = self._found(area, most)
        sums = np.bincount(category, times * weights[image], self.categories)
        there = sought > 0
        return _mean(PERCENT * sums[there] / len(THRESHOLDS) / sought[there])

    def _found(self, area: str, most: int) -> tuple[Indices, Indices, Indices]:
        """The image, the category and the number of thresholds of each right detection among the first `most`."""
        if (area, most) not in self._recalled:
            table = self._table(area)
            times = table.right.sum(axis=0)
            rows = np.flatnonzero((table.rank < most) & (times > 0))
            self._recalled[area, most] = table.image[rows], table.category[rows], times[rows]
        return self._recalled[area, most]

    def _sought(self, table: _Table, weights: Weights) -> Numbers:
        """(categories,): the total weight of the truths of each category."""
        if weights.shape != (self.images,) or not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError(f"weights must be {self.images} finite numbers, none of them negative")
        sums = np.bincount(table.truth_category, weights[table.truth_image], self.categories)
        return sums.astype(np.float64)  # `bincount` returns integers for empty arrays

    def _table(self, area: str) -> _Table:
        """The table of one area range, made when it is first asked for."""
        if area not in self._tables:
            self._tables[area] = self._made(list(AREAS).index(area))
        return self._tables[area]

    @cached_property
    def _order(self) -> Indices:
        """The detections by category, falling score and image."""
        return np.lexsort((self._matches.image, -self._matches.scores, self._matches.category))

    def _made(self, area: int) -> _Table:
        """The table of one area range by its position in the matches."""
        order = self._order
        matches = self._matches
        rows = order[matches.counted[area].any(axis=0)[order]]
        score_numbers = np.unique(matches.scores, return_inverse=True)[1]
        keys = np.stack([matches.category[rows], matches.image[rows], score_numbers[rows]])
        changes = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
        starts = np.concatenate([np.ones(min(1, len(rows)), np.bool_), changes])
        run = np.cumsum(starts)
        right = matches.right[area][:, rows].any(axis=0)
        last = np.zeros(self.categories, np.int64)  # (K,): the run of the last right detection; no later one counts
        np.maximum.at(last, matches.category[rows[right]], run[right])
        useful = run <= last[matches.category[rows]]
        rows, starts = rows[useful], starts[useful]
        return _Table(
            image=matches.image[rows],
            category=matches.category[rows],
            rank=matches.rank[rows],
            right=matches.right[area][:, rows],
            counted=matches.counted[area][:, rows],
            first=np.flatnonzero(starts),
            categories=self.categories,
            truth_image=matches.truth_image[matches.sought[area]],
            truth_category=matches.truth_category[matches.sought[area]],
        )


def _row_by_row(table: _Table, weights: Weights, sought: Numbers, *, whole: bool) -> Numbers:
    """(T, K, R): `MatchTable._best` from every row and all its copies; `whole` says whether all weights are whole."""
    rows, each = table.copies(weights)
    edges = np.searchsorted(table.category[rows], np.arange(table.categories + 1))  # (K + 1,)
    right = _summed(table.right[:, rows], each)  # (T, N + 1)
    counted = _summed(table.counted[:, rows], each)
    lengths = np.diff(edges)
    before = right[:, edges[:-1]]  # (T, K)
    precision = np.zeros_like(right)
    precision[:, :-1] = right[:, 1:] - np.repeat(before, lengths, axis=1)
    precision[:, :-1] /= counted[:, 1:] - np.repeat(counted[:, edges[:-1]], lengths, axis=1) + np.spacing(1)

    goals = before[:, :, None] + _needed(sought, whole=whole)  # (T, K, R)
    places = np.stack([np.searchsorted(line[1:], values) for line, values in zip(right, goals, strict=True)])
    places = places.clip(edges[:-1, None], edges[1:, None])  # the first row that reaches each recall
    starts = places + len(right[0]) * np.arange(len(right))[:, None, None]
    # The best precision from each recall to the next.  Where two recalls start at the same row, `reduceat` gives the
    # precision of that row, and the maximum over later recalls below is still correct.
    best = np.maximum.reduceat(precision.ravel(), starts.ravel()).reshape(starts.shape)
    best[places == edges[1:, None]] = 0.0
    highest: Numbers = np.maximum.accumulate(best[..., ::-1], axis=-1)
    return highest


def _summed(flags: Flags, each: Numbers) -> Numbers:
    """(T, N) to (T, N + 1): the total weight of the flagged rows before each row, and of all rows."""
    sums = np.zeros((len(flags), len(each) + 1))
    np.cumsum(flags * each, axis=1, out=sums[:, 1:])
    return sums


def _needed(sought: Numbers, whole: bool) -> Numbers:
    """(K,) to (K, R): the smallest weight of right detections that reaches each recall."""
    if whole:
        return needed(sought)
    least: Numbers = RECALLS * np.where(sought > 0, sought, 1.0)[:, None] * (1 - SLACK)
    return least


def _mean(values: Numbers) -> float:
    """The mean of the values that are not NaN; NaN where there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
