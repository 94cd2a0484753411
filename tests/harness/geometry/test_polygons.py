"""Rings to COCO's flat lists and back."""

import pytest

from harness.geometry.polygons import from_flat, rectangle, to_flat


def test_to_flat_and_from_flat_are_inverse() -> None:
    assert from_flat([0, 1, 2, 3]) == ((0.0, 1.0), (2.0, 3.0))
    assert to_flat(from_flat([0, 1, 2, 3, 4.5, 5])) == [0, 1, 2, 3, 4.5, 5]


def test_from_flat_of_odd_length_raises() -> None:
    with pytest.raises(ValueError, match="5 numbers lacks a y"):
        from_flat([0, 1, 2, 3, 4])


def test_rectangle_is_clockwise_from_top_left() -> None:
    assert rectangle((1, 2, 4, 7)) == ((1, 2), (4, 2), (4, 7), (1, 7))
