"""COCO's AP beside pycocotools, on 5,000 made images of COCO's density, in one process, by turns.

    python -m pytest benchmarks/test_detection.py -p benchmark -o addopts= --benchmark-only

`ours` is matching, sorting and the twelve numbers from our table; `hotcoco` is `evaluate(engine="hotcoco")`; both are
held against `evaluate(engine="pycocotools")`, over `BENCH_ROUNDS` rounds; quoted is the median of the rounds' ratios.
All give the same numbers (asserted).  A resample is one more mAP under other weights, from the table that is there.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from benchmarks.turns import by_turns, quote, rounds
from harness.metrics import coco_eval
from harness.metrics.coco_eval import NAMES, Detections, MatchTable, Truth

ROUNDS = rounds(3)
IMAGES, CATEGORIES, TRUTHS, FOUND, RESAMPLES = 5_000, 80, 36_000, 40_000, 200


def made(seed: int, constant: bool = False) -> tuple[Truth, Detections]:
    """Truths of few frequent and many rare categories; four in five detections lie near one, the others anywhere."""
    draw = np.random.default_rng(seed)
    image, category = draw.integers(IMAGES, size=TRUTHS), draw.zipf(1.3, TRUTHS) % CATEGORIES
    boxes = np.hstack([draw.uniform(0, 500, (TRUTHS, 2)), np.exp(draw.normal(4, 1, (TRUTHS, 2)))]).round(2)
    area = boxes[:, 2] * boxes[:, 3] * draw.uniform(0.4, 1, TRUTHS)
    near = draw.integers(TRUTHS, size=FOUND)
    near = near[np.argsort(image[near], kind="stable")]
    found = boxes[near] + draw.normal(0, 0.08, (FOUND, 4)) * np.tile(boxes[near, 2:], 2)
    label = np.where(draw.random(FOUND) < 0.8, category[near], draw.integers(CATEGORIES, size=FOUND))
    scores = np.ones(FOUND) if constant else draw.random(FOUND)
    truth = Truth(image, category, boxes, area, draw.random(TRUTHS) < 0.01)
    return truth, Detections(image[near], label, np.hstack([found[:, :2], abs(found[:, 2:])]).round(2), scores)


def from_table(truth: Truth, found: Detections) -> dict[str, float]:
    table = coco_eval.match(truth, found, IMAGES, CATEGORIES)
    ones = np.ones(IMAGES)
    return {name: summed(table, name)(ones, name) for name in NAMES}


def summed(table: MatchTable, name: str) -> Callable[..., float]:
    return table.average_precision if name.startswith(("mAP", "AP")) else table.average_recall


@pytest.mark.parametrize("constant", [False, True], ids=["scores", "constant scores"])
def test_average_precision(benchmark: Any, constant: bool) -> None:
    truth, found = made(0, constant)

    def official(engine: coco_eval.Engine) -> dict[str, float]:
        return coco_eval.evaluate(truth, found, IMAGES, CATEGORIES, engine=engine)

    ways: dict[str, Callable[[], dict[str, float]]] = {
        "pycocotools": lambda: official("pycocotools"),
        "ours": lambda: from_table(truth, found),
    }
    if importlib.util.find_spec("hotcoco"):
        ways["hotcoco"] = lambda: official("hotcoco")
    numbers: dict[str, list[float]] = {}

    def kept(name: str) -> None:
        numbers[name] = list(ways[name]().values())

    times = by_turns({name: partial(kept, name) for name in ways}, ROUNDS)
    for values in numbers.values():
        np.testing.assert_allclose(values, numbers["pycocotools"], rtol=0, atol=1e-10)

    what = f"COCO AP, {IMAGES:,} images, {FOUND:,} boxes{', scores alike' * constant}"
    for name in set(ways) - {"pycocotools"}:
        quote(benchmark, what, times, ours=name, theirs="pycocotools")
    benchmark.pedantic(ways["ours"], rounds=1)


@pytest.mark.parametrize("constant", [False, True], ids=["scores", "constant scores"])
def test_resamples(benchmark: Any, constant: bool) -> None:
    table = coco_eval.match(*made(0, constant), IMAGES, CATEGORIES)
    draw = np.random.default_rng(0)
    weights = [np.bincount(draw.integers(IMAGES, size=IMAGES), minlength=IMAGES) * 1.0 for _ in range(RESAMPLES)]
    values = benchmark.pedantic(lambda: [table.average_precision(each) for each in weights], rounds=1)
    benchmark.extra_info["mean and spread of mAP"] = f"{np.mean(values):.3f}, {np.std(values):.3f}"
