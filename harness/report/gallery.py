"""A gallery of predictions on their images, the worst first (colours: `overlay`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from harness.comparison import goodness
from harness.core import Mask, Polygons, Question, Ring, Row, Text, Value
from harness.errors import DataError
from harness.geometry import masks
from harness.images import open_rgb
from harness.report.overlay import overlay, rings_of

OUTCOMES = ("unparsable", "wrong", "partly correct", "correct")
PARTLY_CORRECT, CORRECT = 0.5, 0.9  # least score of each outcome
LONGEST = 2000  # characters of a model's output that the page shows


class GalleryImage(NamedTuple):
    """An image of a gallery with its caption."""

    file: str
    sample: str
    question: str
    score: str  # as shown: name and percent
    value: float  # the score, 0 to 1
    outcome: str  # one of OUTCOMES
    size: str  # COCO's size class of the target: small, medium, large; "" for a target without area
    mistakes: str  # error types of `breakdown`, separated by spaces
    target: str  # the texts of the target; "" if the target is drawn
    output: str  # the output of the model
    readable: bool
    problem: str = ""  # the reason why there is no file


def chosen(rows: Sequence[Row[Any]], count: int) -> list[Row[Any]]:
    """At most `count` rows, the worst score first.

    Half of them have the worst scores, one row per image.  The others are spread evenly over `rows`, so that every run
    on the same samples with the same `count` shows them.
    """
    ordered = sorted(rows, key=_rank)
    if len(ordered) <= count:
        return ordered
    by_image: dict[str, Row[Any]] = {}
    for row in ordered:
        by_image.setdefault(row.sample.cluster, row)
    worst = list(by_image.values())[: (count + 1) // 2]
    even = np.linspace(0, len(rows) - 1, count - len(worst)).round().astype(int)
    both = {row.sample.id: row for row in (*worst, *(rows[place] for place in even))}
    return sorted(both.values(), key=_rank)


def write(
    rows: Sequence[Row[Any]], root: Path, folder: Path, count: int, mistakes: Mapping[str, Sequence[str]] | None = None
) -> list[GalleryImage]:
    """Draws at most `count` rows into a folder as JPEG; returns their gallery images.

    `root` is the data root, and `mistakes` has the error types by sample id.  An image that is missing or cannot be
    decoded gets no file; its `problem` says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    selected = chosen(rows, count)
    images = images_of(selected, mistakes or {})
    for place, (row, image) in enumerate(zip(selected, images, strict=True)):
        try:
            draw(row, root).save(folder / image.file, "JPEG", quality=88)
        except DataError as error:
            images[place] = image._replace(problem=str(error))
    return images


def images_of(rows: Sequence[Row[Any]], mistakes: Mapping[str, Sequence[str]]) -> list[GalleryImage]:
    """The gallery images of these rows, in order; draws nothing."""
    images = []
    for place, row in enumerate(rows):
        score = f"{next(iter(row.score.values))} {100 * goodness(row):.0f}"
        images.append(
            GalleryImage(
                f"{place:03d}.jpg",
                row.sample.id,
                _question(row.sample.question),
                score,
                round(goodness(row), 4),
                outcome(row),
                object_size(row.sample.target),
                " ".join(mistakes.get(row.sample.id, ())),
                _target(row),
                " ".join(row.answer.raw)[:LONGEST],
                row.score.readable,
            )
        )
    return images


def outcome(row: Row[Any]) -> str:
    """One of OUTCOMES: "correct" from a score of 0.9, "partly correct" from 0.5."""
    if not row.score.readable:
        return "unparsable"
    value = goodness(row)
    return "correct" if value >= CORRECT else "partly correct" if value >= PARTLY_CORRECT else "wrong"


def object_size(target: Value | None) -> str:
    """COCO's size class of the target's object, or of its largest box; "" for a target without area, such as text."""
    if isinstance(target, Mask):
        areas = [float(masks.area(target))]
    else:
        areas = [abs(_area(ring)) for ring in rings_of(target)]
        areas = [sum(areas)] if isinstance(target, Polygons) else areas  # one object; each of its parts is a ring
    return size_of(max(areas, default=0.0))


def size_of(area: float) -> str:
    """COCO's size class of an area in square pixels: small below 32², medium below 96², large above; "" for 0."""
    return "" if not area else "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def _area(ring: Ring) -> float:
    """The signed area of a closed line (shoelace formula)."""
    turned = [*ring[1:], ring[0]]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, turned, strict=True)) / 2


def _question(question: Question) -> str:
    """The text of a question, else the names of the objects to find, else the kind of question."""
    if question.kind == "find":
        return ", ".join(phrase.text for phrase in question.phrases)
    return question.text or question.kind


def _target(row: Row[Any]) -> str:
    """The three most frequent texts of a text target; "" for a target that is drawn."""
    target = row.sample.target
    return " | ".join(text for text, _ in Counter(target.texts).most_common(3)) if isinstance(target, Text) else ""


def draw(row: Row[Any], root: Path) -> Image.Image:
    """The image of a sample with the region of the question, the target and the answer.

    The image of a caption that is searched with is the right one, whose path is the sample's cluster.

    DataError if the image is missing or cannot be decoded, or a mask is of another size.
    """
    question = row.sample.question
    image = open_rgb(root, question.image or row.sample.cluster)
    first = question.kind == "refer"  # only the first box answers a referring expression
    try:
        return overlay(image, row.answer.value, row.sample.target, region=question.region, first=first, labels=False)
    except ValueError as error:
        raise DataError(f"{question.image_name} cannot be drawn: {error}") from error


def _rank(row: Row[Any]) -> tuple[bool, float, str]:
    return (row.score.readable, goodness(row), row.sample.id)
