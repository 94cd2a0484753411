"""Rings: closed outlines of points in pixels of the original image; x to the right, y down.

Coordinates are real numbers here.  Scores count pixels instead; see `masks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Box, Ring


def from_flat(coordinates: Sequence[float]) -> Ring:
    """The ring of COCO's [x, y, x, y, ...]; ValueError if the number of coordinates is odd."""
    if len(coordinates) % 2:
        raise ValueError(f"an outline of {len(coordinates)} numbers lacks a y")
    return tuple(zip(map(float, coordinates[0::2]), map(float, coordinates[1::2]), strict=True))


def to_flat(ring: Ring) -> list[float]:
    """COCO's [x, y, x, y, ...] of a ring."""
    return [coordinate for point in ring for coordinate in point]


def rectangle(box: Box) -> Ring:
    """The four corners of a box, clockwise on the screen from the top left."""
    left, top, right, bottom = box
    return ((left, top), (right, top), (right, bottom), (left, bottom))
