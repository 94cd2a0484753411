"""Outlines: rings of points in pixels of the original image, x to the right, y down; the last point joins the first.

This is geometry on real numbers.  Scores count pixels instead: see `masks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Box, Polygons, Ring


def from_flat(coordinates: Sequence[float]) -> Ring:
    """COCO's [x, y, x, y, ...] to a ring; ValueError where a y is missing."""
    if len(coordinates) % 2:
        raise ValueError(f"an outline of {len(coordinates)} numbers lacks a y")
    return tuple(zip(map(float, coordinates[0::2]), map(float, coordinates[1::2]), strict=True))


def to_flat(ring: Ring) -> list[float]:
    """A ring to COCO's [x, y, x, y, ...]."""
    return [coordinate for point in ring for coordinate in point]


def rectangle(box: Box) -> Ring:
    """A box's outline, from the left top clockwise as seen on screen."""
    left, top, right, bottom = box
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def ring_area(ring: Ring) -> float:
    """Square pixels inside a simple ring (the shoelace formula), whichever way round it is drawn."""
    joined = zip(ring, (*ring[1:], *ring[:1]), strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in joined)) / 2


def bounds(outline: Polygons) -> Box | None:
    """The smallest box around all rings; None where there is no point."""
    points = [point for ring in outline.rings for point in ring]
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))
