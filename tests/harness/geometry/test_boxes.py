"""Boxes against arithmetic in comments and against counts of pixels."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Box
from harness.geometry.boxes import FARTHEST, area, from_xywh, iou, is_finite, is_plausible, to_xywh

SIDE = st.floats(-1e6, 1e6)
BOX = st.tuples(SIDE, SIDE, SIDE, SIDE)
EDGE = st.integers(0, 12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1.0),
        ((0, 0, 4, 4), (2, 0, 6, 4), 8 / 24),  # 2 of 4 columns shared; 16 + 16 - 8
        ((0, 0, 4, 4), (4, 0, 8, 4), 0.0),  # the boxes touch; sides of `width + 1` would give 5 / 45
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),  # exactly half, so `>= 0.5` and `> 0.5` differ
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),  # 0 / 0
        ((4, 4, 0, 0), (0, 0, 4, 4), 0.0),  # inverted
        ((0.25, 0.25, 0.75, 0.75), (0.25, 0.25, 0.75, 0.75), 1.0),  # smaller than a pixel, not relative coordinates
        ((math.nan, 0, 4, 4), (0, 0, 4, 4), 0.0),
        ((0, 0, math.inf, 4), (0, 0, math.inf, 4), 0.0),
    ],
)
def test_iou_of_two_boxes_equals_arithmetic_in_either_order(one: Box, other: Box, expected: float) -> None:
    assert iou(one, other) == pytest.approx(expected, abs=0)
    assert iou(other, one) == pytest.approx(expected, abs=0)


def test_iou_of_offset_boxes_differs_from_giou() -> None:
    # GIoU of the second pair is 27 / 93 - 6 / 99: of the 99 cells of the hull, 6 are in neither box.
    one, other = (0, 0, 6, 10), (2, 0, 8, 10)
    assert iou(one, other) == 40 / 80
    one, other = (0, 0, 6, 10), (3, 1, 9, 11)  # 3 x 9 shared; 60 + 60 - 27
    assert iou(one, other) == 27 / 93


@given(BOX, BOX)
def test_iou_of_random_boxes_is_symmetric_and_from_0_to_1(one: Box, other: Box) -> None:
    assert iou(one, other) == iou(other, one)
    assert 0.0 <= iou(one, other) <= 1.0


@given(st.tuples(EDGE, EDGE, EDGE, EDGE), st.tuples(EDGE, EDGE, EDGE, EDGE))
def test_iou_and_area_of_integer_boxes_count_pixels(one: Box, other: Box) -> None:
    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}

    both, either = len(pixels(one) & pixels(other)), len(pixels(one) | pixels(other))
    assert iou(one, other) == (both / either if either else 0.0)
    assert area(one) == len(pixels(one))


@given(BOX)
def test_iou_with_itself_is_1_unless_box_is_empty(box: Box) -> None:
    assert iou(box, box) == (1.0 if area(box) > 0 else 0.0)


def test_from_xywh_adds_width_and_height_without_rounding() -> None:
    assert from_xywh([10.5, 1.25, 4.0, 4.5]) == (10.5, 1.25, 14.5, 5.75)
    with pytest.raises(ValueError, match="not enough values"):
        from_xywh([1.0, 2.0, 3.0])


def test_to_xywh_and_from_xywh_are_inverse() -> None:
    draw = random.Random(0)
    for _ in range(100):
        box = (draw.random(), draw.random() * 9, draw.random() * 640, draw.random() * 480)
        assert from_xywh(to_xywh(box)) == pytest.approx(box)


def test_is_finite_is_false_for_nan_and_infinity() -> None:
    assert is_finite((0, 1, 2, 3))
    assert not is_finite((0, 1, 2, math.nan))
    assert not is_finite((0, -math.inf, 2, 3))


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 4, 4), True),
        ((-FARTHEST, 0, FARTHEST, 4), True),  # exactly at the limit
        ((3, 3, 3, 3), True),  # an empty box has no negative side
        ((4, 0, 3, 4), False),
        ((0, 4, 4, 3), False),
        ((0, 0, 1.01 * FARTHEST, 4), False),
        ((0, 0, math.nan, 4), False),
        ((0, 0, math.inf, 4), False),
    ],
)
def test_is_plausible_refuses_negative_sides_and_far_coordinates(box: Box, expected: bool) -> None:
    assert is_plausible(box) is expected
