"""Areas of quadrilaterals against a slow integration by strips, in fractions, and by hand."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Quad
from harness.geometry.quads import above_half, area, covered, intersection, iou

SQUARE: Quad = ((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0))
BOW: Quad = ((0.0, 0.0), (4.0, 4.0), (4.0, 0.0), (0.0, 4.0))  # two triangles of area 4 that meet in (2, 2)
DART: Quad = ((0.0, 0.0), (4.0, 0.0), (1.0, 1.0), (0.0, 4.0))  # concave: two triangles of area 2
POINT: Quad = ((1.0, 1.0),) * 4

NUMBERS = st.integers(0, 9).map(float)
QUADS = st.tuples(*[st.tuples(NUMBERS, NUMBERS)] * 4)
Edge = tuple[tuple[Fraction, Fraction], tuple[Fraction, Fraction]]


def edges(quad: Quad) -> list[Edge]:
    points = [(Fraction(x), Fraction(y)) for x, y in quad]
    return list(zip(points, [*points[1:], points[0]], strict=True))


def crossings(quad: Quad, y: Fraction) -> list[Fraction]:
    """Where a horizontal line that meets no corner crosses the edges, from left to right."""
    return sorted(
        x1 + (y - y1) / (y2 - y1) * (x2 - x1) for (x1, y1), (x2, y2) in edges(quad) if min(y1, y2) < y < max(y1, y2)
    )


def height_of_crossing(one: Edge, other: Edge) -> Fraction | None:
    """The y of the point in which the lines through two edges meet; None for parallel ones."""
    ((x1, y1), (x2, y2)), ((x3, y3), (x4, y4)) = one, other
    turn = (x2 - x1) * (y4 - y3) - (y2 - y1) * (x4 - x3)
    return y1 + ((x3 - x1) * (y4 - y3) - (y3 - y1) * (x4 - x3)) / turn * (y2 - y1) if turn else None


def slow_intersection(one: Quad, other: Quad) -> Fraction:
    """The area filled by both, by the even-odd rule.

    Between two heights at which no edges begin, end or cross, the common length is linear, so its middle is its mean.
    """
    every = [*edges(one), *edges(other)]
    heights = {point[1] for edge in every for point in edge}
    heights |= {y for pair in combinations(every, 2) if (y := height_of_crossing(*pair)) is not None}
    ordered, total = sorted(heights), Fraction(0)
    for low, high in pairwise(ordered):
        first, second = crossings(one, (low + high) / 2), crossings(other, (low + high) / 2)
        for left, right in zip(first[::2], first[1::2], strict=True):
            for other_left, other_right in zip(second[::2], second[1::2], strict=True):
                total += max(Fraction(0), min(right, other_right) - max(left, other_left)) * (high - low)
    return total


def test_areas_by_hand() -> None:
    assert (area(SQUARE), area(DART), area(POINT)) == (16, 4, 0)
    assert area(BOW) == 0  # the two triangles have opposite signs
    assert intersection(SQUARE, BOW) == 8  # but both are filled
    assert intersection(SQUARE, DART) == 4
    assert intersection(BOW, DART) == pytest.approx(float(slow_intersection(BOW, DART)))


@given(one=QUADS, other=QUADS)
def test_intersection_equals_the_slow_integral(one: Quad, other: Quad) -> None:
    """Any four points: convex, concave, crossing, and with points or edges that coincide."""
    assert intersection(one, other, Fraction) == slow_intersection(one, other)
    assert intersection(one, other) == pytest.approx(float(slow_intersection(one, other)), abs=1e-9)


def test_direction_of_the_points_does_not_matter() -> None:
    assert intersection(SQUARE[::-1], DART) == intersection(SQUARE, DART[::-1]) == 4


def test_shares_of_quadrilaterals_without_an_area_are_zero() -> None:
    assert (iou(POINT, POINT), covered(POINT, SQUARE), covered(SQUARE, POINT)) == (0, 0, 0)
    assert not above_half(iou, POINT, POINT)


def moved(quad: Quad, x: float, y: float) -> Quad:
    return tuple((left + x, top + y) for left, top in quad)  # type: ignore[return-value]


@pytest.mark.parametrize("place", [0.0, 0.1, 1e4 + 1 / 3])
@pytest.mark.parametrize("width", [3.0, 7.0, 49.0])
def test_share_of_exactly_one_half_is_not_above_it(place: float, width: float) -> None:
    """A rectangle and its left half, somewhere: the IoU is 1/2.  In floats it may be rounded up."""
    whole: Quad = ((0.0, 0.0), (2 * width, 0.0), (2 * width, 3.0), (0.0, 3.0))
    half: Quad = ((0.0, 0.0), (width, 0.0), (width, 3.0), (0.0, 3.0))
    whole, half = moved(whole, round(place), 0.0), moved(half, round(place), 0.0)
    assert iou(whole, half, Fraction) == Fraction(1, 2)
    assert not above_half(iou, whole, half) and not above_half(covered, whole, half)
    wider: Quad = (half[0], (half[1][0] + 1, 0.0), (half[2][0] + 1, 3.0), half[3])
    assert above_half(iou, whole, wider) and above_half(covered, whole, wider)


def test_far_quadrilaterals_share_nothing() -> None:
    assert not above_half(iou, SQUARE, moved(SQUARE, 5.0, 0.0))
    assert above_half(iou, SQUARE, moved(SQUARE, 1.0, 0.0))  # 12 of 20
    assert not above_half(iou, SQUARE, moved(SQUARE, 1.0, 1.0))  # 9 of 23
