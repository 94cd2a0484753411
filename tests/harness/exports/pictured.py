"""Questions and answers with shapes, for the tests of exports."""

from __future__ import annotations

from typing import Any

from harness.core import Answer, Boxes, Objects, Phrase, Polygons, Quads, Question, Sample, Size, Value
from harness.exports.shapes import Picture, shapes_of

SIZE = Size(200, 100)
CATEGORIES = (Phrase("cat"), Phrase("dog"))
TRIANGLE = ((20.0, 10.0), (60.0, 10.0), (20.0, 50.0))
QUAD = ((100.0, 20.0), (140.0, 20.0), (140.0, 40.0), (100.0, 40.0))


def detection(name: str = "a.jpg", image: int | None = 7) -> Sample[Any]:
    """A detection sample of two objects, whose categories have the ids 3 and 18."""
    target = Objects(
        xywh=((10.0, 20.0, 30.0, 40.0), (100.0, 10.0, 50.0, 50.0)), categories=(0, 1), areas=(1200.0, 2500.0),
        crowd=(False, False), ids=(3, 18), image=image,
    )  # fmt: skip
    return Sample(name, Question(name, SIZE, "detect", "", CATEGORIES), target, name)


def found() -> Boxes:
    """Both objects, the second one partly outside the image, with scores."""
    boxes = ((10.0, 20.0, 40.0, 60.0), (150.0, -10.0, 240.0, 60.0))
    return Boxes(boxes, ("cat", "dog"), (0.5, 0.8), (0.5, 1.0))


def answer(value: Value | None) -> Answer:
    return Answer(("raw",), value)


def shown(*values: tuple[str, Value], size: Size = SIZE) -> list[Picture]:
    """One image `a.jpg` with the shapes of answers to questions of these kinds."""
    picture = Picture("a.jpg", size)
    for kind, value in values:
        picture.shapes += shapes_of(Question("a.jpg", size, kind, "the <red> cat"), value)  # type: ignore[arg-type]
    return [picture]


def everything() -> list[Picture]:
    """One image with two boxes, an outline of two rings, and a line of text."""
    second = ((80.0, 60.0), (90.0, 60.0), (90.0, 70.0))
    return shown(
        ("detect", found()), ("segment", Polygons((TRIANGLE, second))), ("ocr_regions", Quads((QUAD,), ("STOP & go",))),
    )  # fmt: skip
