"""Areas of quadrilaterals and of their intersections, also of concave ones and of those that cross themselves.

A quadrilateral is filled by the even-odd rule, as by the General Polygon Clipper of ICDAR's evaluator: it is the
symmetric difference of two triangles that share a diagonal.  So intersections are sums over intersections of triangles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from harness.core import Quad

Polygon = list[tuple[Any, Any]]  # convex, its signed area is positive; coordinates are floats or fractions
CLOSE = 1e-6  # a share this near to one half is computed exactly


def iou(one: Quad, other: Quad, number: Callable[[float], Any] = float) -> Any:
    """The intersection over the union, as a `number`; 0 where the union is empty.

    The union is the sum of the two areas less the intersection, and the area is that of `area`, as in ICDAR's
    evaluator.
    """
    both = intersection(one, other, number)
    either = area(one, number) + area(other, number) - both
    return both / either if either else number(0)


def covered(one: Quad, by: Quad, number: Callable[[float], Any] = float) -> Any:
    """The share of a quadrilateral that another one covers; 0 where it has no area."""
    whole = area(one, number)
    return intersection(one, by, number) / whole if whole else number(0)


def above_half(share: Callable[..., Any], one: Quad, other: Quad) -> bool:
    """Whether a share (`iou` or `covered`) is above 1/2; near 1/2 it is computed in fractions, without rounding."""
    if not _meet(one, other):
        return False
    value = share(one, other)
    if abs(value - 0.5) < CLOSE:
        value = share(one, other, Fraction)
    return bool(value > 0.5)


def area(quad: Quad, number: Callable[[float], Any] = float) -> Any:
    """The absolute value of the signed area; where a quadrilateral crosses itself, its parts have opposite signs."""
    return abs(_signed([(number(x), number(y)) for x, y in quad]))


def intersection(one: Quad, other: Quad, number: Callable[[float], Any] = float) -> Any:
    """The area that both quadrilaterals fill, in square pixels."""
    total = number(0)
    for sign, polygon in _parts(one, number):
        for other_sign, clip in _parts(other, number):
            total += sign * other_sign * abs(_signed(_clipped(polygon, clip)))
    return total


def _meet(one: Quad, other: Quad) -> bool:
    """Whether the boxes around two quadrilaterals overlap."""
    return all(
        min(point[axis] for point in one) < max(point[axis] for point in other)
        and min(point[axis] for point in other) < max(point[axis] for point in one)
        for axis in (0, 1)
    )


def _parts(quad: Quad, number: Callable[[float], Any]) -> list[tuple[int, Polygon]]:
    """Convex polygons whose indicators, with these weights, sum to the quadrilateral's."""
    first, second, third, fourth = ((number(x), number(y)) for x, y in quad)
    triangles = [turned for turned in map(_turned, ([first, second, third], [first, third, fourth])) if turned]
    parts = [(1, triangle) for triangle in triangles]
    if len(triangles) == 2 and (common := _clipped(*triangles)):
        parts.append((-2, common))
    return parts


def _turned(triangle: Polygon) -> Polygon:
    """A triangle with its points in the order of a positive area; empty if it has no area."""
    signed = _signed(triangle)
    return triangle if signed > 0 else triangle[::-1] if signed < 0 else []


def _signed(polygon: Sequence[tuple[Any, Any]]) -> Any:
    """The signed area; positive where the points turn from the x axis to the y axis."""
    pairs = zip(polygon, [*polygon[1:], *polygon[:1]], strict=True)
    return sum(x * next_y - next_x * y for (x, y), (next_x, next_y) in pairs) / 2 if polygon else 0


def _clipped(polygon: Polygon, clip: Polygon) -> Polygon:
    """The intersection of two convex polygons (Sutherland and Hodgman)."""
    for start, end in zip(clip, [*clip[1:], *clip[:1]], strict=True):
        sides = [_side(start, end, point) for point in polygon]
        kept: Polygon = []
        for place, (point, side) in enumerate(zip(polygon, sides, strict=True)):
            before, other_side = polygon[place - 1], sides[place - 1]
            if side * other_side < 0:
                share = other_side / (other_side - side)
                kept.append((before[0] + share * (point[0] - before[0]), before[1] + share * (point[1] - before[1])))
            if side >= 0:
                kept.append(point)
        polygon = kept
    return polygon


def _side(start: tuple[Any, Any], end: tuple[Any, Any], point: tuple[Any, Any]) -> Any:
    """Positive inside of an edge of a polygon with positive area, 0 on it."""
    return (end[0] - start[0]) * (point[1] - start[1]) - (end[1] - start[1]) * (point[0] - start[0])
