"""LVIS's AP against a plain loop that is written from the rules of the official evaluator, and by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import Answer, Boxes, Federated, Objects, Phrase, Question, Row, Sample, Score, Vocabulary, Xywh
from harness.metrics import federated
from harness.metrics.federated import FIXED, PRECISIONS, RECALLS, Evaluator

NAMES = ("axe", "bus", "cup", "dog")
VOCABULARY = Vocabulary(("r", "c", "f", "f"), {"beagle": "dog"})
ONE = (0.0, 0.0, 10.0, 10.0)
# Numbers are means of at most 10 thresholds x 101 recalls x 4 categories of shares: 4040 x 2.2e-16 x 100 = 9e-11.
ROUNDING = 1e-9
Thing = tuple[int, Xywh, float]  # category, box, area
Find = tuple[int, Xywh, float]  # category, box, score


def row(
    number: int,
    things: Sequence[Thing] = (),
    finds: Sequence[Find] = (),
    absent: Sequence[int] = (),
    incomplete: Sequence[int] = (),
    names: Sequence[str] = NAMES,
    **more: Any,
) -> Row[Any]:
    """An image with its objects and detections."""
    target = Federated(
        tuple(box for _, box, _ in things),
        tuple(category for category, _, _ in things),
        tuple(area for _, _, area in things),
        (False,) * len(things),
        tuple(range(1, len(NAMES) + 1)),
        absent=tuple(absent),
        incomplete=tuple(incomplete),
        vocabulary=VOCABULARY,
        **more,
    )
    value = Boxes(
        tuple((x, y, x + width, y + height) for _, (x, y, width, height), _ in finds),
        tuple(names[category] for category, _, _ in finds),
        tuple(score for _, _, score in finds),
        xywh=tuple(box for _, box, _ in finds),
    )
    question = Question(f"{number}.jpg", None, "detect", "", tuple(map(Phrase, NAMES)))
    return Row(Sample(str(number), question, target, f"{number}.jpg"), Answer(("x",), value), Score({}))


def values_of(rows: Sequence[Row[Any]], weights: Sequence[float] | None = None) -> dict[str, float]:
    metrics = Evaluator().metrics()
    names = [*PRECISIONS, *RECALLS, *(f"fixed {name}" for name in FIXED)]
    given_weights = np.ones(len(rows)) if weights is None else np.array(weights)
    return {name: metrics[name].prepare(rows)(given_weights) for name in names}


# ---------------------------------------------------------------------------- the rules, in a plain loop


def overlap(one: Xywh, other: Xywh) -> float:
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    both = max(width, 0.0) * max(height, 0.0)
    either = one[2] * one[3] + other[2] * other[3] - both
    return both / either if both > 0 else 0.0


def matched(row: Row[Any], category: int, finds: Sequence[Find], low: float, high: float, least: float) -> Any:
    """The scores of the detections that count with whether each is right, and the number of truths that count."""
    target = row.sample.target
    things = [
        (box, not low <= area <= high)
        for box, own, area in zip(target.xywh, target.categories, target.areas, strict=True)
        if own == category
    ]
    if not things and category not in target.absent:
        return [], 0
    things.sort(key=lambda thing: thing[1])  # ignored ones last
    free = [True] * len(things)
    results = []
    for _, box, score in sorted((find for find in finds if find[0] == category), key=lambda find: -find[2]):
        best, match = min(least, 1 - 1e-10), None
        for place, (other, ignored) in enumerate(things):
            if not free[place]:
                continue
            if match is not None and ignored and not things[match][1]:
                break
            if overlap(box, other) >= best:
                best, match = overlap(box, other), place
        if match is not None:
            free[match] = False
            if not things[match][1]:
                results.append((score, True))
        elif low <= box[2] * box[3] <= high and category not in target.incomplete:
            results.append((score, False))
    return results, sum(not ignored for _, ignored in things)


def finds_of(rows: Sequence[Row[Any]], most: int, fixed: bool) -> list[list[Find]]:
    """The detections of each image under the limit for an image, or for a category if `fixed`."""
    every = [
        (image, (NAMES.index(label), box, score))
        for image, one in enumerate(rows)
        for label, box, score in zip(
            one.answer.value.labels, one.answer.value.xywh, one.answer.value.region_scores, strict=True
        )
    ]
    groups: dict[int, list[tuple[int, Find]]] = {}
    for image, find in every:
        groups.setdefault(find[0] if fixed else image, []).append((image, find))
    kept = [one for group in groups.values() for one in sorted(group, key=lambda one: -one[1][2])[:most]]
    return [[find for of, find in kept if of == image] for image in range(len(rows))]


def plainly(rows: Sequence[Row[Any]], most: int, most_fixed: int) -> dict[str, float]:
    """LVIS's numbers in percent by one loop over categories, areas and thresholds."""
    ranges = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
    precision: dict[tuple[bool, int, str, int], float] = {}
    recall: dict[tuple[int, str, int], float] = {}
    for fixed in (False, True):
        finds = finds_of(rows, most_fixed if fixed else most, fixed)
        for category in range(len(NAMES)):
            for size, (low, high) in ranges.items():
                for number in range(10):
                    least = float(np.linspace(0.5, 0.95, 10)[number])
                    parts = [
                        matched(one, category, own, low, high, least) for one, own in zip(rows, finds, strict=True)
                    ]
                    sought = sum(count for _, count in parts)
                    if not sought:
                        continue
                    curve, right = [], 0
                    ranked = sorted((result for results, _ in parts for result in results), key=lambda r: -r[0])
                    for place, (_, correct) in enumerate(ranked, start=1):
                        right += correct
                        curve.append((right / sought, right / place))
                    levels = [max((p for r, p in curve if r >= level), default=0.0) for level in np.linspace(0, 1, 101)]
                    precision[fixed, category, size, number] = float(np.mean(levels))
                    if not fixed:
                        recall[category, size, number] = curve[-1][0] if curve else 0.0

    def ap(fixed: bool, size: str, among: str = "rcf", only: int | None = None) -> float:
        chosen = [
            value
            for (kind, category, area, number), value in precision.items()
            if (kind, area) == (fixed, size) and VOCABULARY.frequencies[category] in among and only in (None, number)
        ]
        return 100 * float(np.mean(chosen)) if chosen else math.nan

    def ar(size: str) -> float:
        chosen = [value for (_, area, _), value in recall.items() if area == size]
        return 100 * float(np.mean(chosen)) if chosen else math.nan

    return {
        "AP": ap(False, ""), "AP50": ap(False, "", only=0), "AP75": ap(False, "", only=5),
        **{f"AP{size}": ap(False, size) for size in "sml"},
        **{f"AP{among}": ap(False, "", among) for among in "rcf"},
        "AR300": ar(""), **{f"AR{size}300": ar(size) for size in "sml"},
        "fixed AP": ap(True, ""), **{f"fixed AP{among}": ap(True, "", among) for among in "rcf"},
    }  # fmt: skip


