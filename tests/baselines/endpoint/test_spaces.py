"""Coordinate spaces: to pixels and back on images of every shape, and boxes that do not fit a space."""

from __future__ import annotations

import logging

import pytest
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from baselines.endpoint.spaces import FEW, Resize, Space, Watch, space
from harness.core import Box, Size
from harness.errors import UsageError

QWEN = Resize(28, 56 * 56, 12_845_056)
SIZES = [Size(640, 480), Size(480, 640), Size(37, 500), Size(7, 5), Size(5000, 4000), Size(28, 28)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize", [QWEN, Resize(32, 65536, 100_000), Resize(28, 3136, 1_003_520)])
def test_resized_size_is_that_of_transformers(size: Size, resize: Resize) -> None:
    height, width = smart_resize(
        size.height, size.width, factor=resize.factor, min_pixels=resize.min_pixels, max_pixels=resize.max_pixels
    )
    assert resize.of(size) == Size(width, height)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["pixels", "thousand", "unit"])
@pytest.mark.parametrize("resize", [None, QWEN])
def test_box_of_a_quarter_returns_to_pixels_in_every_space(size: Size, name: str, resize: Resize | None) -> None:
    """A box from (1/4, 1/2) of the sides to the lower right corner, written by hand in each space."""
    edges = {"thousand": (1000, 1000), "unit": (1, 1)}.get(name) or (resize.of(size) if resize else size)
    written: Box = (edges[0] / 4, edges[1] / 2, edges[0], edges[1])
    expected = (size.width / 4, size.height / 2, size.width, size.height)
    assert space(name, resize).to_pixels(written, size) == pytest.approx(expected)


def test_pixels_of_a_resized_image_are_scaled_back() -> None:
    # 640 x 480 becomes 644 x 476 (23 and 17 times 28): a box at 644 is at 640, one at 238 is at 240
    assert Space("pixels", QWEN).to_pixels((0, 238, 644, 476), Size(640, 480)) == pytest.approx((0, 240, 640, 480))


def test_box_outside_the_image_is_clipped() -> None:
    assert Space("thousand").to_pixels((-50, 500, 1200, 2000), Size(200, 100)) == (0, 50, 200, 100)


def test_inverted_box_stays_inverted() -> None:
    assert Space("unit").to_pixels((0.5, 0.5, 0.25, 0.1), Size(100, 10)) == (50, 5, 25, 1)


def test_space_of_an_unknown_name_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--space percent: one of pixels, thousand, unit, none"):
        space("percent")
    with pytest.raises(ValueError, match="has no coordinates"):
        Space("none").extent(Size(1, 1))


@pytest.mark.parametrize("limits", [(0, 1, 2), (28, 0, 2), (28, 3, 2)])
def test_resize_with_contradicting_limits_is_refused(limits: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="factor from 1"):
        Resize(*limits)


def watched(name: str, boxes: list[Box], caplog: pytest.LogCaptureFixture) -> Watch:
    watch = Watch(space(name))
    with caplog.at_level(logging.WARNING):
        for box in boxes:
            watch.add(box, Size(100, 100))
            watch.warn()
        watch.warn(at_end=True)
    return watch


INSIDE: Box = (10.0, 10.0, 50.0, 50.0)


@pytest.mark.parametrize(("outside", "said"), [(2, False), (3, True)])  # of 20: a tenth, and more than a tenth
def test_boxes_outside_the_space_are_said_once_above_a_tenth(
    outside: int, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    watched("pixels", [(10, 10, 900, 900)] * outside + [INSIDE] * (FEW - outside), caplog)
    assert len(caplog.records) == said
    assert ("3 of 20 boxes are outside the space 'pixels'" in caplog.text) is said


def test_boxes_outside_the_space_are_said_once_in_a_long_run(caplog: pytest.LogCaptureFixture) -> None:
    assert watched("unit", [(1, 1, 500, 500)] * 200, caplog).outside == 200
    assert len(caplog.records) == 1 and "does the model write pixels or thousand" in caplog.text


def test_unit_boxes_in_a_space_of_thousands_are_said(caplog: pytest.LogCaptureFixture) -> None:
    watched("thousand", [(0.1, 0.2, 0.5, 0.9)] * 5, caplog)
    assert "5 of 5 boxes are below 1 in the space 'thousand'" in caplog.text


def test_boxes_that_fit_or_drift_by_a_pixel_are_not_said(caplog: pytest.LogCaptureFixture) -> None:
    watched("pixels", [INSIDE, (0, 0, 100.9, 100)] * 50, caplog)
    assert not caplog.records
