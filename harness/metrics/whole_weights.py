"""Precision at 101 recalls under whole weights of the images, as the bootstrap has them: few steps over few rows.

Only a right detection can have the highest precision at its recall or above, so only right detections are visited, for
all IoU thresholds in one pass.  The table must have no two right detections in a run of equal category, image and
score, whose copies would alternate; `average_precision.MatchTable` sums such categories row by row.

Axes: T thresholds, K categories, R recalls, N detections, H right detections over all thresholds, I ignored ones.
"""

from __future__ import annotations

from typing import Any

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
        threshold, self.row = np.nonzero(right)  # (H,), by threshold, category and falling score
        self.segment, self.first, self.of = np.unique(
            threshold * categories + category[self.row], return_index=True, return_inverse=True
        )
        self.category = self.segment % categories  # (S,)
        self.start = np.searchsorted(category, self.category)  # (S,) the first detection of the category
        out, ignored = np.nonzero(~counted)
        self.ignored = image[ignored]  # (I,) by threshold and row
        keys = out * len(image) + ignored
        self.ignored_before = np.searchsorted(keys, threshold * len(image) + self.row)  # (H,)
        self.ignored_start = np.searchsorted(keys, self.segment // categories * len(image) + self.start)  # (S,)
        # The system would otherwise hand out and take back the pages of these for each resample, which takes longer
        # than the sums: (H,) each
        self._right, self._counted, self._more = np.empty((3, len(self.row)))
        self._place, self._level = np.empty((2, len(self.row)), np.int64)

    def best(self, weights: Weights, sought: Numbers) -> Numbers:
        """(T, K, R): the highest precision at each recall or above, from recall 1 down; 0 where none reaches it.

        `weights` is (images,), of whole numbers; `sought` is (K,), the weight of the truths of each category.  All sums
        are whole, so they are exact in any order.
        """
        best = np.zeros(self.shape)
        if len(self.row):
            each = weights[self.image]
            right = np.cumsum(np.take(each, self.row, out=self._more, mode="clip"), out=self._right)
            right -= self._spread(right[self.first] - self._more[self.first], self._more)
            every = np.cumsum(each)
            ignored = np.concatenate([[0.0], np.cumsum(weights[self.ignored])])
            counted = np.take(every, self.row, out=self._counted, mode="clip")
            if len(self.ignored):
                counted -= np.take(ignored, self.ignored_before, out=self._more, mode="clip")
            before = every[self.start] - each[self.start]
            counted -= self._spread(before - ignored[self.ignored_start], self._more)
            level, starts = _levels(sought)
            place = self._place  # of a detection in `best`
            np.copyto(place, right, casting="unsafe")
            place += self._spread(starts[self.category], self._level)
            np.take(level, place, out=self._level, mode="clip")
            np.add(self._level, self._spread(self.segment * len(RECALLS), place), out=place)
            counted += np.spacing(1)
            np.maximum.at(best.reshape(-1), place, np.divide(right, counted, out=right))
        return np.maximum.accumulate(best[..., ::-1], axis=-1)

    def _spread(self, values: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        """(S,) to (H,): the value of each detection's segment."""
        return np.take(values, self.of, out=out, mode="clip")


def _levels(sought: Numbers) -> tuple[Indices, Indices]:
    """For each category the last of RECALLS that 0, 1, ... of its `sought` truths reach, and where each one begins.

    Recalls are quotients in doubles, as COCOeval compares them.
    """
    sizes = sought.astype(np.int64) + 1
    starts = np.cumsum(sizes) - sizes
    found = np.arange(sizes.sum()) - np.repeat(starts, sizes)
    recall = found / np.repeat(np.maximum(sought, 1.0), sizes)
    level = (100 * recall).astype(np.int64)
    level += np.append(RECALLS, np.inf)[level + 1] <= recall
    level -= RECALLS[level] > recall
    return level, starts
