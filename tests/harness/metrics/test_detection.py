"""Labels to categories, boxes to scores, and metrics over data sets, by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core import Answer, Boxes, Fixed, Objects, Phrase, Question, Row, Sample, Score, Statistic, Text
from harness.metrics.detection import Detector, OverDataSets, alike, category_of, found_in, scene, score, unmapped
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


def test_label_is_matched_by_name_then_loosely_then_by_synonym() -> None:
    labels = ("dog", "Dog ", "puppy", "WOMAN", "person", "dogs", "", "unicorn")
    assert [category_of(label, PHRASES, SYNONYMS) for label in labels] == [0, 0, 0, 1, 1, None, None, None]


def test_exact_name_wins_over_another_case() -> None:
    phrases = (Phrase("Dog"), Phrase("dog"))
    assert [category_of(label, phrases, {}) for label in ("dog", "Dog", "DOG")] == [1, 0, 0]


def test_box_score_is_region_score_times_label_score() -> None:
    row = image("a", Boxes((DOG, FAR), ("dog", "woman"), (0.5, 1.0), (0.5, 0.25)))
    assert list(found_in(row, SYNONYMS)) == [((0, 0, 10, 10), 0, 0.25), ((20, 20, 10, 10), 1, 0.25)]
    assert [one[2] for one in found_in(image("a", Boxes((DOG,), ("dog",))), {})] == [1.0]


def test_unknown_labels_and_improper_boxes_are_no_detections() -> None:
    inverted, infinite = (10.0, 0.0, 0.0, 10.0), (0.0, 0.0, math.inf, 10.0)
    row = image("a", Boxes((DOG, inverted, infinite), ("unicorn", "dog", "dog")))
    assert list(found_in(row, {})) == []
    assert unmapped(row, {}) == 1  # the unicorn; improper boxes have a category
    assert list(found_in(replace(row, answer=Answer(("",), Text(("dog",)))), {})) == []


def test_scores_are_counts_and_f1_of_each_image() -> None:
    detector = Detector(SYNONYMS)
    right, half, none = detector.corpus.scores([
        image("a", Boxes((DOG,), ("dog",))),
        image("b", Boxes((DOG, FAR), ("puppy", "unicorn"))),  # the unicorn is no detection, so it is not wrong either
        image("c", Boxes((FAR, FAR), ("dog", "dog"))),
    ])  # fmt: skip
    assert right == {"F1": 1.0, "right": 1, "found": 1, "there": 1, "twice right": 2, "found and there": 2,
                     "unmapped labels": 0.0}  # fmt: skip
    assert (half["F1"], half["found"], half["unmapped labels"]) == (1.0, 1, 1.0)
    assert (none["F1"], none["right"], none["found"], none["there"]) == (0.0, 0, 2, 1)
    assert detector.corpus.counted == ("unmapped labels",)
    assert "region score x label score" in detector.corpus.policy
    assert Detector({}, policy="as found").corpus.policy == "as found"


@pytest.mark.parametrize(("value", "readable"), [(Boxes((), ()), True), (Text(("dog",)), False), (None, False)])
def test_answer_is_readable_if_it_is_boxes(value: Boxes | Text | None, readable: bool) -> None:
    found = score(image("a", Boxes((), ())).sample, Answer(("",), value))
    assert (found.values, found.readable) == ({}, readable)


def test_rows_of_other_categories_are_another_scene() -> None:
    others = (Phrase("cat"),)
    mixed = [image("a", Boxes((), ())), image("b", Boxes((), ()), others), image("c", Boxes((), ()), others)]
    assert [[row.sample.id for row in group] for group in alike(mixed)] == [["a"], ["b", "c"]]
    with pytest.raises(ValueError, match="sample b is of another data set than a"):
        scene(mixed, {})


# ---------------------------------------------------------------------------- over data sets


class Count:
    """The number of rows, which no resample changes."""

    def prepare(self, found: Sequence[Row[Any]]) -> Statistic:
        return Fixed(float(len(found)))


class Sum:
    """The sum of the rows' scores, each cluster as often as it is drawn."""

    def prepare(self, found: Sequence[Row[Any]]) -> Statistic:
        values = np.array([row.score.values["iou"] for row in found])
        return lambda weights: float(weights @ values)


SAMPLES = [
    replace(row, sample=replace(row.sample, groups=(name,)))
    for name, row in zip("abb", rows([("x", 0.1), ("y", 0.2), ("z", 0.3)]), strict=True)
]


def test_a_mean_of_fixed_numbers_is_fixed() -> None:
    """Over data sets as for one: what no resample changes has no interval, and a plain mean is still one."""
    mean = OverDataSets(Count(), ("a", "b"), "mean").prepare(SAMPLES)
    median = OverDataSets(Count(), ("a", "b"), "median").prepare(SAMPLES)
    assert mean == median == Fixed(1.5)  # 1 of a, 2 of b
    estimated = interval(mean, 3, n=3, seed=0)
    assert (estimated.value, estimated.low, estimated.high) == (1.5, None, None)


def test_weights_reach_the_data_set_of_their_cluster() -> None:
    mean = OverDataSets(Sum(), ("a", "b"), "mean").prepare(SAMPLES)
    assert mean(np.ones(3)) == pytest.approx((0.1 + (0.2 + 0.3)) / 2)
    assert mean(np.array([1.0, 0.0, 2.0])) == pytest.approx((0.1 + 2 * 0.3) / 2)


def test_a_missing_data_set_leaves_no_mean() -> None:
    statistic = OverDataSets(Count(), ("a", "b", "c"), "mean").prepare(SAMPLES)
    assert math.isnan(statistic(np.ones(3)))
