"""Outlines: rings of points in pixels of the original image, x to the right, y down; the last point joins the first.

This is geometry on real numbers.  Scores count pixels instead: see `masks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Box, Ring


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
