"""Against COCOeval run by the published steps, on sets made to hit its edges; copies of images are written out."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.errors import UsageError
from harness.metrics import coco_eval
from harness.metrics.coco_eval import Detections, Truth

IMAGES, CATEGORIES = 4, 3
ROUNDING = 1e-10  # percent, so 1e-12 of a share: sums are taken in another order
Thing = tuple[int, int, list[float], float, bool]  # image, category, box, area, crowd
Find = tuple[int, int, list[float], float]  # image, category, box, score
Scene = tuple[list[Thing], list[Find]]
needs_hotcoco = pytest.mark.skipif(importlib.util.find_spec("hotcoco") is None, reason="hotcoco is not installed")

# Few places and sizes, so that boxes are often equal or of the same IoU, and IoUs at a threshold.  An image has its own
# scale, and sides of 8 then make an area of 32 * 32, 96 * 96 or 1e5 * 1e5, where COCO's ranges meet.
SCALES = (4.0, 12.0, 12500.0, 4.1)
side = st.sampled_from([8.0, 8.0, 6.0, 9.0, 4.0, 0.0])
boxes = st.tuples(st.integers(-1, 2).map(float), st.sampled_from([0.0, 1.0]), side, side)
image, category = st.sampled_from([0, 0, 1, 2, 3]), st.sampled_from([0, 0, 1])  # there is none of category 2
area = st.sampled_from([0.0, 1024.0, 1024.5, 9216.0, 9216.5, 1e10, 2e10])
crowd = st.sampled_from([False, False, False, True])
score = st.sampled_from([-1.0, 0.25, 0.5, 0.75, 1.0])
scenes = st.tuples(
    st.lists(st.tuples(image, category, boxes, area, crowd), max_size=12),
    st.lists(st.tuples(image, category, boxes, score), max_size=16),
).map(lambda scene: scaled(*scene))
weightings = st.lists(st.integers(0, 3), min_size=IMAGES, max_size=IMAGES).filter(any)


def scaled(things: list[Any], finds: list[Any]) -> Scene:
    return (
        [(i, c, [SCALES[i] * value for value in b], a, crowd) for i, c, b, a, crowd in things],
        [(i, c, [SCALES[i] * value for value in b], s) for i, c, b, s in finds],
    )


def crowded(seed: int, score: Callable[[np.random.Generator], float]) -> Scene:
    """Many boxes in each other's way, of a few sizes."""
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
    """COCOeval by the published steps (`loadRes` refuses an empty list, so an empty set stands in for it)."""
    things, finds = scene
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = {
            "images": [{"id": 10 + number} for number in range(images)],
            "categories": [{"id": 7 + number} for number in range(CATEGORIES)],
            "annotations": [
                {"id": 100 + n, "image_id": 10 + i, "category_id": 7 + c, "bbox": b, "area": a, "iscrowd": int(crowd)}
                for n, (i, c, b, a, crowd) in enumerate(things)
            ],
        }
        there.createIndex()
        found = COCO()
        if finds:
            found = there.loadRes(
                [{"image_id": 10 + i, "category_id": 7 + c, "bbox": b, "score": s} for i, c, b, s in finds]
            )
        run = COCOeval(there, found, "bbox")
        change(run.params)
        run.evaluate()
        run.accumulate()
    return run


def official(scene: Scene, images: int = IMAGES) -> dict[str, float]:
    run = evaluated_by_coco(scene, images)
    with contextlib.redirect_stdout(io.StringIO()):
        run.summarize()
    stats = [np.nan if value == -1 else 100 * value for value in run.stats]
    return dict(zip(coco_eval.NAMES, stats, strict=True))


def resummed(scene: Scene, weights: Sequence[float]) -> dict[str, float]:
    table = coco_eval.match(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES)
    each = np.array(weights, np.float64)
    return {
        name: (table.average_precision if name in coco_eval.NAMES[:6] else table.average_recall)(each, name)
        for name in coco_eval.NAMES
    }


def copied(scene: Scene, weights: Sequence[int]) -> tuple[Scene, int]:
    """The set with every image written out as often as its weight says, its copies one after the other."""
    first = [sum(weights[:image]) for image in range(len(weights))]
    things = [(first[i] + copy, c, b, a, crowd) for i, c, b, a, crowd in scene[0] for copy in range(weights[i])]
    finds = [(first[i] + copy, c, b, s) for i, c, b, s in scene[1] for copy in range(weights[i])]
    return (things, finds), sum(weights)


def same(one: dict[str, float], other: dict[str, float]) -> None:
    assert list(one) == list(other)
    np.testing.assert_allclose(list(one.values()), list(other.values()), rtol=0, atol=ROUNDING)


# --- the official numbers ---


