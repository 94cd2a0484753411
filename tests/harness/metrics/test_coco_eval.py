"""Our calls of COCOeval, and our matching, against COCOeval by the published steps."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from harness.errors import UsageError
from harness.metrics import coco_eval
from tests.harness.metrics.coco_scenes import (
    CATEGORIES,
    IMAGES,
    Find,
    Scene,
    Thing,
    evaluated_by_coco,
    found_of,
    needs_hotcoco,
    official,
    same,
    scenes,
    truth_of,
)

# --- the official numbers ---


@settings(max_examples=60, deadline=None)
@given(scene=scenes)
def test_evaluate_gives_cocoeval_numbers(scene: Scene) -> None:
    ours = coco_eval.evaluate(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES)
    same(ours, official(scene))


@needs_hotcoco
@settings(max_examples=60, deadline=None)
@given(scene=scenes)
def test_hotcoco_gives_cocoeval_numbers(scene: Scene) -> None:
    truth, found = truth_of(scene[0]), found_of(scene[1])
    same(coco_eval.evaluate(truth, found, IMAGES, CATEGORIES, engine="hotcoco"), official(scene))


@pytest.mark.parametrize("engine", ["pycocotools", pytest.param("hotcoco", marks=needs_hotcoco)])
def test_empty_tables_give_zero_or_nan_and_print_nothing(
    engine: coco_eval.Engine, capfd: pytest.CaptureFixture[str]
) -> None:
    truth = truth_of([(0, 0, [0.0, 0.0, 8.0, 8.0], 64.0, False)])
    nothing = found_of([])
    numbers = coco_eval.evaluate(truth, nothing, IMAGES, CATEGORIES, engine=engine)
    assert [numbers[name] for name in ("mAP", "APs", "AR100")] == [0.0, 0.0, 0.0]
    assert np.isnan([numbers["APm"], numbers["APl"], numbers["ARl"]]).all()
    assert np.isnan(list(coco_eval.evaluate(truth_of([]), nothing, 0, 0, engine=engine).values())).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ["pycocotools", pytest.param("hotcoco", marks=needs_hotcoco)])
def test_match_with_the_first_truth_counts(engine: coco_eval.Engine) -> None:
    """COCOeval ignores a match with annotation 0, so ids must start at 1."""
    square = [0.0, 0.0, 8.0, 8.0]
    truth, found = truth_of([(0, 0, square, 64.0, False)]), found_of([(0, 0, square, 1.0)])
    numbers = coco_eval.evaluate(truth, found, 1, 1, engine=engine)
    assert numbers["mAP"] == pytest.approx(100)


def test_missing_hotcoco_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UsageError, match="hotcoco is not installed"):
        coco_eval.evaluate(truth_of([]), found_of([]), 1, 1, engine="hotcoco")


# --- IoU ---

sevenths = st.integers(0, 400).map(lambda number: number / 7)
anywhere = st.lists(st.tuples(sevenths, sevenths, sevenths, sevenths).map(list), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(things=anywhere, finds=anywhere, crowd=st.booleans())
def test_iou_equals_pycocotools_to_the_last_bit(things: list[Any], finds: list[Any], crowd: bool) -> None:
    truth = truth_of([(0, 0, thing, 1.0, crowd) for thing in things])
    found = found_of([(0, 0, find, 1.0) for find in finds])
    zeros = np.zeros(len(finds), np.int64), np.zeros(len(things), np.int64)
    ours = np.zeros((len(finds), len(things)))
    pair_detection, pair_truth, iou = coco_eval._pairs(truth, found, *zeros)
    ours[pair_detection, pair_truth] = iou
    np.testing.assert_array_equal(ours, mask.iou(found.boxes, truth.boxes, [int(crowd)] * len(things)))


# --- counts at one IoU ---


@settings(max_examples=60, deadline=None)
@given(scene=scenes, iou=st.sampled_from([0.1, 0.5, 0.75, 1.0]))
def test_counts_are_those_of_cocoeval_matches(scene: Scene, iou: float) -> None:
    def change(params: Any) -> None:
        params.iouThrs, params.areaRng, params.areaRngLbl = [iou], [[0, 1e12]], ["all"]

    expected = np.zeros((IMAGES, 3), np.int64)
    for group in filter(None, evaluated_by_coco(scene, IMAGES, change).evalImgs):
        counts = ~group["dtIgnore"][0]
        right = counts & (group["dtMatches"][0] > 0)
        expected[group["image_id"] - 10] += right.sum(), counts.sum(), (np.asarray(group["gtIgnore"]) == 0).sum()
    counted = coco_eval.precision_recall_f1(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES, iou)
    np.testing.assert_array_equal(counted, expected)


def test_counts_include_more_than_a_hundred_detections() -> None:
    square = [0.0, 0.0, 8.0, 8.0]
    truth, found = truth_of([(0, 0, square, 64.0, False)]), found_of([(0, 0, square, 1.0)] * 130)
    assert coco_eval.precision_recall_f1(truth, found, 1, 1).tolist() == [[1, 130, 1]]
    with pytest.raises(ValueError, match=r"the IoU threshold is 0\.0"):
        coco_eval.precision_recall_f1(truth, found, 1, 1, iou=0.0)


def test_threshold_of_one_allows_for_rounding() -> None:
    """0.7 + 0.2 - 0.7 is below 0.2 in doubles, so this box has an IoU of 1 - 6e-16 with itself."""
    box = [0.7, 0.0, 0.2, 8.0]
    assert mask.iou([box], [box], [0])[0, 0] < 1
    truth, found = truth_of([(0, 0, box, 1.6, False)]), found_of([(0, 0, box, 1.0)])
    assert coco_eval.precision_recall_f1(truth, found, 1, 1, iou=1.0).tolist() == [[1, 1, 1]]


# --- AP without scores ---


def test_constant_score_ap_is_over_all_orders_of_ties() -> None:
    """Three detections in two images have 12 orders; 300 draws miss one with a chance of 12 (11 / 12)^300 = 6e-11."""
    square, near, far = [0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 9.0], [40.0, 0.0, 8.0, 8.0]
    things: list[Thing] = [(0, 0, square, 64.0, False), (1, 0, square, 64.0, False)]
    finds: list[Find] = [(0, 0, square, 0.3), (0, 0, near, 0.9), (1, 0, far, 0.1)]
    orders = [
        official(([(place[i], *rest) for i, *rest in things], [(place[i], c, b, 1.0) for i, c, b, _ in order]))["mAP"]
        for place in itertools.permutations(range(2))
        for order in itertools.permutations(finds)
    ]
    mean, lowest, highest = coco_eval.constant_score_ap(truth_of(things), found_of(finds), 2, 1, orders=300)
    assert (lowest, highest) == (pytest.approx(min(orders)), pytest.approx(max(orders)))
    assert mean == pytest.approx(np.mean(orders), abs=4 * np.std(orders) / 300**0.5)
    again = coco_eval.constant_score_ap(truth_of(things), found_of(finds), 2, 1, orders=300)
    assert again == (mean, lowest, highest)


def test_constant_score_ap_is_that_of_cocoeval_on_each_shuffled_set() -> None:
    """The same draws by hand: images and detections are shuffled, and COCOeval evaluates the shuffled set."""
    generator = np.random.default_rng(1)
    images, categories, count = 12, 3, 90
    boxes = np.hstack([generator.integers(0, 20, (count, 2)), generator.integers(10, 30, (count, 2))]).astype(float)
    image, category = generator.integers(images, size=count), generator.integers(categories, size=count)
    truth = coco_eval.Truth(image[:40], category[:40], boxes[:40], np.full(40, 200.0), np.arange(40) % 9 == 0)
    finds = coco_eval.Detections(image[40:], category[40:], boxes[40:], generator.random(50))
    draw, official = np.random.default_rng(5), []
    for _ in range(4):
        place, order = draw.permutation(images), draw.permutation(50)
        shuffled = coco_eval.Detections(
            place[finds.image[order]], finds.category[order], finds.boxes[order], np.ones(50)
        )
        moved = coco_eval.Truth(place[truth.image], truth.category, truth.boxes, truth.area, truth.crowd)
        official.append(coco_eval.evaluate(moved, shuffled, images, categories)["mAP"])
    expected = float(np.mean(official)), min(official), max(official)
    np.testing.assert_allclose(
        coco_eval.constant_score_ap(truth, finds, images, categories, orders=4, seed=5), expected, rtol=0, atol=1e-10
    )
    assert expected[1] < expected[2]  # the order counts


def test_constant_score_ap_without_ties_is_map() -> None:
    square = [0.0, 0.0, 8.0, 8.0]
    scene: Scene = [(0, 0, square, 64.0, False), (1, 1, square, 64.0, False)], [(0, 0, square, 0.2)]
    values = coco_eval.constant_score_ap(truth_of(scene[0]), found_of(scene[1]), 2, 2)
    assert values == pytest.approx((official(scene, 2)["mAP"],) * 3)
    with pytest.raises(ValueError, match="the number of orders is 0"):
        coco_eval.constant_score_ap(truth_of([]), found_of([]), 1, 1, orders=0)
