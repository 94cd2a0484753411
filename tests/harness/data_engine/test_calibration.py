"""Curves of precision and recall by arithmetic, and against a slow count at every threshold."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from harness.core import Box
from harness.data_engine.calibration import FEWEST, Curve, calibrated, curve, right_of
from harness.data_engine.parents import Parents
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Record
from harness.data_engine.regions import Boxes, box_of
from harness.geometry.boxes import iou
from tests.harness.data_engine.engines import ONE, OTHER, image_row, record, region

CAT: Box = (10.0, 10.0, 30.0, 30.0)
FAR: Box = (50.0, 10.0, 70.0, 30.0)


def test_region_is_right_if_label_and_box_are_and_no_better_one_took_the_object() -> None:
    regions = [
        region((10.0, 10.0, 30.0, 31.0), "Cat"), region(CAT, "cat"), region(FAR, "dog"), region(FAR, "cat"),
        region((0.0, 0.0, 15.0, 15.0), "cat"),
    ]  # fmt: skip
    assert right_of(regions, [("cat", CAT), ("cat", FAR)]) == [True, False, False, True, False]
    assert right_of(regions, []) == [False] * 5


def test_curve_is_precision_and_recall_of_what_has_at_least_each_score() -> None:
    boxes = [
        region(CAT, score=0.9), region(FAR, "dog", 0.8), region(FAR, "cat", 0.7),
        region((80.0, 40.0, 99.0, 70.0), score=0.7), region(CAT, score=0.95, origin=OTHER),
    ]  # fmt: skip
    truth = {"a.png": [("cat", CAT), ("cat", FAR)]}
    found = curve([record(*boxes)], truth, ONE, Boxes(across=1.0), 0.9)
    assert found.thresholds == (0.7, 0.8, 0.9)
    assert found.precision == pytest.approx((50.0, 50.0, 100.0))  # 2 of 4, 1 of 2, 1 of 1
    assert found.recall == pytest.approx((100.0, 50.0, 50.0))
    assert (found.kept, found.images, found.chosen) == ((4, 2, 1), 1, None)  # fewer than FEWEST regions


def test_repeated_box_is_suppressed_before_it_is_counted() -> None:
    boxes = [region(CAT, score=0.9), region((10.0, 10.0, 30.0, 31.0), score=0.8)]
    found = curve([record(*boxes)], {"a.png": [("cat", CAT)]}, ONE, Boxes(), 0.9)
    assert (found.thresholds, found.precision) == ((0.9,), (100.0,))


def test_image_without_truth_is_left_out_and_an_annotation_without_a_score_too() -> None:
    assert curve([record(region(CAT))], {}, ONE, Boxes(), 0.9).images == 0
    assert curve([record(region(CAT, score=None))], {"a.png": []}, ONE, Boxes(), 0.9).thresholds == ()


def test_chosen_threshold_is_the_lowest_with_the_precision_by_a_slow_count() -> None:
    generator = random.Random(0)
    records, truth = [], {}
    for place in range(100):
        image = image_row(place)
        truth[image.reference] = [("cat", CAT)]
        boxes = [
            replace(region(CAT, score=generator.uniform(0.3, 1.0)), image=image.sha256),
            replace(region(FAR, score=generator.uniform(0.0, 0.8)), image=image.sha256),
        ]
        records.append(Record(image=image, annotations=tuple(boxes)))
    found = curve(records, truth, ONE, Boxes(), 0.8)

    def precision(threshold: float) -> float:
        kept = [each for one in records for each in one.annotations if (each.score or 0) >= threshold]
        return sum(iou(box_of(each), CAT) > 0.5 for each in kept) / len(kept)

    fits = [t for place, t in enumerate(found.thresholds) if precision(t) >= 0.8 and found.kept[place] >= FEWEST]
    assert found.chosen == min(fits)
    assert found.precision == pytest.approx([100 * precision(t) for t in found.thresholds])
    assert found.at(found.chosen) == pytest.approx((100 * precision(found.chosen), found.at(found.chosen)[1]))  # type: ignore[index]
    assert found.at(1.1) is None


def test_recipe_keeps_thresholds_and_thinned_curves() -> None:
    many = tuple(place / 200 for place in range(200))
    chosen = Curve("one", 9, many, many, many, (1,) * 200, 0.9, 0.5)
    without = Curve("other", 9, (), (), (), (), 0.9, None)
    recipe = Recipe(name="r", stages=(Boxes(scores={"third": 0.2, "one": 0.1}), Parents()))
    made = calibrated(recipe, [chosen, without])
    assert made.stages == (Boxes(scores={"third": 0.2, "one": 0.5}), Parents())
    assert len(made.calibration["one"]["thresholds"]) == 50
    assert made.calibration["one"]["chosen"] == 0.5
    assert "chosen" not in made.calibration["other"]
    assert Recipe.from_data(made.as_data(), "") == made
