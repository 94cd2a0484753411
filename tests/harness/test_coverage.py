"""Do 95 % intervals hold the truth 95 times in a hundred?  By simulation, for one metric of each shape.

A population of images is drawn once; 1,000 times a benchmark of some of its images is drawn, with replacement, and its
interval taken as `statistics` takes it.  The truth is the population's number; for CIDEr, whose document frequencies
are the benchmark's own, what benchmarks of that size give on average.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.core import Answer, Biased, Estimate, Question, Row, Sample, Score
from harness.metrics import captions, coco_eval
from harness.metrics.reduce import mean, ratio
from harness.statistics import estimate, interval
from tasks.captions import METRICS

DRAWS = 1000
RESAMPLES = 200
SOUND = (0.92, 0.98)


Drawn = NDArray[np.int64]
QUESTION = Question("x.jpg", None, "caption")


def coverage(population: int, size: int, number: Callable[[Drawn, int], Estimate], truth: float | None = None) -> float:
    """The share of benchmarks of `size` images whose interval holds the truth (None: their own mean)."""
    rng = np.random.default_rng(0)
    found = [number(rng.integers(population, size=size), draw % 7) for draw in range(DRAWS)]
    true = float(np.mean([one.value for one in found])) if truth is None else truth
    return float(
        np.mean([one.low is not None and one.high is not None and one.low <= true <= one.high for one in found])
    )


def rows_of(drawn: Drawn, scores: Sequence[Sequence[Score]]) -> list[Row[Any]]:
    """The rows of these images, each with its sentences' scores; an image that is drawn twice is two images."""
    return [
        Row(Sample(f"{place}", QUESTION, None, f"{place}"), Answer((), None), score)
        for place, image in enumerate(drawn.tolist())
        for score in scores[image]
    ]


@pytest.mark.slow
def test_a_mean() -> None:
    """Of sentences, one to ten an image, that are easy or hard together."""
    rng = np.random.default_rng(1)
    counts = rng.integers(1, 11, size=3000)
    right = np.array([rng.binomial(count, share) for count, share in zip(counts, rng.beta(2, 1, 3000), strict=True)])

    scores = [
        [Score({"right": float(place < hits)}) for place in range(count)]
        for hits, count in zip(right.tolist(), counts.tolist(), strict=True)
    ]

    def number(drawn: Drawn, seed: int) -> Estimate:
        return estimate(mean("right"), rows_of(drawn, scores), seed, resamples=RESAMPLES)

    got = coverage(3000, 150, number, 100 * right.sum() / counts.sum())
    assert SOUND[0] <= got <= SOUND[1]


@pytest.mark.slow
def test_a_ratio_of_pixels() -> None:
    """oIoU: large objects weigh more, and are better."""
    rng = np.random.default_rng(2)
    either = np.exp(rng.normal(8, 1, 3000))
    both = either * rng.beta(2 + np.log(either) / 4, 1)

    scores = [[Score({"both": b, "either": e})] for b, e in zip(both.tolist(), either.tolist(), strict=True)]

    def number(drawn: Drawn, seed: int) -> Estimate:
        return estimate(ratio("both", "either"), rows_of(drawn, scores), seed, resamples=RESAMPLES)

    got = coverage(3000, 200, number, 100 * both.sum() / either.sum())
    assert SOUND[0] <= got <= SOUND[1]


@pytest.mark.slow
def test_cider() -> None:
    """The document frequencies of the benchmark are kept under every resample."""
    draw = random.Random(3)
    things, colours = (
        ["dog", "cat", "car", "bus", "tree", "house", "man", "woman", "horse", "boat"],
        ["red", "blue", "green", "white", "black"],
    )
    verbs = ["sits", "stands", "runs", "sleeps", "waits"]

    def caption() -> list[str]:
        thing, colour, verb = draw.choice(things), draw.choice(colours), draw.choice(verbs)
        return [
            f"a {draw.choice((colour, 'big'))} {thing} {draw.choice((verb, 'is'))} near a {draw.choice(things)}"
            for _ in range(4)
        ]

    told = [caption() for _ in range(2000)]

    def number(drawn: Drawn, seed: int) -> Estimate:
        marks = captions.mark([told[i][0] for i in drawn], [told[i][1:] for i in drawn]).cider
        scores = [[Score({"cider": one})] for one in marks.tolist()]
        return estimate(METRICS["CIDEr"], rows_of(np.arange(len(drawn)), scores), seed, resamples=RESAMPLES)

    got = coverage(2000, 100, number)
    assert SOUND[0] <= got <= SOUND[1]


@pytest.mark.slow
def test_average_precision() -> None:
    """Three categories, misses, false alarms and scores that know something; images drawn twice are two images."""
    rng = np.random.default_rng(4)
    population, size = 400, 120
    truths: list[tuple[int, int, list[float]]] = []
    found: list[tuple[int, int, list[float], float]] = []
    for image in range(population):
        skill = rng.beta(4, 2)
        for _ in range(rng.integers(1, 5)):
            category, box = int(rng.integers(3)), [*rng.uniform(0, 400, 2), *rng.uniform(20, 90, 2)]
            truths.append((image, category, box))
            if rng.random() < skill:
                moved = [value + rng.normal(0, 4) * (place < 2) for place, value in enumerate(box)]
                found.append((image, category, moved, float(rng.beta(5, 2))))
        for _ in range(rng.integers(0, 3)):
            box = [*rng.uniform(0, 400, 2), *rng.uniform(20, 90, 2)]
            found.append((image, int(rng.integers(3)), box, float(rng.beta(2, 4))))
    truth = coco_eval.Truth(
        image=np.array([one[0] for one in truths]),
        category=np.array([one[1] for one in truths]),
        boxes=np.array([one[2] for one in truths]),
        area=np.array([one[2][2] * one[2][3] for one in truths]),
        crowd=np.zeros(len(truths), bool),
    )
    detections = coco_eval.Detections(
        image=np.array([one[0] for one in found]),
        category=np.array([one[1] for one in found]),
        boxes=np.array([one[2] for one in found]),
        scores=np.array([one[3] for one in found]),
    )
    table = coco_eval.match(truth, detections, population, 3)

    def number(drawn: Drawn, seed: int) -> Estimate:
        """By the table that a task's AP is summed from; its copies of an image are images drawn twice."""
        weighed = partial(np.bincount, drawn, minlength=population)
        statistic = Biased(lambda weights: table.average_precision(weighed(weights)))
        return interval(statistic, size, n=size, seed=seed, resamples=RESAMPLES)

    got = coverage(population, size, number, table.average_precision(np.ones(population)))
    assert SOUND[0] <= got <= SOUND[1]
