"""The shapes of predictions by image: boxes and outlines with a label, and a score where the model gives one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness import images
from harness.core import (
    Answer,
    Box,
    Boxes,
    Grounded,
    Mask,
    Objects,
    Polygons,
    Quads,
    Question,
    Ring,
    Sample,
    Size,
    Value,
)
from harness.errors import UsageError
from harness.geometry.masks import pixels
from harness.geometry.outlines import outline

OBJECT = "object"  # the label of a shape whose question and answer name nothing
TEXT = "text"  # the label of a line of text


@dataclass(frozen=True, slots=True)
class Shape:
    """A box, or an outline with one ring for each part, in pixels of the original image.

    `rings` is () for a box.  `box` surrounds the rings.  `score` is from 0 to 1; None where the model gives none.
    `text` is what a line of text says.  `value` is the mask or the polygons that the rings come from, if any.
    """

    label: str
    box: Box
    rings: tuple[Ring, ...] = ()
    score: float | None = None
    text: str = ""
    value: Polygons | Mask | None = None


@dataclass(slots=True)
class Picture:
    """An image with its shapes; `number` is its id in the annotation file, where that is a whole number."""

    name: str
    size: Size
    number: int | None = None
    shapes: list[Shape] = field(default_factory=list)


def pictures(samples: Sequence[Sample[Any]], answers: Mapping[str, Answer], root: Path, task: str) -> list[Picture]:
    """The images of the samples with the shapes of all their answers, in order of first appearance.

    An image without shapes stays.  UsageError where no kind of question of the samples has shapes, such as captions.
    DataError for an image whose size has to be read and cannot be.
    """
    shown: dict[str, Picture] = {}
    if not any(_has_shapes(sample.question) for sample in samples):
        raise UsageError(f"{task} has no boxes, outlines or masks to export; `export RUN FILE` writes its own format")
    for sample in samples:
        question = sample.question
        if question.image_name not in shown:
            size = question.size or images.size_of(root, question.image_name)
            number = sample.target.image if isinstance(sample.target, Objects) else None
            whole = number if isinstance(number, int) else None
            shown[question.image_name] = Picture(question.image_name, size, whole)
        if sample.id in answers:
            shown[question.image_name].shapes += shapes_of(question, answers[sample.id].value)
    return list(shown.values())


def shapes_of(question: Question, value: Value | None) -> list[Shape]:
    """The shapes of an answer; [] for an unparsable one and for one without shapes.

    A shape with a coordinate that is not finite, or without an area, is left out.
    """
    shapes: list[Shape] = []
    name = question.text or (question.phrases[0].text if len(question.phrases) == 1 else OBJECT)
    if isinstance(value, Boxes):
        ones = (1.0,) * len(value.boxes)
        scored = value.region_scores is not None or value.label_scores is not None
        scores = zip(value.region_scores or ones, value.label_scores or ones, strict=True)
        labels = value.labels or (name,) * len(value.boxes)
        shapes = [
            Shape(label or name, box, score=region * word if scored else None)
            for box, label, (region, word) in zip(value.boxes, labels, scores, strict=True)
        ]
    elif isinstance(value, Grounded):
        shapes = [
            Shape(phrase.text, box)
            for phrase, boxes in zip(question.phrases, value.boxes, strict=True)
            for box in boxes
        ]  # fmt: skip
    elif isinstance(value, Quads):
        texts = value.labels or ("",) * len(value.quads)
        shapes = [
            Shape(TEXT, around((quad,)), (quad,), text=text) for quad, text in zip(value.quads, texts, strict=True)
        ]
    elif isinstance(value, Polygons | Mask):
        rings = outline(pixels(value)) if isinstance(value, Mask) else value.rings
        rings = tuple(ring for ring in rings if len(ring) > 2)
        shapes = [Shape(name, around(rings), rings, value=value)] if rings else []
    return [shape for shape in shapes if has_area(shape.box)]


def around(rings: Iterable[Ring]) -> Box:
    """The smallest box around rings, of which there is at least one point."""
    xs, ys = zip(*(point for ring in rings for point in ring), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def clipped(box: Box, size: Size) -> Box:
    """The part of a box inside its image."""
    left, top, right, bottom = box
    return (
        min(max(left, 0.0), size.width), min(max(top, 0.0), size.height),
        min(max(right, 0.0), size.width), min(max(bottom, 0.0), size.height),
    )  # fmt: skip


def inside(shown: Iterable[Picture]) -> list[Picture]:
    """The images with their shapes clipped to them, for tools that refuse others; shapes outside are left out."""
    return [
        Picture(picture.name, picture.size, picture.number, [
            shape for whole in picture.shapes if has_area((shape := _clipped_shape(whole, picture.size)).box)
        ])
        for picture in shown
    ]  # fmt: skip


def _clipped_shape(shape: Shape, size: Size) -> Shape:
    rings = tuple(tuple(clipped((*point, *point), size)[:2] for point in ring) for ring in shape.rings)
    return replace(shape, box=around(rings) if rings else clipped(shape.box, size), rings=rings, value=None)


def labels_of(shown: Iterable[Picture]) -> list[str]:
    """The labels of all shapes, each once, in alphabetical order."""
    return sorted({shape.label for picture in shown for shape in picture.shapes})


def _has_shapes(question: Question) -> bool:
    return question.kind in {
        "detect", "find", "ground", "refer", "segment", "ocr_regions", "outline", "regions", "propose",
    }  # fmt: skip


def has_area(box: Box) -> bool:
    """Whether the edges of a box are finite and it is not empty."""
    return all(map(math.isfinite, box)) and box[0] < box[2] and box[1] < box[3]
