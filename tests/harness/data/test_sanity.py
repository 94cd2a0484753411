"""Predictions in other units than their format, and predictions that are as they should be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from harness.core import Answer, Box, Boxes, Grounded, Objects, Polygons, Question, Sample, Size, Text, Value
from harness.data.sanity import Sanity, look
from harness.geometry.boxes import from_xywh

SIZES = [Size(640, 480), Size(333, 500)]


def right_boxes(seed: int = 0) -> list[tuple[Size, Box]]:
    """200 boxes of at least ten pixels, within their images."""
    draw = random.Random(seed)
    boxes = []
    for place in range(200):
        width, height = size = SIZES[place % 2]
        left, top = draw.uniform(0, width - 12), draw.uniform(0, height - 12)
        boxes.append((size, (left, top, draw.uniform(left + 10, width), draw.uniform(top + 10, height))))
    return boxes


def looked_at(values: Sequence[tuple[Size | None, Value | None]]) -> Sanity:
    """Each value as the answer to a sample of an image of this size, which has a box to find."""
    target = Boxes(((0.0, 0.0, 9.0, 9.0),))
    samples = [
        Sample(str(place), Question("x.png", size, "refer"), target, "x.png") for place, (size, _) in enumerate(values)
    ]
    return look(samples, {str(place): Answer(("",), value) for place, (_, value) in enumerate(values)})


def as_written(change: Callable[[Size, Box], Sequence[float]]) -> Sanity:
    """Boxes that a person wrote as `change` says, read as [x, y, width, height]."""
    return looked_at([(size, Boxes((from_xywh(change(size, box)),))) for size, box in right_boxes()])


def xywh(size: Size, box: Box) -> tuple[float, ...]:
    return (box[0], box[1], box[2] - box[0], box[3] - box[1])


def test_boxes_as_the_format_says_are_not_suspect() -> None:
    assert as_written(xywh) == Sanity(boxes=200)
    assert as_written(xywh).as_dict() == {"boxes": 200, "tiny": 0, "outside": 0, "past": 0, "inverted": 0, "without": 0}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda size, box: [n / side for n, side in zip(xywh(size, box), size * 2, strict=True)], "normalised"),
        (lambda size, box: box, "[x0, y0, x1, y1]; the format is [x, y, width, height]"),
        (
            lambda size, box: [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, *xywh(size, box)[2:]],
            "[centre x, centre y, width, height]",
        ),
        (lambda size, box: [n / 2 for n in xywh(size, box)], "of a smaller image"),
        (lambda size, box: [xywh(size, box)[place] for place in (1, 0, 3, 2)], "x and y in the wrong order"),
        (lambda size, box: [1000 * n / side for n, side in zip(xywh(size, box), size * 2, strict=True)], "0 to 1000"),
        (lambda size, box: [5 * n for n in xywh(size, box)], "a resized image, or predictions of other images"),
    ],
)
def test_boxes_in_other_units_are_suspect_with_the_cause(
    change: Callable[[Size, Box], Sequence[float]], cause: str
) -> None:
    assert cause in as_written(change).suspect


def test_widths_where_corners_are_expected_are_suspect() -> None:
    """Most boxes of phrases written as [x, y, width, height] have their right edge before the left one."""
    seen = looked_at([(size, Grounded(((xywh(size, box),),))) for size, box in right_boxes()])  # type: ignore[arg-type]
    assert seen.inverted > 0.3
    assert seen.suspect.endswith("likely [x, y, width, height]; the format is [x0, y0, x1, y1]")


def test_normalised_outlines_are_suspect() -> None:
    ring = ((0.1, 0.1), (0.4, 0.1), (0.4, 0.5))
    seen = looked_at([(SIZES[0], Polygons((ring,)))] * 10)
    assert seen.suspect.startswith("100% of the boxes have a side under one pixel: likely normalised")


def test_shares_are_of_all_boxes() -> None:
    """A side of 0.5 pixels; 100 of 101 columns outside; 1 of 4 samples without a box."""
    boxes = [(1.0, 1.0, 1.5, 9.0), (639.0, 0.0, 740.0, 10.0), (0.0, 0.0, 9.0, 9.0)]
    seen = looked_at([*((SIZES[0], Boxes((box,))) for box in boxes), (SIZES[0], None)])
    assert (seen.boxes, seen.tiny, seen.outside, seen.without) == (3, 1 / 3, 1 / 3, 1 / 4)


def test_boxes_of_images_of_unknown_size_are_not_outside() -> None:
    assert looked_at([(None, Boxes(((0.0, 0.0, 9e8, 9e8),)))] * 9).suspect == ""


def test_few_empty_texts_are_not_suspect_and_half_are() -> None:
    sample = [Sample(str(place), Question("x.png", None, "caption"), Text(("a",)), "x") for place in range(4)]

    def seen(*texts: str) -> Sanity:
        return look(sample, {str(place): Answer((text,), Text((text,))) for place, text in enumerate(texts)})

    assert seen("a", "b", "c", "").as_dict() == {"texts": 4, "empty": 0.25}
    assert seen("a", " ", "c", "").suspect == "50% of the texts are empty"


def test_images_without_objects_need_no_box() -> None:
    nothing = Objects((), (), (), (), ())
    one = Objects(((0.0, 0.0, 9.0, 9.0),), (0,), (81.0,), (False,), (1,))
    samples = [
        Sample(str(place), Question("x.png", None, "detect"), target, "x")
        for place, target in enumerate((nothing, nothing, nothing, one))
    ]
    empty = {sample.id: Answer(("",), Boxes(())) for sample in samples}
    assert look(samples[:3], empty).suspect == ""
    expected = "100% of the samples with something to find have no box: likely predictions of other images"
    assert look(samples, empty).suspect.startswith(expected)


def test_boxes_of_a_detector_that_does_not_clip_are_not_suspect() -> None:
    """Each box is moved by up to 20 pixels in any direction."""
    draw = random.Random(1)
    moved = []
    for size, box in right_boxes():
        right, down = draw.uniform(-20, 20), draw.uniform(-20, 20)
        moved.append((size, Boxes(((box[0] + right, box[1] + down, box[2] + right, box[3] + down),))))
    seen = looked_at(moved)
    assert seen.past > 0.05 and seen.suspect == ""
