"""Pixel masks as COCO's run-length codes, in pixels of the original image.

pycocotools is the only rasteriser.  Predictions and targets are filled in the same way as COCO's own tools fill them:
`frPyObjects`, then `merge`.  OpenCV, Pillow and scikit-image fill the same outline differently, which changes the IoU.

The parts of an object are merged as a union, so a pixel in two parts counts once.  This deviates from the refer
toolkit, which adds the parts; code that keeps only the 1s of that sum loses the shared pixels.

A ring of fewer than three points is dropped.  Parts outside the image are cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from harness.core import Box, Mask, Polygons, Ring, Size
from harness.geometry.polygons import from_flat, to_flat

FARTHEST = 1e15  # pixels; a larger coordinate is treated as malformed


def rasterise(value: Polygons | Mask, size: Size) -> Mask:
    """The mask of an outline in an image of `size`; empty if no ring can be drawn.  A mask is returned as it is.

    ValueError if a mask has another size than the image.
    """
    if isinstance(value, Mask):
        if value.size != size:
            raise ValueError(f"the mask is of size {value.size}, but the image is of size {size}")
        return value
    outlines = [flat for ring in value.rings if (flat := _drawable(ring, size))]
    if not outlines:
        return from_runs([size.width * size.height], size)
    return _mask(coco.merge(coco.frPyObjects(outlines, size.height, size.width)))


def is_drawable(value: Polygons | Mask) -> bool:
    """Whether a ring has three points or more; a mask is drawn already.

    pycocotools raises if the first ring has fewer points (a ring of two is taken for a box, and refused).
    """
    return isinstance(value, Mask) or any(len(ring) >= 3 for ring in value.rings)


def area(mask: Mask) -> int:
    """The number of pixels in a mask."""
    return int(coco.area(_code(mask)))


def box(mask: Mask) -> Box:
    """The smallest box with all pixels of a mask, with exclusive edges; without area for an empty mask."""
    x, y, width, height = map(float, coco.toBbox(_code(mask)))
    return x, y, x + width, y + height


def pixels(mask: Mask) -> NDArray[np.bool_]:
    """(height, width), True for the pixels in a mask."""
    decoded: NDArray[np.bool_] = coco.decode(_code(mask)).astype(bool)
    return decoded


def overlap(one: Mask, other: Mask) -> tuple[int, int]:
    """The number of pixels in both masks and in either mask; ValueError if the masks differ in size."""
    if one.size != other.size:
        raise ValueError(f"masks of different sizes cannot overlap: {one.size} and {other.size}")
    both = int(coco.area(coco.merge([_code(one), _code(other)], intersect=True)))
    return both, area(one) + area(other) - both


def union(values: Sequence[Polygons | Mask]) -> Polygons | Mask:
    """The pixels of all outlines together: all rings, or a mask if one of them is a mask; no rings if there are none.

    ValueError if masks differ in size.
    """
    masks = [value for value in values if isinstance(value, Mask)]
    if not masks:
        return Polygons(tuple(ring for value in values if isinstance(value, Polygons) for ring in value.rings))
    if len({mask.size for mask in masks}) > 1:
        raise ValueError(f"masks of different sizes have no union: {masks[0].size} and others")
    return _mask(coco.merge([_code(rasterise(value, masks[0].size)) for value in values]))


def from_runs(runs: Sequence[int], size: Size) -> Mask:
    """The mask of COCO's uncompressed code: alternate lengths of 0s and 1s, column by column, starting with 0s.

    ValueError if the lengths do not add up to the image's pixels, or one is negative.  Neighbours of an empty run are
    joined, because pycocotools' `merge` stops at empty runs.
    """
    joined = [0]
    for index, run in enumerate(runs):
        if run < 0:
            raise ValueError(f"run {index} of a mask has the length {run}")
        if len(joined) % 2 == index % 2 and run:
            joined.append(run)
        elif run:
            joined[-1] += run
    if sum(joined) != size.width * size.height:
        raise ValueError(f"a mask of {sum(joined)} pixels does not fill an image of {size.width} x {size.height}")
    return _mask(coco.frPyObjects({"size": [size.height, size.width], "counts": joined}, size.height, size.width))


def from_coco(segmentation: Any, size: Size) -> Polygons | Mask:
    """The outline or mask of COCO's `segmentation`: polygons, or a run-length code, compressed or not.

    ValueError, with the reason, if the parsed JSON is neither, or a code is not of this size.
    """
    if isinstance(segmentation, list):
        return Polygons(tuple(from_flat(_numbers(_list(ring))) for ring in segmentation))
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError("a segmentation is a list of polygons, or has `size` and `counts`")
    sides, counts = segmentation["size"], segmentation["counts"]
    if sides != [size.height, size.width]:
        raise ValueError(f"a mask of [height, width] {shortened(sides)} in an image of {[size.height, size.width]}")
    return from_runs(_decompressed(counts) if isinstance(counts, str) else [_whole(run) for run in _list(counts)], size)


def to_coco(value: Polygons | Mask) -> list[list[float]] | dict[str, Any]:
    """COCO's `segmentation`: polygons as lists of coordinates, or a mask as its compressed code.

    A ring is left out if a coordinate is not finite or beyond `FARTHEST`, because `from_coco` would refuse it.
    """
    if isinstance(value, Mask):
        return {"size": [value.size.height, value.size.width], "counts": value.counts.decode("ascii")}
    flat = map(to_flat, value.rings)
    return [ring for ring in flat if all(abs(number) < FARTHEST for number in ring)]


def _drawable(ring: Ring, size: Size) -> list[float]:
    """The ring as a flat list for pycocotools; empty if the ring has fewer than three points or is not finite.

    pycocotools visits every pixel of an edge and counts in 32-bit integers.  So points are clipped to at most one image
    size outside the image.
    """
    if len(ring) < 3:
        return []
    points = np.asarray(ring, dtype=np.float64)
    if not np.isfinite(points).all():
        return []
    sides = np.asarray(size, dtype=np.float64)
    flat: list[float] = points.clip(-sides, 2 * sides).ravel().tolist()
    return flat


def _decompressed(counts: str) -> list[int]:
    """The run lengths in COCO's compressed code.

    A character holds five bits.  From the third run on, the code holds the difference to the run two before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"a compressed mask does not contain {character!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("a compressed mask ends inside a run")
    return runs


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"expected a list, got {shortened(value)}")
    return value


def _numbers(values: list[Any]) -> list[float]:
    """The values as floats; ValueError naming the first that is not a finite number.

    The common case is checked for the whole list at once.
    """
    if {*map(type, values)} <= {int, float} and max(map(abs, values), default=0) < FARTHEST:
        total = sum(values)
        if total == total:  # False for a NaN, which `max` may have skipped
            return list(map(float, values))
    return list(map(_number, values))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < FARTHEST:
        raise ValueError(f"expected a coordinate, got {shortened(value)}")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected the length of a run, got {shortened(value)}")
    return value


def _code(mask: Mask) -> dict[str, Any]:
    return {"size": [mask.size.height, mask.size.width], "counts": mask.counts}


def _mask(code: dict[str, Any]) -> Mask:
    height, width = code["size"]
    return Mask(Size(int(width), int(height)), bytes(code["counts"]))
