"""Boxes: (left, top, right, bottom) in pixels of the original image; x to the right, y down.

Right and bottom are exclusive edges (`right = x + width`), so no side gains a pixel.  Nothing is rounded unless a
docstring says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.core import Box

FARTHEST = 1e9  # pixels; a larger coordinate is treated as malformed


def from_xywh(values: Sequence[float]) -> Box:
    """The box of COCO's [x, y, width, height]; ValueError unless there are four numbers."""
    x, y, width, height = values
    return (x, y, x + width, y + height)


def to_xywh(box: Box) -> tuple[float, float, float, float]:
    """COCO's [x, y, width, height] of a box, with sides rounded to 1e-10 pixels.

    The rounding restores a side of a few decimals that `from_xywh` converted.  It does not restore other sides, so AP
    is never computed from converted boxes.
    """
    left, top, right, bottom = box
    return (left, top, round(right - left, 10), round(bottom - top, 10))


def area(box: Box) -> float:
    """The area in square pixels; 0 for an inverted box."""
    left, top, right, bottom = box
    return max(0.0, right - left) * max(0.0, bottom - top)


def is_finite(box: Box) -> bool:
    """Whether no coordinate is NaN or infinite."""
    left, top, right, bottom = box
    return math.isfinite(left) and math.isfinite(top) and math.isfinite(right) and math.isfinite(bottom)


def is_plausible(box: Box) -> bool:
    """Whether all coordinates are within `FARTHEST` and no side is negative."""
    left, top, right, bottom = box
    return -FARTHEST <= left <= right <= FARTHEST and -FARTHEST <= top <= bottom <= FARTHEST


def iou(one: Box, other: Box) -> float:
    """Intersection over union, from 0 to 1; 0 if both boxes are empty or a coordinate is not finite.

    This is IoU, not GIoU, as in the RefCOCO evaluations of OFA and Kosmos-2.
    """
    if not (is_finite(one) and is_finite(other)):
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    either = area(one) + area(other) - both
    return both / either if either > 0 else 0.0
