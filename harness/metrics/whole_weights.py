"""Precision at 101 recalls under whole weights of the images, as the bootstrap has them: few steps over few rows.

Only a right detection can have the highest precision at its recall or above, and of right detections without a wrong
one between them only the last: each of them raises both precision and recall, or leaves both.  So only these last ones
are visited, for all IoU thresholds in one pass.  The table must have no two right detections in a run of equal
category, image and score, whose copies would alternate; `average_precision.MatchTable` sums such categories row by row.

Axes: T thresholds, K categories, R recalls, N detections, H right detections over all thresholds, L those that are the
last of theirs, I ignored detections.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.core import Weights

RECALLS = np.linspace(0.0, 1.0, 101)

Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]


class WholeSums:
    """The sums of a table whose detections are sorted by category and falling score.

    A segment is the right detections of one threshold and category; S segments are not empty.
    """

    def __init__(self, image: Indices, category: Indices, right: Flags, counted: Flags, categories: int) -> None:
        """`image` and `category` are (N,), `right` and `counted` (T, N)."""
        self.image = image
        self.shape = len(right), categories, len(RECALLS)
        self.first_of_category = _firsts(category)
        threshold, row = np.nonzero(right)  # (H,), by threshold, category and falling score
        segment = threshold * categories + category[row]
        self.row_image = image[row]
        self.first = _firsts(segment)  # (S,)
        wrong = np.cumsum(counted & ~right, axis=1)[threshold, row]  # (H,) wrong detections before
        changes = (np.diff(wrong, append=-1) != 0) | (np.diff(segment, append=-1) != 0)
        self.last = np.flatnonzero(changes)  # (L,)
        self.row = row[self.last]  # (L,)
        last_segment = segment[self.last]
        self.segments = len(right) * categories
        self.lengths = np.bincount(last_segment, minlength=self.segments)  # of the L
        self.base = (len(RECALLS) - 1) * self.segments + last_segment  # (L,) the place of recall 0 in (R, T * K)
        out, ignored = np.nonzero(~counted)
        self.ignored = image[ignored]  # (I,) by threshold and row
        of_ignored = out * categories + category[ignored]
        self.first_ignored = _firsts(of_ignored)
        before = np.searchsorted(out * len(image) + ignored, threshold[self.last] * len(image) + self.row)
        none = before == np.searchsorted(of_ignored, last_segment)
        self.latest_ignored = np.where(none, 0, before)  # (L,) one plus the last ignored one of the segment before it
        # The system would otherwise hand out and take back the pages of these for each resample, which takes longer
        # than the sums
        self._each = np.empty(len(row))
        self._right, self._counted, self._more = np.empty((3, len(self.row)))
        self._place = np.empty(len(self.row), np.int64)

    def best(self, weights: Weights, sought: Numbers) -> Numbers:
        """(T, K, R): the highest precision at each recall or above, from recall 1 down; 0 where none reaches it.

        `weights` is (images,), of whole numbers; `sought` is (K,), the weight of the truths of each category.  All sums
        are whole, so they are exact in any order.
        """
        best = np.zeros((len(RECALLS), self.segments))  # from recall 1 down
        if len(self.row):
            each = np.take(weights, self.row_image, out=self._each, mode="clip")
            right = np.take(_sums(each, self.first), self.last, out=self._right, mode="clip")
            every = _sums(weights[self.image], self.first_of_category)
            ignored = np.concatenate([[0.0], _sums(weights[self.ignored], self.first_ignored)])
            counted = np.take(every, self.row, out=self._counted, mode="clip")
            counted -= np.take(ignored, self.latest_ignored, out=self._more, mode="clip")
            counted += np.spacing(1)
            level, starts = _levels(sought)
            start = np.repeat(np.tile(starts, self.shape[0]), self.lengths)
            place = np.add(right, start, out=self._place, casting="unsafe")
            place = np.take(level, place, out=start, mode="clip")
            place *= -self.segments
            place += self.base
            np.maximum.at(best.reshape(-1), place, np.divide(right, counted, out=right))
            for lower, higher in zip(best[1:], best[:-1], strict=True):
                np.maximum(lower, higher, out=lower)
        return np.ascontiguousarray(best.T).reshape(self.shape)


def _firsts(numbers: Indices) -> Indices:
    """The place of the first of each run of equal numbers."""
    return np.flatnonzero(np.diff(numbers, prepend=-1))


def _sums(each: Numbers, firsts: Indices) -> Numbers:
    """The cumulative sums of whole numbers, which begin anew at each of `firsts`; `each` is overwritten."""
    if len(each):
        totals = np.add.reduceat(each, firsts)
        each[firsts[1:]] -= totals[:-1]
    return np.cumsum(each, out=each)


def needed(sought: Numbers) -> Numbers:
    """(K,) to (K, R): the smallest whole weight of right detections that reaches each recall.

    COCOeval divides and compares doubles, so this is the smallest integer whose quotient in doubles is not below the
    recall.  For example, 57 of 100 do not reach COCOeval's recall of 0.57, which is 0.5700000000000001.
    """
    total = np.where(sought > 0, sought, 1.0)[:, None]
    least = np.ceil(RECALLS * total)
    least = np.where((least - 1) / total >= RECALLS, least - 1, least)
    return np.maximum(np.where(least / total < RECALLS, least + 1, least), 0.0)


def _levels(sought: Numbers) -> tuple[Indices, Indices]:
    """For each category the last of RECALLS that 0, 1, ... of its `sought` truths reach, and where each one begins."""
    sizes = sought.astype(np.int64) + 1
    edges = np.hstack([needed(sought).astype(np.int64), sizes[:, None]])  # (K, R + 1)
    level = np.repeat(np.tile(np.arange(len(RECALLS)), len(sizes)), (edges[:, 1:] - edges[:, :-1]).ravel())
    return level, np.cumsum(sizes) - sizes
