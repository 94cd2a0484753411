"""Kept regions versus the truth of their images: precision, recall and F1, with intervals by image.

A region is right if its label is that of an object and their IoU is at least 0.5; see `calibration.right_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core import Estimate
from harness.data_engine.calibration import Object, right_of
from harness.data_engine.records import Record
from harness.statistics import interval

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    """By image, (N,): the right regions, the kept regions, and the objects."""

    right: Floats
    kept: Floats
    objects: Floats

    @classmethod
    def of(cls, records: Iterable[Record], truth: Mapping[str, Sequence[Object]]) -> Judged:
        """The counts of the records whose reference is in `truth`, in their order."""
        rows = []
        for record in records:
            objects = truth.get(record.image.reference)
            if objects is not None:
                kept = sorted(record.kept("region"), key=lambda each: (-(each.score or 0.0), each.id))
                rows.append((sum(right_of(kept, objects)), len(kept), len(objects)))
        return cls(*np.array(rows, np.float64).reshape(-1, 3).T)

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.right)

    def precision(self, weights: Floats | None = None) -> float:
        """In percent; 0 without a region."""
        return _share(self.right, self.kept, weights)

    def recall(self, weights: Floats | None = None) -> float:
        """In percent; 0 without an object."""
        return _share(self.right, self.objects, weights)

    def f1(self, weights: Floats | None = None) -> float:
        """In percent: twice the right regions over regions and objects."""
        return _share(2 * self.right, self.kept + self.objects, weights)


def gain(before: Judged, after: Judged, seed: int = 0) -> Estimate:
    """The difference of F1, after minus before, over the same images, with its 95 % interval."""
    return interval(lambda w: after.f1(w) - before.f1(w), before.images, n=before.images, seed=seed)


def _share(part: Floats, whole: Floats, weights: Floats | None) -> float:
    weights = np.ones(len(part)) if weights is None else weights
    total = float(weights @ whole)
    return 100 * float(weights @ part) / total if total else 0.0
