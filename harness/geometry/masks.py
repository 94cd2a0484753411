"""Pixel masks as COCO run-length codes, in the frame of the original image; pycocotools is the only rasteriser.

A prediction and its target are filled the same way, as COCO's own tools fill (`frPyObjects`, then `merge`): the very
outlines of 830 COCO objects, filled by OpenCV, Pillow or scikit-image instead, reach 89 to 94 mIoU against it.  The
parts of an object are merged as a union, so that a pixel in two parts counts once (the refer toolkit adds the parts
up, and those that keep its 1s lose such pixels).
A ring of fewer than three points is dropped; what lies outside the image is cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from reprlib import repr as shortened
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from harness.core import Mask, Polygons, Ring, Size
from harness.geometry.polygons import from_flat, to_flat

FARTHEST = 1e15  # pixels; a coordinate beyond is taken for a mistake


def rasterise(value: Polygons | Mask, size: Size) -> Mask:
    """The pixels of an outline, at `size`; none where it has no ring that can be drawn.  A mask passes through.

    ValueError where a mask is of another size.
    """
    if isinstance(value, Mask):
        if value.size != size:
            raise ValueError(f"a mask of {value.size} is no mask of an image of {size}")
        return value
    outlines = [flat for ring in value.rings if (flat := _drawable(ring, size))]
    if not outlines:
        return from_runs([size.width * size.height], size)
    return _mask(coco.merge(coco.frPyObjects(outlines, size.height, size.width)))


def area(mask: Mask) -> int:
    """How many pixels it covers."""
    return int(coco.area(_code(mask)))


def pixels(mask: Mask) -> NDArray[np.bool_]:
    """(height, width): which pixels it covers."""
    decoded: NDArray[np.bool_] = coco.decode(_code(mask)).astype(bool)
    return decoded


def overlap(one: Mask, other: Mask) -> tuple[int, int]:
    """Pixels in both, and pixels in either; ValueError where the masks are of two sizes."""
    if one.size != other.size:
        raise ValueError(f"a mask of {one.size} cannot be laid over one of {other.size}")
    both = int(coco.area(coco.merge([_code(one), _code(other)], intersect=True)))
    return both, area(one) + area(other) - both


def from_runs(runs: Sequence[int], size: Size) -> Mask:
    """COCO's uncompressed code: lengths of runs of 0s and 1s by turns, down each column, the first of 0s.

    ValueError where they do not fill the image.  Empty runs are joined over: pycocotools' `merge` stops at them.
    """
    joined = [0]
    for place, run in enumerate(runs):
        if run < 0:
            raise ValueError(f"run {place} of a mask is {run} long")
        if len(joined) % 2 == place % 2 and run:
            joined.append(run)
        elif run:
            joined[-1] += run
    if sum(joined) != size.width * size.height:
        raise ValueError(f"a mask of {sum(joined)} pixels does not fill an image of {size.width} x {size.height}")
    return _mask(coco.frPyObjects({"size": [size.height, size.width], "counts": joined}, size.height, size.width))


def from_coco(segmentation: Any, size: Size) -> Polygons | Mask:
    """COCO's `segmentation` as JSON gives it: polygons, or a run-length code, compressed or not.

    ValueError, saying what is wrong, where it is neither.
    """
    if isinstance(segmentation, list):
        return Polygons(tuple(from_flat(_numbers(_list(ring))) for ring in segmentation))
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError("a segmentation is a list of polygons, or has a size and counts")
    sides, counts = segmentation["size"], segmentation["counts"]
    if sides != [size.height, size.width]:
        raise ValueError(f"a mask of [height, width] {shortened(sides)} in an image of {[size.height, size.width]}")
    return from_runs(_unpacked(counts) if isinstance(counts, str) else [_whole(run) for run in _list(counts)], size)


def to_coco(value: Polygons | Mask) -> list[list[float]] | dict[str, Any]:
    """What `from_coco` reads: polygons as lists of coordinates, a mask as its compressed code.

    A ring with a number that JSON does not know, or that `from_coco` would refuse, is left out.
    """
    if isinstance(value, Mask):
        return {"size": [value.size.height, value.size.width], "counts": value.counts.decode("ascii")}
    flat = map(to_flat, value.rings)
    return [ring for ring in flat if all(abs(number) < FARTHEST for number in ring)]


def _drawable(ring: Ring, size: Size) -> list[float]:
    """A ring as pycocotools takes it; empty where it encloses nothing.

    pycocotools walks every pixel of an edge in 32-bit integers, so points farther off than a whole image are brought
    to that distance, and a ring with a coordinate that is not finite is not drawn.
    """
    if len(ring) < 3:
        return []
    points = np.asarray(ring, dtype=np.float64)
    if not np.isfinite(points).all():
        return []
    sides = np.asarray(size, dtype=np.float64)
    flat: list[float] = points.clip(-sides, 2 * sides).ravel().tolist()
    return flat


def _unpacked(counts: str) -> list[int]:
    """The run lengths in COCO's compressed code: five bits a character, from the third on as differences."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is no part of a compressed mask")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("a compressed mask ends within a run")
    return runs


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"a list was expected, not {shortened(value)}")
    return value


def _numbers(values: list[Any]) -> list[float]:
    """JSON numbers that are finite; all at once where they are, one by one to say which is not."""
    if {*map(type, values)} <= {int, float} and max(map(abs, values), default=0) < FARTHEST:
        total = sum(values)
        if total == total:  # no NaN, which `max` may pass over
            return list(map(float, values))
    return list(map(_number, values))


def _number(value: Any) -> float:
    """A JSON number that is finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < FARTHEST:
        raise ValueError(f"a coordinate was expected, not {shortened(value)}")
    return float(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"the length of a run was expected, not {shortened(value)}")
    return value


def _code(mask: Mask) -> dict[str, Any]:
    return {"size": [mask.size.height, mask.size.width], "counts": mask.counts}


def _mask(code: dict[str, Any]) -> Mask:
    height, width = code["size"]
    return Mask(Size(int(width), int(height)), bytes(code["counts"]))
