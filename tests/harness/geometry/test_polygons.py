import pytest

from harness.geometry.polygons import from_flat, rectangle, to_flat


def test_flat_round_trip() -> None:
    assert from_flat([0, 1, 2, 3]) == ((0.0, 1.0), (2.0, 3.0))
    assert to_flat(from_flat([0, 1, 2, 3, 4.5, 5])) == [0, 1, 2, 3, 4.5, 5]


def test_a_missing_y_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 numbers lacks a y"):
        from_flat([0, 1, 2, 3, 4])


def test_a_rectangle_goes_clockwise_from_the_left_top() -> None:
    assert rectangle((1, 2, 4, 7)) == ((1, 2), (4, 2), (4, 7), (1, 7))
