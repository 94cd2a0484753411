"""Scores of detections, and metrics over data sets, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core import Answer, Boxes, Fixed, Objects, Phrase, Question, Row, Sample, Score, Statistic, Text
from harness.metrics.detection import Detector, OverDataSets, by_categories, scene, score
from harness.statistics import interval
from tests.rows import rows

PHRASES = (Phrase("dog"), Phrase("person"))
SYNONYMS = {"puppy": "dog", "woman": "person"}


def image(name: str, boxes: Boxes, phrases: tuple[Phrase, ...] = PHRASES) -> Row[Objects]:
    """A row whose image holds one dog of 10 x 10 pixels at the origin."""
    target = Objects(((0.0, 0.0, 10.0, 10.0),), (0,), (100.0,), (False,), tuple(range(len(phrases))))
    sample = Sample(name, Question(name, None, "detect", phrases=phrases), target, name)
    return Row(sample, Answer(("",), boxes), Score({}))


DOG = (0.0, 0.0, 10.0, 10.0)
FAR = (20.0, 20.0, 30.0, 30.0)


def test_scores_of_an_image_are_f1_and_its_counts() -> None:
    detector = Detector(SYNONYMS)
    right, half, none = detector.corpus.scores([
        image("a", Boxes((DOG,), ("dog",))),
        image("b", Boxes((DOG, FAR), ("puppy", "unicorn"))),  # the unicorn is not a detection, so it is not wrong
        image("c", Boxes((FAR, FAR), ("dog", "dog"))),
    ])  # fmt: skip
    assert right == {"F1": 1.0, "true positives": 1, "predictions": 1, "targets": 1,
                     "unmapped labels": 0.0}  # fmt: skip
    assert (half["F1"], half["predictions"], half["unmapped labels"]) == (1.0, 1, 1.0)
    assert (none["F1"], none["true positives"], none["predictions"], none["targets"]) == (0.0, 0, 2, 1)
    assert detector.corpus.counted == ("unmapped labels",)
    assert "region score x label score" in detector.corpus.policy
    assert Detector({}, policy="by name").corpus.policy == "by name"


@pytest.mark.parametrize(("value", "readable"), [(Boxes((), ()), True), (Text(("dog",)), False), (None, False)])
def test_answer_is_readable_if_it_is_boxes(value: Boxes | Text | None, readable: bool) -> None:
    result = score(image("a", Boxes((), ())).sample, Answer(("",), value))
    assert (result.values, result.readable) == ({}, readable)


def test_rows_with_other_categories_are_another_data_set() -> None:
    others = (Phrase("cat"),)
    mixed = [image("a", Boxes((), ())), image("b", Boxes((), ()), others), image("c", Boxes((), ()), others)]
    assert [[row.sample.id for row in group] for group in by_categories(mixed)] == [["a"], ["b", "c"]]
    with pytest.raises(ValueError, match="samples a and b have different categories"):
        scene(mixed, {})


# ---------------------------------------------------------------------------- over data sets


class Count:
    """The number of rows, which no resample changes."""

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        return Fixed(float(len(rows)))


class Sum:
    """The sum of the rows' scores, times the weight of each cluster."""

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        values = np.array([row.score.values["iou"] for row in rows])
        return lambda weights: float(weights @ values)


SAMPLES = [
    replace(row, sample=replace(row.sample, groups=(name,)))
    for name, row in zip("abb", rows([("x", 0.1), ("y", 0.2), ("z", 0.3)]), strict=True)
]


def test_mean_of_fixed_numbers_is_fixed() -> None:
    """Numbers that no resample changes have no interval, for one data set and over several."""
    mean = OverDataSets(Count(), ("a", "b"), "mean").prepare(SAMPLES)
    median = OverDataSets(Count(), ("a", "b"), "median").prepare(SAMPLES)
    assert mean == median == Fixed(1.5)  # 1 of a, 2 of b
    estimated = interval(mean, 3, n=3, seed=0)
    assert (estimated.value, estimated.low, estimated.high) == (1.5, None, None)


def test_weights_reach_the_data_set_of_their_cluster() -> None:
    mean = OverDataSets(Sum(), ("a", "b"), "mean").prepare(SAMPLES)
    assert mean(np.ones(3)) == pytest.approx((0.1 + (0.2 + 0.3)) / 2)
    assert mean(np.array([1.0, 0.0, 2.0])) == pytest.approx((0.1 + 2 * 0.3) / 2)


def test_missing_data_set_gives_nan() -> None:
    statistic = OverDataSets(Count(), ("a", "b", "c"), "mean").prepare(SAMPLES)
    assert math.isnan(statistic(np.ones(3)))