@settings(max_examples=60, deadline=None)
@given(scene=scenes)
def test_evaluate_is_coco_eval(scene: Scene) -> None:
    ours = coco_eval.evaluate(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES)
    same(ours, official(scene))


@needs_hotcoco
@settings(max_examples=60, deadline=None)
@given(scene=scenes)
def test_hotcoco_gives_the_same(scene: Scene) -> None:
    there, found = truth_of(scene[0]), found_of(scene[1])
    same(coco_eval.evaluate(there, found, IMAGES, CATEGORIES, engine="hotcoco"), official(scene))


@settings(max_examples=30, deadline=None)
@given(scene=scenes)
def test_categories_apart(scene: Scene) -> None:
    """Of a category alone, COCOeval's mAP is the AP of that category."""
    there, found = truth_of(scene[0]), found_of(scene[1])
    alone = [
        official(
            ([thing for thing in scene[0] if thing[1] == number], [find for find in scene[1] if find[1] == number])
        )
        for number in range(CATEGORIES)
    ]
    expected = [numbers["mAP"] for numbers in alone]
    table = coco_eval.match(there, found, IMAGES, CATEGORIES)
    np.testing.assert_allclose(table.by_category(np.ones(IMAGES)), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("engine", ["pycocotools", pytest.param("hotcoco", marks=needs_hotcoco)])
def test_nothing_found_and_nothing_there(engine: coco_eval.Engine, capfd: pytest.CaptureFixture[str]) -> None:
    truth = truth_of([(0, 0, [0.0, 0.0, 8.0, 8.0], 64.0, False)])
    nothing = found_of([])
    numbers = coco_eval.evaluate(truth, nothing, IMAGES, CATEGORIES, engine=engine)
    assert [numbers[name] for name in ("mAP", "APs", "AR100")] == [0.0, 0.0, 0.0]
    assert np.isnan([numbers["APm"], numbers["APl"], numbers["ARl"]]).all()
    assert np.isnan(list(coco_eval.evaluate(truth_of([]), nothing, 0, 0, engine=engine).values())).all()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("engine", ["pycocotools", pytest.param("hotcoco", marks=needs_hotcoco)])
def test_the_first_truth_counts(engine: coco_eval.Engine) -> None:
    """COCOeval takes a match with annotation 0 for none."""
    square = [0.0, 0.0, 8.0, 8.0]
    there, found = truth_of([(0, 0, square, 64.0, False)]), found_of([(0, 0, square, 1.0)])
    numbers = coco_eval.evaluate(there, found, 1, 1, engine=engine)
    assert numbers["mAP"] == pytest.approx(100)


def test_hotcoco_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    with pytest.raises(UsageError, match="hotcoco is not installed"):
        coco_eval.evaluate(truth_of([]), found_of([]), 1, 1, engine="hotcoco")


# --- the table ---


@settings(max_examples=100, deadline=None)
@given(scene=scenes)
def test_table_with_all_weights_one(scene: Scene) -> None:
    same(resummed(scene, [1.0] * IMAGES), official(scene))


@settings(max_examples=100, deadline=None)
@given(scene=scenes, weights=weightings)
def test_weights_are_copies(scene: Scene, weights: list[int]) -> None:
    same(resummed(scene, weights), official(*copied(scene, weights)))


@pytest.mark.parametrize("ties", ["none", "some", "all"])
def test_many_boxes_in_each_others_way(ties: str) -> None:
    scores = {"none": lambda draw: draw.random(), "some": lambda draw: float(draw.integers(6)), "all": lambda draw: 1.0}
    for seed in range(3):
        scene = crowded(seed, scores[ties])
        same(resummed(scene, [1.0] * IMAGES), official(scene))
        same(resummed(scene, [2, 1, 0, 3]), official(*copied(scene, [2, 1, 0, 3])))


def test_more_than_a_hundred_of_a_category_in_an_image() -> None:
    draw = np.random.default_rng(0)
    things: list[Thing] = []
    finds: list[Find] = []
    for number in range(150):
        place = [20.0 * (number % 15), 20.0 * (number // 15), 16.0, 16.0]
        things.append((number % 2, 0, place, 256.0, False))
        moved = [place[0] + float(draw.integers(0, 8)), *place[1:]]
        finds.extend((number % 2, 0, moved, float(draw.integers(5))) for _ in range(2))
    same(resummed((things, finds), [1.0] * IMAGES), official((things, finds)))
    same(resummed((things, finds), [2, 1, 0, 3]), official(*copied((things, finds), [2, 1, 0, 3])))


@pytest.mark.parametrize(("right", "there"), [(7, 25), (19, 20), (7, 100), (35, 100), (100, 100)])
def test_recalls_as_doubles_reach_them(right: int, there: int) -> None:
    """Where the product of recall and number rounds to another side than the quotient that COCOeval compares."""
    things: list[Thing] = [(0, 0, [20.0 * n, 0.0, 8.0, 8.0], 64.0, False) for n in range(there)]
    scene = things, [(0, 0, thing[2], 1.0) for thing in things[:right]]
    same(resummed(scene, [1.0] * IMAGES), official(scene))


def test_the_order_given_matters_only_among_equals() -> None:
    draw = np.random.default_rng(1)
    things = [(n % 4, n % 3, [*draw.integers(0, 20, 2).tolist(), 9.0, 9.0], 81.0, False) for n in range(30)]
    finds = [(n % 4, n % 3, [*draw.integers(0, 20, 2).tolist(), 9.0, 9.0], n / 64) for n in range(60)]
    expected = resummed((things, finds), [1.0] * IMAGES)
    shuffled = things, [finds[place] for place in draw.permutation(60)]
    same(resummed(shuffled, [1.0] * IMAGES), expected)
    same(official(shuffled), expected)


def slow_average_precision(scene: Scene, weights: Sequence[float]) -> float:
    """AP50 of category 0 by a plain loop: every detection must be of it and right with the truth of its own image."""
    total = sum(weights[thing[0]] for thing in scene[0])
    copies: list[tuple[float, int, int, int, float, bool]] = []
    for place, (image, _, found, score) in enumerate(scene[1]):
        left, copy = weights[image], 0
        while left > 0:
            copies.append((-score, image, copy, place, min(left, 1.0), found == [0.0, 0.0, 8.0, 8.0]))
            left, copy = left - 1, copy + 1
    right = all_of_them = 0.0
    curve = []
    for *_, weight, hit in sorted(copies):
        right, all_of_them = right + weight * hit, all_of_them + weight
        curve.append((right / total, right / all_of_them))
    at = [max((p for r, p in curve if r >= n / 100 - 1e-9), default=0.0) for n in range(101)]
    return 100 * sum(at) / len(at)


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.0, 0.3, 1.0, 1.7, 2.5]), min_size=IMAGES, max_size=IMAGES).filter(any),
    finds=st.lists(st.tuples(image, st.booleans(), score), max_size=12),
)
def test_weights_that_are_not_whole(weights: list[float], finds: list[tuple[int, bool, float]]) -> None:
    """Each image has one truth; a wrong box lies apart, and only the first right one of an image is given."""
    right, wrong = [0.0, 0.0, 8.0, 8.0], [50.0, 0.0, 8.0, 8.0]
    hit = {(i, True): place for place, (i, h, _) in reversed(list(enumerate(finds)))}
    kept = [(i, 0, right if h else wrong, s) for place, (i, h, s) in enumerate(finds) if not h or hit[i, True] == place]
    scene: Scene = [(i, 0, right, 64.0, False) for i in range(IMAGES)], kept
    assert resummed(scene, weights)["AP50"] == pytest.approx(slow_average_precision(scene, weights), abs=1e-9)


