"""Coverage of 95 % intervals in simulations, for one metric of each form.

A population of images is drawn once.  Then 300 benchmarks, 1,000 in `make hostile`, are drawn from its images, with
replacement, and an interval is computed for each.  The true value is the population's.  CIDEr uses the document
frequencies of each benchmark, so its true value is the mean over benchmarks of that size.
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
from tests.hostile import DRAWS

RESAMPLES = 200
# Accepted coverage; its standard error is 0.7 % with 1,000 draws, 1.3 % with 300.
SOUND = (0.92, 0.98) if DRAWS >= 1000 else (0.9, 0.99)
Drawn = NDArray[np.int64]
QUESTION = Question("x.jpg", None, "caption")


def coverage(population: int, size: int, number: Callable[[Drawn, int], Estimate], truth: float | None = None) -> float:
    """The share of benchmarks of `size` images whose interval contains the truth (None: the mean over benchmarks)."""
    rng = np.random.default_rng(0)
    estimates = [number(rng.integers(population, size=size), draw % 7) for draw in range(DRAWS)]
    true = float(np.mean([got.value for got in estimates])) if truth is None else truth
    return float(
        np.mean([got.low is not None and got.high is not None and got.low <= true <= got.high for got in estimates])
    )


def rows_of(drawn: Drawn, scores: Sequence[Sequence[Score]]) -> list[Row[Any]]:
    """One row for each score of each drawn image; an image that is drawn twice counts as two images."""
    return [
        Row(Sample(f"{place}", QUESTION, None, f"{place}"), Answer((), None), score)
        for place, image in enumerate(drawn.tolist())
        for score in scores[image]
    ]


@pytest.mark.slow
def test_coverage_of_mean_over_sentences_is_nominal() -> None:
    """Images have one to ten sentences; the sentences of an image are similarly difficult."""
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
def test_coverage_of_ratio_of_pixels_is_nominal() -> None:
    """oIoU: large objects have more weight and higher scores."""
    rng = np.random.default_rng(2)
    either = np.exp(rng.normal(8, 1, 3000))
    both = either * rng.beta(2 + np.log(either) / 4, 1)

    scores = [[Score({"both": b, "either": e})] for b, e in zip(both.tolist(), either.tolist(), strict=True)]

    def number(drawn: Drawn, seed: int) -> Estimate:
        return estimate(ratio("both", "either"), rows_of(drawn, scores), seed, resamples=RESAMPLES)

    got = coverage(3000, 200, number, 100 * both.sum() / either.sum())
    assert SOUND[0] <= got <= SOUND[1]


@pytest.mark.slow
def test_coverage_of_cider_is_nominal() -> None:
    """Every resample uses the document frequencies of the whole benchmark."""
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

    written = [caption() for _ in range(2000)]

    def number(drawn: Drawn, seed: int) -> Estimate:
        cider = captions.mark([written[i][0] for i in drawn], [written[i][1:] for i in drawn]).cider
        scores = [[Score({"cider": score})] for score in cider.tolist()]
        return estimate(METRICS["CIDEr"], rows_of(np.arange(len(drawn)), scores), seed, resamples=RESAMPLES)

    got = coverage(2000, 100, number)
    assert SOUND[0] <= got <= SOUND[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)  # AP is computed 200,000 times
def test_coverage_of_average_precision_is_nominal() -> None:
    """Three categories with missed objects, and with false positives whose scores are lower on average."""
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
        image=np.array([image for image, _, _ in truths]),
        category=np.array([category for _, category, _ in truths]),
        boxes=np.array([box for _, _, box in truths]),
        area=np.array([box[2] * box[3] for _, _, box in truths]),
        crowd=np.zeros(len(truths), bool),
    )
    detections = coco_eval.Detections(
        image=np.array([image for image, _, _, _ in found]),
        category=np.array([category for _, category, _, _ in found]),
        boxes=np.array([box for _, _, box, _ in found]),
        scores=np.array([score for _, _, _, score in found]),
    )
    table = coco_eval.match(truth, detections, population, 3)

    def number(drawn: Drawn, seed: int) -> Estimate:
        """AP from the table of matches that tasks use; an image that is drawn twice has twice the weight."""
        image_weights = partial(np.bincount, drawn, minlength=population)
        statistic = Biased(lambda weights: table.average_precision(image_weights(weights)))
        return interval(statistic, size, n=size, seed=seed, resamples=RESAMPLES)

    got = coverage(population, size, number, table.average_precision(np.ones(population)))
    assert SOUND[0] <= got <= SOUND[1]