# Few positions and sizes, so that IoUs are often equal or at a threshold; two scales on either side of each area range.
side = st.sampled_from([8.0, 8.0, 6.0, 4.0, 9.0, 0.0])
scale = st.sampled_from([4.0, 12.0])
boxes = st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.sampled_from([0.0, 1.0]), side, side)
scaled = st.builds(lambda box, by: tuple(by * number for number in box), boxes, scale)
numbers = st.sampled_from([0, 0, 1, 2])  # category 3 has no truths
things = st.tuples(numbers, scaled, st.sampled_from([0.0, 1024.0, 1024.5, 9216.0, 9216.5, 2e10]))
scores = st.integers(1, 100)
groups = st.sets(st.integers(0, 3), max_size=3)
images = st.lists(
    st.tuples(st.lists(things, max_size=6), st.lists(st.tuples(numbers, scaled, scores), max_size=9), groups, groups),
    min_size=1,
    max_size=4,
)


def rows_of(drawn: Sequence[Any]) -> list[Row[Any]]:
    """Rows with all scores different: ties across images would be broken by their order."""
    rows = []
    for number, (objects, found, absent, incomplete) in enumerate(drawn):
        different = [
            (category, box, (score + (place + 16 * number) / 64) / 128)
            for place, (category, box, score) in enumerate(found)
        ]
        rows.append(row(number, objects, different, sorted(absent), sorted(incomplete)))
    return rows


@settings(max_examples=60)
@given(images)
def test_numbers_equal_those_of_a_plain_loop(drawn: Any) -> None:
    limits = federated.MOST, federated.MOST_FIXED
    federated.MOST, federated.MOST_FIXED = 4, 5
    try:
        rows = rows_of(drawn)
        ours, expected = values_of(rows), plainly(rows, 4, 5)
    finally:
        federated.MOST, federated.MOST_FIXED = limits
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=ROUNDING, nan_ok=True), name


@settings(max_examples=30)
@given(images)
def test_image_of_weight_two_counts_as_two_images(drawn: Any) -> None:
    rows = rows_of(drawn)
    copies = [rows[0], *rows]  # the copies of an image have equal scores, next to each other
    weighted = values_of(rows, [2.0] + [1.0] * (len(rows) - 1))
    renamed = [
        Row(Sample(f"copy {n}", one.sample.question, one.sample.target, f"copy {n}"), one.answer, one.score)
        for n, one in enumerate(copies)
    ]
    twice = values_of(renamed)
    for name in [*PRECISIONS, *RECALLS]:
        assert weighted[name] == pytest.approx(twice[name], abs=ROUNDING, nan_ok=True), name


# ---------------------------------------------------------------------------- the rules one by one, by hand

FAR = (50.0, 50.0, 10.0, 10.0)


@pytest.mark.parametrize(("absent", "incomplete", "category", "expected"), [
    ((), (), 0, 50.0),  # the image shows the category: a wrong detection ahead of the right one halves the precision
    ((), (0,), 0, 100.0),  # unless not all of its objects are annotated
    ((), (), 1, 100.0),  # nobody looked for buses in this image
    ((1,), (), 1, 100.0),  # it has none; but no truth of the category anywhere, so it has no AP
])  # fmt: skip
def test_wrong_detection_counts_only_where_the_image_is_annotated(
    absent: tuple[int, ...], incomplete: tuple[int, ...], category: int, expected: float
) -> None:
    rows = [row(1, [(0, ONE, 100)], [(category, FAR, 0.9), (0, ONE, 0.5)], absent, incomplete)]
    assert values_of(rows)["AP"] == pytest.approx(expected)


