"""Boxes: (left, top, right, bottom) in pixels of the original image, x to the right, y down.

Right and bottom are edges, not last pixels (`right = x + width`), so no side gains a pixel and nothing is rounded.
IoU is intersection over union, not GIoU, as the RefCOCO evaluations of OFA and Kosmos-2 count it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.core import Box

FARTHEST = 1e9  # pixels; a coordinate beyond is taken for a mistake


def from_xywh(values: Sequence[float]) -> Box:
    """COCO's [x, y, width, height] to a box; ValueError where it is not four numbers."""
    x, y, width, height = values
    return (x, y, x + width, y + height)


def to_xywh(box: Box) -> tuple[float, float, float, float]:
    """A box to COCO's [x, y, width, height].

    Sides are rounded to 1e-10 pixels, which undoes what `x + width` rounded of a side of a few decimals; of others it
    does not, so what has to be exact (AP) is never converted.
    """
    left, top, right, bottom = box
    return (left, top, round(right - left, 10), round(bottom - top, 10))


def area(box: Box) -> float:
    """Square pixels; an inverted box has none."""
    left, top, right, bottom = box
    return max(0.0, right - left) * max(0.0, bottom - top)


def is_finite(box: Box) -> bool:
    """Whether all four coordinates are numbers and none is infinite."""
    return all(map(math.isfinite, box))


def is_plausible(box: Box) -> bool:
    """Whether it could be of a picture: within a billion pixels, right not before left, bottom not above top."""
    return all(abs(number) <= FARTHEST for number in box) and box[0] <= box[2] and box[1] <= box[3]


def iou(one: Box, other: Box) -> float:
    """Intersection over union, in 0..1; 0 where both are empty, or where a coordinate is no finite number."""
    if not (is_finite(one) and is_finite(other)):
        return 0.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    either = area(one) + area(other) - both
    return both / either if either > 0 else 0.0
