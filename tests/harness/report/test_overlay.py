"""Values drawn on images: closed lines, colours, enlargement and labels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from harness.core import Box, Boxes, Grounded, Mask, Objects, Polygons, Quads, Size, Text, Value
from harness.geometry.masks import rasterise
from harness.report.overlay import ANSWER, LONG_SIDE, OPACITY, SHORT_SIDE, TARGET, overlay, rings_of

BOX: Box = (10.0, 20.0, 40.0, 60.0)
RING = ((10.0, 20.0), (40.0, 20.0), (40.0, 60.0), (10.0, 60.0))
OTHER: Box = (0.0, 0.0, 5.0, 5.0)
OTHER_RING = ((0.0, 0.0), (5.0, 0.0), (5.0, 5.0), (0.0, 5.0))


@pytest.mark.parametrize(
    ("value", "rings"),
    [
        (Boxes((BOX, OTHER)), [RING, OTHER_RING]),
        (Objects(((10.0, 20.0, 30.0, 40.0),), (0,), (1200.0,), (False,), (1,)), [RING]),  # x, y, width, height
        (Grounded(((BOX,), (), (OTHER,))), [RING, OTHER_RING]),
        (Quads((RING,), ("STOP",)), [RING]),
        (Polygons((RING, OTHER_RING)), [RING, OTHER_RING]),
        (rasterise(Polygons((RING,)), Size(64, 64)), []),
        (Text(("a dog",)), []),
        (None, []),
    ],
)
def test_rings_of_a_value_are_its_closed_lines(value: Value | None, rings: list[object]) -> None:
    assert rings_of(value) == rings


def test_rings_of_the_first_box_leave_the_others_out() -> None:
    assert rings_of(Boxes((BOX, OTHER)), first=True) == [RING]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((120, 480), (160, 640)),  # the short side asks for a scale of 2, the long side allows 640 / 480
        ((60, 80), (240, 320)),  # 240 / 60 = 4
        ((640, 480), (640, 480)),
        ((2000, 1000), (640, 320)),  # 640 / 2000
    ],
)
def test_overlay_image_is_scaled_to_both_limits(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert overlay(Image.new("RGB", size), None).size == expected
    assert (SHORT_SIDE, LONG_SIDE) == (240, 640)


def test_overlay_draws_target_and_answer_in_their_colours() -> None:
    image = Image.new("RGB", (640, 480), (128, 128, 128))
    drawn = overlay(image, Boxes(((300.0, 100.0, 500.0, 300.0),)), Boxes(((50.0, 100.0, 200.0, 300.0),)))
    pixels = np.asarray(drawn)
    assert tuple(pixels[200, 50]) == TARGET and tuple(pixels[200, 300]) == ANSWER
    assert tuple(pixels[200, 400]) == (128, 128, 128)  # inside the box
    assert np.asarray(image).max() == 128  # the given image is unchanged


def test_overlay_tints_the_pixels_of_a_mask() -> None:
    mask = rasterise(Polygons((((100.0, 100.0), (300.0, 100.0), (300.0, 300.0), (100.0, 300.0)),)), Size(640, 480))
    assert isinstance(mask, Mask)
    pixels = np.asarray(overlay(Image.new("RGB", (640, 480), (100, 100, 100)), mask))
    tint = [round((1 - OPACITY) * 100 + OPACITY * channel) for channel in ANSWER]
    assert pixels[200, 200].tolist() == tint and pixels[50, 50].tolist() == [100, 100, 100]


def test_overlay_labels_can_be_left_out() -> None:
    image = Image.new("RGB", (640, 480))
    boxes = Boxes(((100.0, 200.0, 300.0, 400.0),), ("dog",))
    labelled, plain = (np.asarray(overlay(image, boxes, labels=labels)) for labels in (True, False))
    assert labelled[185:198, 100:120].any() and not plain[185:198, 100:120].any()  # above the corner of the box


def test_coordinates_far_outside_and_thin_images_are_drawn() -> None:
    """Pillow draws neither at 1e300 nor on an image without a column: 1 x 5,000 scaled to a height of 640."""
    far = Boxes(((-1e300, -1e300, 1e300, 1e300), (1e300, 0.0, 1e300, 1e300)))
    assert overlay(Image.new("RGB", (400, 300)), far).size == (400, 300)
    assert overlay(Image.new("RGB", (1, 5000)), None).size == (1, 640)