def test_wrong_detection_in_an_image_that_is_known_not_to_show_the_category() -> None:
    right = row(1, [(1, ONE, 100)], [(1, ONE, 0.5)])
    assert values_of([right, row(2, [], [(1, FAR, 0.9)], absent=[1])])["AP"] == pytest.approx(50)
    assert values_of([right, row(2, [], [(1, FAR, 0.9)])])["AP"] == pytest.approx(100)


def test_detection_matched_in_an_incomplete_category_still_counts_as_right() -> None:
    assert values_of([row(1, [(0, ONE, 100)], [(0, ONE, 0.5)], incomplete=[0])])["AP"] == pytest.approx(100)


def test_means_over_rare_common_and_frequent_categories() -> None:
    """Found: axe (rare) and cup (frequent); not found: bus (common) and dog (frequent)."""
    objects = [(number, ONE, 100.0) for number in range(4)]
    values = values_of([row(1, objects, [(0, ONE, 0.9), (2, ONE, 0.8)])])
    assert [values[f"AP{one}"] for one in ("r", "c", "f", "", "s")] == pytest.approx([100, 0, 50, 50, 50])
    assert math.isnan(values["APl"])


def test_limit_of_300_is_for_an_image_over_all_categories_and_before_the_federated_rule() -> None:
    """300 detections of a category that the image is not annotated for leave no place for the right one."""
    crowd = [(1, FAR, 0.9)] * 300
    values = values_of([row(1, [(0, ONE, 100)], [(0, ONE, 0.5), *crowd])])
    assert values["AP"] == 0
    assert values["fixed AP"] == pytest.approx(100)  # which has no limit for an image
    assert values_of([row(1, [(0, ONE, 100)], [(0, ONE, 0.5), *crowd[1:]])])["AP"] == pytest.approx(100)


def test_more_than_100_detections_of_a_category_count() -> None:
    """COCO's limit would end before the right one, whose precision is 1/150."""
    values = values_of([row(1, [(0, ONE, 100)], [*[(0, FAR, 0.9)] * 149, (0, ONE, 0.5)])])
    assert values["AP"] == pytest.approx(100 / 150)
    assert values["AR300"] == pytest.approx(100)


def test_fixed_ap_takes_the_first_10000_detections_of_a_category_over_all_images() -> None:
    """The right one is the 10,000th, then the 10,001st; each image has 250 others."""
    others = [row(number, [], [(0, FAR, 0.9)] * 250) for number in range(39)]
    last = [(0, FAR, 0.9)] * 249
    values = values_of([*others, row(99, [(0, ONE, 100)], [*last, (0, ONE, 0.5)])])
    assert values["fixed AP"] == pytest.approx(100 / 250)  # the 9,750 others are of images without annotations
    values = values_of([*others, row(99, [(0, ONE, 100)], [*last, (0, FAR, 0.9), (0, ONE, 0.5)])])
    assert values["fixed AP"] == 0


def test_scores_of_images_leave_out_what_is_not_annotated() -> None:
    found = [(0, ONE, 0.9), (1, FAR, 0.8), (2, FAR, 0.7), (0, FAR, 0.6)]
    rows = [
        row(1, [(0, ONE, 100)], found, absent=[2]),  # right; unknown; wrong; wrong
        row(2, [(0, ONE, 100)], found, incomplete=[0]),  # right; unknown; unknown; spared
        row(3, [], [(3, ONE, 0.9)]),  # unknown
        row(4, [(3, ONE, 100)], [(0, ONE, 0.9), (1, ONE, 0.9)], names=("beagle", "unicorn")),
    ]
    scores = Evaluator().scores(rows)
    counted = [[one[key] for key in ("true positives", "predictions", "targets")] for one in scores]
    assert counted == [[1, 3, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]]
    assert [one["F1"] for one in scores] == [2 / 4, 1, 1, 1]
    assert [one["unmapped labels"] for one in scores] == [0, 0, 0, 1]


def test_annotation_id_0_is_remarked() -> None:
    rows = [row(1, [(0, ONE, 100)], [(0, ONE, 0.9)])]
    assert Evaluator().remarks(rows) == []
    [remark] = Evaluator().remarks([row(1, [(0, ONE, 100)], [(0, ONE, 0.9)], zero=0)])
    assert remark.startswith("annotation id 0: lvis counts a detection of that object as wrong")


def test_targets_that_do_not_say_what_is_annotated_are_refused() -> None:
    plain = row(1)
    target = Objects((), (), (), (), ())
    other = Row(Sample("2", plain.sample.question, target, "2.jpg"), plain.answer, plain.score)
    for rows in ([other], [plain, other]):
        with pytest.raises(ValueError, match="sample 2 does not say for which categories it is annotated"):
            Evaluator().evaluation_of(rows)
