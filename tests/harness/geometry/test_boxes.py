import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Box
from harness.geometry.boxes import area, from_xywh, iou, is_finite, to_xywh

SIDE = st.floats(-1e6, 1e6)
BOX = st.tuples(SIDE, SIDE, SIDE, SIDE)
EDGE = st.integers(0, 12)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1.0),
        ((0, 0, 4, 4), (2, 0, 6, 4), 8 / 24),  # 2 of 4 columns shared; 16 + 16 - 8
        ((0, 0, 4, 4), (4, 0, 8, 4), 0.0),  # they touch: with a +1 to each side this would be 5 / 45
        ((0, 0, 10, 10), (0, 0, 10, 5), 0.5),  # exactly half: counted by >=, and not by >
        ((3, 3, 3, 3), (3, 3, 3, 3), 0.0),  # 0 / 0
        ((4, 4, 0, 0), (0, 0, 4, 4), 0.0),  # inverted
        ((0.25, 0.25, 0.75, 0.75), (0.25, 0.25, 0.75, 0.75), 1.0),  # smaller than a pixel, and not taken for shares
        ((math.nan, 0, 4, 4), (0, 0, 4, 4), 0.0),
        ((0, 0, math.inf, 4), (0, 0, math.inf, 4), 0.0),
    ],
)
def test_iou(one: Box, other: Box, expected: float) -> None:
    assert iou(one, other) == pytest.approx(expected, abs=0)
    assert iou(other, one) == pytest.approx(expected, abs=0)


def test_iou_is_not_giou() -> None:
    # IoU 40 / 80 = 0.5; the hull is 9 x 10 = 90, so GIoU is 0.5 - 10 / 90 = 0.39: wrong at 0.5
    one, other = (0, 0, 6, 10), (2, 0, 8, 10)
    assert iou(one, other) == 40 / 80
    one, other = (0, 0, 6, 10), (3, 1, 9, 11)  # 3 x 9 shared; 60 + 60 - 27
    assert iou(one, other) == 27 / 93


@given(BOX, BOX)
def test_iou_is_symmetric_and_a_share(one: Box, other: Box) -> None:
    assert iou(one, other) == iou(other, one)
    assert 0.0 <= iou(one, other) <= 1.0


@given(st.tuples(EDGE, EDGE, EDGE, EDGE), st.tuples(EDGE, EDGE, EDGE, EDGE))
def test_iou_of_whole_boxes_counts_pixels(one: Box, other: Box) -> None:
    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}

    both, either = len(pixels(one) & pixels(other)), len(pixels(one) | pixels(other))
    assert iou(one, other) == (both / either if either else 0.0)
    assert area(one) == len(pixels(one))


@given(BOX)
def test_a_box_with_room_has_iou_one_with_itself(box: Box) -> None:
    assert iou(box, box) == (1.0 if area(box) > 0 else 0.0)


def test_xywh_has_no_last_pixel() -> None:
    assert from_xywh([10.5, 1.25, 4.0, 4.5]) == (10.5, 1.25, 14.5, 5.75)
    with pytest.raises(ValueError, match="not enough values"):
        from_xywh([1.0, 2.0, 3.0])


def test_xywh_round_trip() -> None:
    draw = random.Random(0)
    for _ in range(100):
        box = (draw.random(), draw.random() * 9, draw.random() * 640, draw.random() * 480)
        assert from_xywh(to_xywh(box)) == pytest.approx(box)


def test_is_finite() -> None:
    assert is_finite((0, 1, 2, 3))
    assert not is_finite((0, 1, 2, math.nan))
    assert not is_finite((0, -math.inf, 2, 3))