def test_no_weight_no_number() -> None:
    assert np.isnan(list(resummed(([(0, 0, [0.0, 0.0, 8.0, 8.0], 64.0, False)], []), [0, 1, 1, 1]).values())).all()


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0, -1.0], [1.0, 1.0, 1.0, np.nan]])
def test_weights_that_cannot_be(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights are 4 numbers"):
        resummed(([], []), weights)


sevenths = st.integers(0, 400).map(lambda number: number / 7)
anywhere = st.lists(st.tuples(sevenths, sevenths, sevenths, sevenths).map(list), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(things=anywhere, finds=anywhere, crowd=st.booleans())
def test_iou_is_pycocotools_to_the_last_bit(things: list[Any], finds: list[Any], crowd: bool) -> None:
    truth = truth_of([(0, 0, thing, 1.0, crowd) for thing in things])
    found = found_of([(0, 0, find, 1.0) for find in finds])
    zeros = np.zeros(len(finds), np.int64), np.zeros(len(things), np.int64)
    ours = np.zeros((len(finds), len(things)))
    mine, its, iou = coco_eval._pairs(truth, found, *zeros)
    ours[mine, its] = iou
    np.testing.assert_array_equal(ours, mask.iou(found.boxes, truth.boxes, [int(crowd)] * len(things)))


# --- counts, and no scores ---


@settings(max_examples=60, deadline=None)
@given(scene=scenes, iou=st.sampled_from([0.1, 0.5, 0.75, 1.0]))
def test_counts(scene: Scene, iou: float) -> None:
    def change(params: Any) -> None:
        params.iouThrs, params.areaRng, params.areaRngLbl = [iou], [[0, 1e12]], ["all"]

    expected = np.zeros((IMAGES, 3), np.int64)
    for group in filter(None, evaluated_by_coco(scene, IMAGES, change).evalImgs):
        counts = ~group["dtIgnore"][0]
        right = counts & (group["dtMatches"][0] > 0)
        expected[group["image_id"] - 10] += right.sum(), counts.sum(), (np.asarray(group["gtIgnore"]) == 0).sum()
    counted = coco_eval.precision_recall_f1(truth_of(scene[0]), found_of(scene[1]), IMAGES, CATEGORIES, iou)
    np.testing.assert_array_equal(counted, expected)


def test_counts_do_not_stop_at_a_hundred() -> None:
    square = [0.0, 0.0, 8.0, 8.0]
    truth, found = truth_of([(0, 0, square, 64.0, False)]), found_of([(0, 0, square, 1.0)] * 130)
    assert coco_eval.precision_recall_f1(truth, found, 1, 1).tolist() == [[1, 130, 1]]
    with pytest.raises(ValueError, match=r"an IoU of 0\.0"):
        coco_eval.precision_recall_f1(truth, found, 1, 1, iou=0.0)


def test_a_threshold_of_one_forgives_rounding() -> None:
    """0.7 + 0.2 - 0.7 is less than 0.2, so this box has an IoU of 1 - 6e-16 with itself."""
    box = [0.7, 0.0, 0.2, 8.0]
    assert mask.iou([box], [box], [0])[0, 0] < 1
    truth, found = truth_of([(0, 0, box, 1.6, False)]), found_of([(0, 0, box, 1.0)])
    assert coco_eval.precision_recall_f1(truth, found, 1, 1, iou=1.0).tolist() == [[1, 1, 1]]


def test_constant_scores_over_all_orders() -> None:
    """Three detections in two images have 12 orders; every one is drawn among 300, but for a chance of 1e-10."""
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


def test_constant_scores_without_ties_to_break() -> None:
    square = [0.0, 0.0, 8.0, 8.0]
    scene: Scene = [(0, 0, square, 64.0, False), (1, 1, square, 64.0, False)], [(0, 0, square, 0.2)]
    values = coco_eval.constant_score_ap(truth_of(scene[0]), found_of(scene[1]), 2, 2)
    assert values == pytest.approx((official(scene, 2)["mAP"],) * 3)
    with pytest.raises(ValueError, match="0 orders"):
        coco_eval.constant_score_ap(truth_of([]), found_of([]), 1, 1, orders=0)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("thing", "complaint"),
    [
        ((0, 0, [0.0, np.nan, 1.0, 1.0], 1.0, False), r"truth 1: \[0.0, nan, 1.0, 1.0\] has a number"),
        ((0, 0, [0.0, 0.0, -1.0, 1.0], 1.0, False), "truth 1: .* negative width"),
        ((0, 0, [0.0, 0.0, 1.0, 1.0], -1.0, False), "truth 1: -1.0 is a negative area"),
        ((0, 0, [0.0, 0.0, 1.0, 1.0], np.inf, False), "truth 1: inf is not finite"),
        ((-1, 0, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: -1 is no image"),
        ((0, -1, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: -1 is no category"),
        ((4, 0, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: 4 is none of the 4 images"),
        ((0, 3, [0.0, 0.0, 1.0, 1.0], 1.0, False), "truth 1: 3 is none of the 3 categories"),
    ],
)
def test_truths_that_cannot_be(thing: Thing, complaint: str) -> None:
    good: Thing = (0, 0, [0.0, 0.0, 1.0, 1.0], 1.0, False)
    with pytest.raises(ValueError, match=complaint):
        coco_eval.match(truth_of([good, thing]), found_of([]), IMAGES, CATEGORIES)


@pytest.mark.parametrize(
    ("find", "complaint"),
    [
        ((0, 0, [0.0, 0.0, 1.0, -1.0], 1.0), "detection 0: .* negative width"),
        ((0, 0, [0.0, 0.0, 1.0, 1.0], np.nan), "detection 0: nan is not finite"),
        ((0, 3, [0.0, 0.0, 1.0, 1.0], 1.0), "detection 0: 3 is none of the 3 categories"),
    ],
)
def test_detections_that_cannot_be(find: Find, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        coco_eval.evaluate(truth_of([]), found_of([find]), IMAGES, CATEGORIES)


def test_arrays_that_do_not_fit() -> None:
    one, box, number = np.zeros(1, np.int64), np.zeros((1, 4)), np.zeros(1)
    with pytest.raises(ValueError, match="unequal lengths"):
        Detections(one, one, box, np.zeros(2))
    with pytest.raises(ValueError, match="float64, not float32"):
        Detections(one, one, box.astype(np.float32), number)
    with pytest.raises(ValueError, match="crowd"):
        Truth(one, one, box, number, np.zeros(2, np.bool_))
