"""Masks to rings and back.  Rings follow pixel edges, so COCO's rasteriser restores the traced mask exactly."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from harness.core import Polygons, Ring, Size
from harness.geometry.masks import pixels, rasterise

Bools = NDArray[np.bool_]


def outline(mask: Bools) -> tuple[Ring, ...]:
    """One ring for each 4-connected piece of a (height, width) mask, largest area first; holes are not traced.

    Points are pixel corners at which the outline turns, clockwise on the screen.  The first point is the top-most one,
    and the left-most of several.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return ()
    top, left_most = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left_most : columns[-1] + 1], 1)
    after: dict[tuple[int, int], list[tuple[int, int]]] = {}
    up = padded[1:, 1:] & ~padded[:-1, 1:]  # an edge above pixel (y, x), from left to right
    for y, x in np.argwhere(up).tolist():
        after.setdefault((x, y), []).append((x + 1, y))
    down = padded[:-1, 1:] & ~padded[1:, 1:]  # an edge below, from right to left
    for y, x in np.argwhere(down).tolist():
        after.setdefault((x + 1, y), []).append((x, y))
    left = padded[1:, 1:] & ~padded[1:, :-1]  # an edge on the left, from bottom to top
    for y, x in np.argwhere(left).tolist():
        after.setdefault((x, y + 1), []).append((x, y))
    right = padded[1:, :-1] & ~padded[1:, 1:]  # an edge on the right, from top to bottom
    for y, x in np.argwhere(right).tolist():
        after.setdefault((x, y), []).append((x, y + 1))
    rings = []
    while after:
        start = min(after, key=lambda corner: (corner[1], corner[0]))
        ring = _follow(after, start)
        if _twice_area(ring) > 0:  # a hole is traced counterclockwise
            rings.append(ring)
    rings.sort(key=_twice_area, reverse=True)
    return tuple(tuple((float(x + left_most), float(y + top)) for x, y in ring) for ring in rings)


def _follow(after: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> list[tuple[int, int]]:
    """Removes one closed path of edges from `after` and returns the corners at which it turns.

    Where two pieces touch at a corner, the path turns right, which keeps the pieces separate.
    """
    path = [start]
    here, heading = start, (1, 0)
    while True:
        options = after[here]
        if len(options) > 1:
            right = (here[0] - heading[1], here[1] + heading[0])
            following = right if right in options else options[0]
        else:
            following = options[0]
        options.remove(following)
        if not options:
            del after[here]
        heading = (following[0] - here[0], following[1] - here[1])
        here = following
        if here == start:
            break
        path.append(here)
    count = len(path)
    return [
        point
        for index, point in enumerate(path)
        if (path[index - 1][0] - point[0], path[index - 1][1] - point[1])
        != (point[0] - path[(index + 1) % count][0], point[1] - path[(index + 1) % count][1])
    ]


def _twice_area(ring: list[tuple[int, int]]) -> float:
    """Twice the area, positive for a ring that is clockwise on the screen."""
    total = 0
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        total += ax * by - bx * ay
    return total


def refill(rings: tuple[Ring, ...], size: Size) -> Bools:
    """The (height, width) mask that COCO's rasteriser fills for the rings."""
    return pixels(rasterise(Polygons(rings), size))


def has_hole(mask: Bools) -> bool:
    """Whether the mask encloses background; objects are 4-connected, background is 8-connected."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    from scipy.ndimage import label  # here, since it takes longer to load than all of the command line

    _, pieces = label(~np.pad(crop, 1), structure=np.ones((3, 3)))
    return bool(pieces > 1)


def simplify(ring: Ring, most: int, tolerance: float = 0.7) -> Ring:
    """The ring simplified by Douglas-Peucker to at most `most` points; the first point is kept.

    The worst point is added first.  Points are added until the ring is within `tolerance` pixels of the outline.
    """
    points = np.array(ring)
    far = int(((points - points[0]) ** 2).sum(1).argmax())
    keep = {0, far}
    heap = [*_split(points, 0, far), *_split(points, far, len(points))]
    heapq.heapify(heap)
    while heap and len(keep) < most:
        off, middle, first, last = heapq.heappop(heap)
        if -off <= tolerance:
            break
        keep.add(middle)
        for part in (*_split(points, first, middle), *_split(points, middle, last)):
            heapq.heappush(heap, part)
    return tuple((float(x), float(y)) for x, y in points[sorted(keep)])


def _split(points: NDArray[np.float64], first: int, last: int) -> list[tuple[float, int, int, int]]:
    """The point between `first` and `last` that is farthest from their chord, if there is a point between.

    As (minus its distance in pixels, its index, first, last), so that a heap returns the farthest point first.
    """
    if last - first < 2:
        return []
    start, end = points[first], points[last % len(points)]
    along, offsets = end - start, points[first + 1 : last] - start
    length = float(np.sqrt(along[0] * along[0] + along[1] * along[1]))
    if length == 0:
        off = np.sqrt(offsets[:, 0] * offsets[:, 0] + offsets[:, 1] * offsets[:, 1])
    else:
        off = np.abs(offsets[:, 0] * along[1] - offsets[:, 1] * along[0]) / length
    worst = int(off.argmax())
    return [(-float(off[worst]), first + 1 + worst, first, last)]


def area(ring: Ring) -> float:
    """The area of a ring in square pixels, by the shoelace formula."""
    total = 0.0
    for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
        total += ax * by - bx * ay
    return abs(total) / 2
