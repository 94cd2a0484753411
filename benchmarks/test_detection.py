"""COCO's AP versus pycocotools, on 5,000 generated images of COCO's density, in alternation in one process.

    python -m pytest benchmarks/test_detection.py -p benchmark -o addopts= --benchmark-only

`ours` is matching, sorting and the twelve figures from our table; `hotcoco` is `evaluate(engine="hotcoco")`.  Both are
compared with `evaluate(engine="pycocotools")` in `BENCH_ROUNDS` rounds; the record has the median of their ratios.
All figures are equal (asserted).  A resample is one more mAP from the same table, under other weights.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.interleaved import interleaved, quote, rounds
from harness.metrics import coco_eval
from harness.metrics.coco_eval import NAMES, Detections, MatchTable, Truth

ROUNDS = rounds(3)
IMAGES, CATEGORIES, TRUTHS, FOUND, RESAMPLES = 5_000, 80, 36_000, 40_000, 200


def generated(seed: int, constant: bool = False) -> tuple[Truth, Detections]:
    """Returns true boxes and detections near them, of few frequent and many rare categories.

    One detection in five has a random category.  `constant` gives all detections the same score.
    """
    generator = np.random.default_rng(seed)
    image, category = generator.integers(IMAGES, size=TRUTHS), generator.zipf(1.3, TRUTHS) % CATEGORIES
    boxes = np.hstack([generator.uniform(0, 500, (TRUTHS, 2)), np.exp(generator.normal(4, 1, (TRUTHS, 2)))]).round(2)
    area = boxes[:, 2] * boxes[:, 3] * generator.uniform(0.4, 1, TRUTHS)
    near = generator.integers(TRUTHS, size=FOUND)
    near = near[np.argsort(image[near], kind="stable")]
    moved = boxes[near] + generator.normal(0, 0.08, (FOUND, 4)) * np.tile(boxes[near, 2:], 2)
    label = np.where(generator.random(FOUND) < 0.8, category[near], generator.integers(CATEGORIES, size=FOUND))
    scores = np.ones(FOUND) if constant else generator.random(FOUND)
    truth = Truth(image, category, boxes, area, generator.random(TRUTHS) < 0.01)
    return truth, Detections(image[near], label, np.hstack([moved[:, :2], abs(moved[:, 2:])]).round(2), scores)


def from_table(truth: Truth, detections: Detections) -> dict[str, float]:
    """Returns the twelve figures."""
    table = coco_eval.match(truth, detections, IMAGES, CATEGORIES)
    ones = np.ones(IMAGES)
    return {name: summed(table, name)(ones, name) for name in NAMES}


def summed(table: MatchTable, name: str) -> Callable[..., float]:
    return table.average_precision if name.startswith(("mAP", "AP")) else table.average_recall


@pytest.mark.parametrize("constant", [False, True], ids=["scores", "constant scores"])
def test_average_precision_versus_pycocotools(benchmark: Any, constant: bool) -> None:
    truth, detections = generated(0, constant)

    def official(engine: coco_eval.Engine) -> dict[str, float]:
        return coco_eval.evaluate(truth, detections, IMAGES, CATEGORIES, engine=engine)

    ways: dict[str, Callable[[], dict[str, float]]] = {
        "pycocotools": lambda: official("pycocotools"),
        "ours": lambda: from_table(truth, detections),
    }
    if importlib.util.find_spec("hotcoco"):
        ways["hotcoco"] = lambda: official("hotcoco")
    figures: dict[str, list[float]] = {}

    def evaluate(name: str) -> None:
        figures[name] = list(ways[name]().values())

    times = interleaved({name: partial(evaluate, name) for name in ways}, ROUNDS)
    for values in figures.values():
        np.testing.assert_allclose(values, figures["pycocotools"], rtol=0, atol=1e-10)

    label = f"COCO AP, {IMAGES:,} images, {FOUND:,} boxes{', scores alike' * constant}"
    for name in set(ways) - {"pycocotools"}:
        quote(benchmark, label, times, ours=name, theirs="pycocotools")
    benchmark.pedantic(ways["ours"], rounds=1)


@pytest.mark.parametrize("constant", [False, True], ids=["scores", "constant scores"])
def test_average_precision_of_resamples(benchmark: Any, constant: bool) -> None:
    table = coco_eval.match(*generated(0, constant), IMAGES, CATEGORIES)
    generator = np.random.default_rng(0)
    weights = [np.bincount(generator.integers(IMAGES, size=IMAGES), minlength=IMAGES) * 1.0 for _ in range(RESAMPLES)]
    values = benchmark.pedantic(lambda: [table.average_precision(each) for each in weights], rounds=1)
    benchmark.extra_info["mean and spread of mAP"] = f"{np.mean(values):.3f}, {np.std(values):.3f}"
