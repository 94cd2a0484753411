"""Outlines: COCO's rasteriser restores traced masks, and simplified rings stay within their limits."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core import Size
from harness.geometry.outlines import area, has_hole, outline, refill, simplify
from harness.geometry.polygons import to_flat


def disc(radius: float, width: int = 40, height: int = 30) -> np.ndarray:
    """(height, width), True for pixels whose centre is within `radius` of (20, 15)."""
    y, x = np.mgrid[:height, :width] + 0.5
    return (x - 20) ** 2 + (y - 15) ** 2 <= radius**2


def test_outline_of_rectangle_is_its_four_corners() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    assert outline(mask) == (((2, 1), (7, 1), (7, 4), (2, 4)),)
    assert area(outline(mask)[0]) == 15  # 5 x 3 pixels
    assert to_flat(outline(mask)[0]) == [2, 1, 7, 1, 7, 4, 2, 4]
    assert outline(np.zeros((6, 8), bool)) == ()


@pytest.mark.parametrize("radius", [1, 4.5, 9, 14])
def test_outline_of_disc_refills_to_the_same_mask(radius: float) -> None:
    mask = disc(radius)
    rings = outline(mask)
    assert np.array_equal(refill(rings, Size(40, 30)), mask)
    assert sum(map(area, rings)) == mask.sum()


def test_outline_of_pieces_touching_at_corner_is_one_ring_each_largest_first() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0:2, 0:2] = True
    mask[2:6, 2:6] = True  # touches the first piece at a corner
    assert [area(ring) for ring in outline(mask)] == [16, 4]


def test_has_hole_is_true_for_hole_and_false_for_bay() -> None:
    assert not has_hole(disc(9))
    assert has_hole(disc(9) & ~disc(3))
    bay = disc(9)
    bay[:, 20] = False
    assert not has_hole(bay)


@pytest.mark.parametrize("most", [4, 8, 16])
def test_simplify_keeps_at_most_given_number_of_points(most: int) -> None:
    [ring] = outline(disc(14))
    simple = simplify(ring, most)
    assert len(simple) <= most and set(simple) <= set(ring) and simple[0] == ring[0]
    assert simplify(ring, 1000, tolerance=0.0) == ring


def test_simplify_drops_points_within_tolerance() -> None:
    straight = ((0.0, 0.0), (5.0, 0.3), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))
    assert simplify(straight, 16) == (straight[0], *straight[2:])  # the dropped point is 0.3 pixels off, less than 0.7
    assert simplify(straight, 16, tolerance=0.2) == straight
