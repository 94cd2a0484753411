"""Random sets of truths and detections, and COCOeval's numbers of them by the published steps."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.metrics import coco_eval
from harness.metrics.average_precision import Detections, Truth

IMAGES, CATEGORIES = 4, 3
# Percent.  A number is a mean of at most 10 thresholds x 101 recalls x 3 categories = 3030 shares.  Another order of
# summation moves it by at most 3030 x 2.2e-16 = 6.7e-13, which is 6.7e-11 percent.
ROUNDING = 1e-10
Thing = tuple[int, int, list[float], float, bool]  # image, category, box, area, crowd
Find = tuple[int, int, list[float], float]  # image, category, box, score
Scene = tuple[list[Thing], list[Find]]
needs_hotcoco = pytest.mark.skipif(importlib.util.find_spec("hotcoco") is None, reason="hotcoco is not installed")

# Few positions and sizes, so that boxes are often equal, have equal IoUs, or have an IoU at a threshold.  Each image
# has its own scale: sides of 8 then give an area of 32 x 32, 96 x 96 or 1e5 x 1e5, the borders of COCO's area ranges.
SCALES = (4.0, 12.0, 12500.0, 4.1)
side = st.sampled_from([8.0, 8.0, 6.0, 9.0, 4.0, 0.0])
boxes = st.tuples(st.integers(-1, 2).map(float), st.sampled_from([0.0, 1.0]), side, side)
image_numbers, category_numbers = st.sampled_from([0, 0, 1, 2, 3]), st.sampled_from([0, 0, 1])  # category 2 stays empty
area = st.sampled_from([0.0, 1024.0, 1024.5, 9216.0, 9216.5, 1e10, 2e10])
crowd = st.sampled_from([False, False, False, True])
score_values = st.sampled_from([-1.0, 0.25, 0.5, 0.75, 1.0])


def scaled(things: list[Any], finds: list[Any]) -> Scene:
    return (
        [(i, c, [SCALES[i] * value for value in b], a, crowd) for i, c, b, a, crowd in things],
        [(i, c, [SCALES[i] * value for value in b], s) for i, c, b, s in finds],
    )


scenes = st.tuples(
    st.lists(st.tuples(image_numbers, category_numbers, boxes, area, crowd), max_size=12),
    st.lists(st.tuples(image_numbers, category_numbers, boxes, score_values), max_size=16),
).map(lambda scene: scaled(*scene))


def crowded(seed: int, score: Callable[[np.random.Generator], float]) -> Scene:
    """Many overlapping boxes of a few sizes."""
    draw = np.random.default_rng(seed)

    def box() -> list[float]:
        return [*draw.integers(0, 24, 2).tolist(), *draw.choice([6.0, 8.0, 9.0], 2).tolist()]

    things = [
        (draw.integers(4), draw.choice([0, 0, 0, 1]), box(), 1e3 + draw.integers(60), draw.random() < 0.1)
        for _ in range(150)
    ]
    finds = [(draw.integers(4), draw.choice([0, 0, 0, 1, 2]), box(), score(draw)) for _ in range(200)]
    return scaled(
        [(int(i), int(c), b, float(a), bool(crowd)) for i, c, b, a, crowd in things],
        [(int(i), int(c), b, s) for i, c, b, s in finds],
    )


def truth_of(things: Sequence[Thing]) -> Truth:
    columns: list[Any] = [list(column) for column in zip(*things, strict=True)] or [[]] * 5
    return Truth(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64).reshape(-1, 4),
        np.array(columns[3], np.float64),
        np.array(columns[4], np.bool_),
    )


def found_of(finds: Sequence[Find]) -> Detections:
    columns: list[Any] = [list(column) for column in zip(*finds, strict=True)] or [[]] * 4
    return Detections(
        np.array(columns[0], np.int64),
        np.array(columns[1], np.int64),
        np.array(columns[2], np.float64).reshape(-1, 4),
        np.array(columns[3], np.float64),
    )


def evaluated_by_coco(scene: Scene, images: int, change: Callable[[Any], None] = lambda params: None) -> Any:
    """COCOeval by the published steps (`loadRes` refuses an empty list, so an empty set replaces it)."""
    things, finds = scene
    with contextlib.redirect_stdout(io.StringIO()):
        truths = COCO()
        truths.dataset = {
            "images": [{"id": 10 + number} for number in range(images)],
            "categories": [{"id": 7 + number} for number in range(CATEGORIES)],
            "annotations": [
                {"id": 100 + n, "image_id": 10 + i, "category_id": 7 + c, "bbox": b, "area": a, "iscrowd": int(crowd)}
                for n, (i, c, b, a, crowd) in enumerate(things)
            ],
        }
        truths.createIndex()
        detections = COCO()
        if finds:
            detections = truths.loadRes(
                [{"image_id": 10 + i, "category_id": 7 + c, "bbox": b, "score": s} for i, c, b, s in finds]
            )
        evaluation = COCOeval(truths, detections, "bbox")
        change(evaluation.params)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def official(scene: Scene, images: int = IMAGES) -> dict[str, float]:
    """COCOeval's twelve numbers in percent, NaN for its -1."""
    evaluation = evaluated_by_coco(scene, images)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.summarize()
    stats = [np.nan if value == -1 else 100 * value for value in evaluation.stats]
    return dict(zip(coco_eval.NAMES, stats, strict=True))


def same(one: dict[str, float], other: dict[str, float]) -> None:
    assert list(one) == list(other)
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=0, atol=ROUNDING)
