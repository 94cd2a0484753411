"""Precisions under whole weights, against a plain loop over all detections and their copies."""

from __future__ import annotations

import numpy as np
import pytest

from harness.metrics.whole_weights import RECALLS, WholeSums

IMAGES, CATEGORIES, THRESHOLDS = 6, 4, 3


def plain(rows: list[tuple[int, bool, bool]], weights: list[int], sought: int) -> list[float]:
    """The highest precision at each recall or above; rows are (image, right, counted) by falling score."""
    right = counted = 0
    curve = []
    for image, hit, counts in rows:
        for _ in range(weights[image]):
            right, counted = right + hit, counted + counts
            curve.append((right / sought, right / (counted + np.spacing(1))))
    return [max((precision for reached, precision in curve if reached >= recall), default=0.0) for recall in RECALLS]


@pytest.mark.parametrize("seed", range(20))
def test_best_equals_plain_loop(seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = int(draw.integers(0, 60))
    image, category = draw.integers(IMAGES, size=count), np.sort(draw.integers(CATEGORIES, size=count))
    right = draw.random((THRESHOLDS, count)) < 0.5
    counted = right | (draw.random((THRESHOLDS, count)) < 0.7)
    sums = WholeSums(image, category, right, counted, CATEGORIES)
    for _ in range(3):  # the same table serves many weightings
        weights = draw.integers(0, 4, IMAGES)
        most = [int((right * weights[image])[:, category == number].sum(axis=1).max(initial=0)) for number in range(4)]
        sought = [found + int(draw.integers(0, 5)) for found in most]
        best = sums.best(weights.astype(float), np.array(sought, float))[..., ::-1]
        for threshold in range(THRESHOLDS):
            for number in range(CATEGORIES):
                if sought[number]:
                    chosen = np.flatnonzero(category == number)
                    rows = [(int(image[n]), bool(right[threshold, n]), bool(counted[threshold, n])) for n in chosen]
                    assert best[threshold, number].tolist() == plain(rows, weights.tolist(), sought[number])
