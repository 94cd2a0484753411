import math

import pytest

from harness.core import Polygons
from harness.geometry.polygons import bounds, from_flat, rectangle, ring_area, to_flat


def test_flat_round_trip() -> None:
    assert from_flat([0, 1, 2, 3]) == ((0.0, 1.0), (2.0, 3.0))
    assert to_flat(from_flat([0, 1, 2, 3, 4.5, 5])) == [0, 1, 2, 3, 4.5, 5]


def test_a_missing_y_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 numbers lacks a y"):
        from_flat([0, 1, 2, 3, 4])


def test_ring_area() -> None:
    assert ring_area(rectangle((1, 2, 4, 7))) == 15  # 3 x 5
    assert ring_area(((0, 0), (4, 0), (0, 3))) == 6  # half of 4 x 3
    assert ring_area(((0, 0), (0, 3), (4, 0))) == 6  # the other way round
    assert ring_area(((0, 0), (4, 0))) == 0
    assert ring_area(()) == 0


def test_area_of_a_many_sided_ring_nears_the_circle() -> None:
    corners = 1000
    angles = [2 * math.pi * i / corners for i in range(corners)]
    ring = tuple((5 + 2 * math.cos(a), 5 + 2 * math.sin(a)) for a in angles)
    assert ring_area(ring) == pytest.approx(math.pi * 4, rel=1e-4)


def test_bounds_span_all_rings() -> None:
    assert bounds(Polygons((rectangle((1, 2, 4, 7)), rectangle((3, 0, 5, 1))))) == (1, 0, 5, 7)
    assert bounds(Polygons(())) is None
    assert bounds(Polygons(((),))) is None
