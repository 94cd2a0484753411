"""AP and AR under weights of the images, against COCOeval on sets that contain the copies, and against a plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics import coco_eval
from harness.metrics.average_precision import PRECISIONS, Detections, Truth
from tests.harness.metrics.coco_scenes import (
    CATEGORIES,
    IMAGES,
    ROUNDING,
    Find,
    Scene,
    Thing,
    crowded,
    found_of,
    image_numbers,
    official,
    same,
    scenes,
    score_values,
    truth_of,
)

weightings = st.lists(st.integers(0, 3), min_size=IMAGES, max_size=IMAGES).filter(any)


def weighted(scene: Scene, weights: Sequence[float]) -> dict[str, float]:
    """The twelve numbers from one table of matches, under these weights of the images."""
    table = coco_eval.match(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES)
    each = np.array(weights, np.float64)
    return {
        name: (table.average_precision if name in PRECISIONS else table.average_recall)(each, name)
        for name in coco_eval.NAMES
    }


def copied(scene: Scene, weights: Sequence[int]) -> tuple[Scene, int]:
    """The set with each image as often as its weight says, copies next to each other; and its number of images."""
    first = [sum(weights[:image]) for image in range(len(weights))]
    things = [(first[i] + copy, c, b, a, crowd) for i, c, b, a, crowd in scene[0] for copy in range(weights[i])]
    finds = [(first[i] + copy, c, b, s) for i, c, b, s in scene[1] for copy in range(weights[i])]
    return (things, finds), sum(weights)


# --- weights of 1 ---


@settings(max_examples=100, deadline=None)
@given(scene=scenes)
def test_weights_of_one_give_cocoeval_numbers(scene: Scene) -> None:
    same(weighted(scene, [1.0] * IMAGES), official(scene))


@settings(max_examples=30, deadline=None)
@given(scene=scenes)
def test_by_category_is_cocoeval_map_of_the_category_alone(scene: Scene) -> None:
    alone = [
        official(
            ([thing for thing in scene[0] if thing[1] == number], [find for find in scene[1] if find[1] == number])
        )
        for number in range(CATEGORIES)
    ]
    expected = [numbers["mAP"] for numbers in alone]
    table = coco_eval.match(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES)
    np.testing.assert_allclose(table.by_category(np.ones(IMAGES)), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize(("right", "total"), [(7, 25), (19, 20), (7, 100), (35, 100), (100, 100)])
def test_recall_near_a_level_is_compared_as_a_double(right: int, total: int) -> None:
    """Recalls for which recall x total rounds to the other side than the quotient that COCOeval compares."""
    things: list[Thing] = [(0, 0, [20.0 * n, 0.0, 8.0, 8.0], 64.0, False) for n in range(total)]
    scene = things, [(0, 0, thing[2], 1.0) for thing in things[:right]]
    same(weighted(scene, [1.0] * IMAGES), official(scene))


def test_order_of_detections_matters_only_among_equal_scores() -> None:
    draw = np.random.default_rng(1)
    things = [(n % 4, n % 3, [*draw.integers(0, 20, 2).tolist(), 9.0, 9.0], 81.0, False) for n in range(30)]
    finds = [(n % 4, n % 3, [*draw.integers(0, 20, 2).tolist(), 9.0, 9.0], n / 64) for n in range(60)]
    expected = weighted((things, finds), [1.0] * IMAGES)
    shuffled = things, [finds[place] for place in draw.permutation(60)]
    same(weighted(shuffled, [1.0] * IMAGES), expected)
    same(official(shuffled), expected)


# --- other weights ---


@settings(max_examples=100, deadline=None)
@given(scene=scenes, weights=weightings)
def test_integer_weights_are_copies_of_images(scene: Scene, weights: list[int]) -> None:
    same(weighted(scene, weights), official(*copied(scene, weights)))


@pytest.mark.parametrize("ties", ["none", "some", "all"])
def test_many_overlapping_boxes_give_cocoeval_numbers(ties: str) -> None:
    scores = {"none": lambda draw: draw.random(), "some": lambda draw: float(draw.integers(6)), "all": lambda draw: 1.0}
    for seed in range(3):
        scene = crowded(seed, scores[ties])
        same(weighted(scene, [1.0] * IMAGES), official(scene))
        same(weighted(scene, [2, 1, 0, 3]), official(*copied(scene, [2, 1, 0, 3])))


def test_more_than_a_hundred_detections_of_a_category_in_an_image_are_cut() -> None:
    draw = np.random.default_rng(0)
    things: list[Thing] = []
    finds: list[Find] = []
    for number in range(150):
        place = [20.0 * (number % 15), 20.0 * (number // 15), 16.0, 16.0]
        things.append((number % 2, 0, place, 256.0, False))
        moved = [place[0] + float(draw.integers(0, 8)), *place[1:]]
        finds.extend((number % 2, 0, moved, float(draw.integers(5))) for _ in range(2))
    same(weighted((things, finds), [1.0] * IMAGES), official((things, finds)))
    same(weighted((things, finds), [2, 1, 0, 3]), official(*copied((things, finds), [2, 1, 0, 3])))


def slow_average_precision(scene: Scene, weights: Sequence[float]) -> float:
    """AP50 of category 0 by a plain loop, where a box equal to [0, 0, 8, 8] is right and any other is wrong."""
    total = sum(weights[thing[0]] for thing in scene[0])
    copies: list[tuple[float, int, int, int, float, bool]] = []
    for place, (image, _, box, score) in enumerate(scene[1]):
        left, copy = weights[image], 0
        while left > 0:
            copies.append((-score, image, copy, place, min(left, 1.0), box == [0.0, 0.0, 8.0, 8.0]))
            left, copy = left - 1, copy + 1
    right = counted = 0.0
    curve = []
    for *_, weight, hit in sorted(copies):
        right, counted = right + weight * hit, counted + weight
        curve.append((right / total, right / counted))
    at = [max((p for r, p in curve if r >= n / 100 - 1e-9), default=0.0) for n in range(101)]
    return 100 * sum(at) / len(at)


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.3, 1.0, 1.7, 2.5]), min_size=IMAGES, max_size=IMAGES).filter(any),
    finds=st.lists(st.tuples(image_numbers, st.booleans(), score_values), max_size=12),
)
def test_fractional_weights_are_parts_of_copies(weights: list[float], finds: list[tuple[int, bool, float]]) -> None:
    """Each image has one truth and at most one right box; wrong boxes do not overlap it."""
    right, wrong = [0.0, 0.0, 8.0, 8.0], [50.0, 0.0, 8.0, 8.0]
    hit = {(i, True): place for place, (i, h, _) in reversed(list(enumerate(finds)))}
    kept = [(i, 0, right if h else wrong, s) for place, (i, h, s) in enumerate(finds) if not h or hit[i, True] == place]
    scene: Scene = [(i, 0, right, 64.0, False) for i in range(IMAGES)], kept
    assert weighted(scene, weights)["AP50"] == pytest.approx(slow_average_precision(scene, weights), abs=1e-9)


def test_truths_without_weight_give_nan() -> None:
    scene: Scene = [(0, 0, [0.0, 0.0, 8.0, 8.0], 64.0, False)], []
    assert np.isnan(list(weighted(scene, [0, 1, 1, 1]).values())).all()


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, np.nan]])
def test_invalid_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be 4 finite numbers"):
        weighted(([], []), weights)


# --- invalid records ---


@pytest.mark.parametrize(
    ("thing", "complaint"),
    [
        ((0, 0, [0.0, np.nan, 1.0, 1.0], 1.0, False), r"truth 1: \[0.0, nan, 1.0, 1.0\] has a number"),
        ((0, 0, [0.0, 0.0, -1.0, 1.0], 1.0, False), "truth 1: .* negative width"),
        ((0, 0, [0.0, 0.0, 1.0, 1.0], -1.0, False), "truth 1: -1.0 is a negative area"),
        ((0, 0, [0.0, 0.0, 1.0, 1.0], np.inf, False), "truth 1: inf is not finite"),
        ((-1, 0, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: -1 is not an image number"),
        ((0, -1, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: -1 is not a category number"),
        ((4, 0, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: 4 is not one of the 4 images"),
        ((0, 3, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: 3 is not one of the 3 categories"),
    ],
)
def test_invalid_truth_is_named(thing: Thing, complaint: str) -> None:
    good: Thing = (0, 0, [0.0, 0.0, 1.0, 1.0], 1.0, False)
    with pytest.raises(ValueError, match=complaint):
        coco_eval.match(truth_of([good, thing]), found_of([]), IMAGES, CATEGORIES)


@pytest.mark.parametrize(
    ("find", "complaint"),
    [
        ((0, 0, [0.0, 0.0, 1.0, -1.0], 1.0), "detection 0: .* negative width"),
        ((0, 0, [0.0, 0.0, 1.0, 1.0], np.nan), "detection 0: nan is not finite"),
        ((0, 3, [0.0, 0.0, 1.0, 1.0], 1.0), "detection 0: 3 is not one of the 3 categories"),
    ],
)
def test_invalid_detection_is_named(find: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        coco_eval.evaluate(truth_of([]), found_of([find]), IMAGES, CATEGORIES)


def test_arrays_of_other_shapes_or_types_are_refused() -> None:
    one, box, number = np.zeros(1, np.int64), np.zeros((1, 4)), np.zeros(1)
    with pytest.raises(ValueError, match="different lengths"):
        Detections(one, one, box, np.zeros(2))
    with pytest.raises(ValueError, match="float64, not float32"):
        Detections(one, one, box.astype(np.float32), number)
    with pytest.raises(ValueError, match="crowd"):
        Truth(one, one, box, number, np.zeros(2, np.bool_))
