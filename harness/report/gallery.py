"""Pictures of answers: the target in green, the answer in magenta, a question's region in blue, the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from harness.comparison import goodness
from harness.core import Mask, Polygons, Question, Row, Text, Value
from harness.errors import DataError
from harness.geometry import masks
from harness.images import open_rgb
from harness.report.overlay import lines_of, overlay

OUTCOMES = ("unreadable", "wrong", "partly right", "right")
PARTLY, RIGHT = 0.5, 0.9  # of a score
LONGEST = 2000  # letters shown of what a model wrote


class Picture(NamedTuple):
    """One picture of a gallery and what stands below it."""

    file: str
    sample: str
    asked: str
    score: str
    value: float  # the score, a share
    outcome: str  # of OUTCOMES
    size: str  # of what the target shows, as COCO has it: small, medium, large; '' where it shows nothing
    mistakes: str  # kinds of them, as `breakdown` has them, with spaces between; '' where there is none
    wanted: str
    wrote: str
    readable: bool
    lacking: str = ""  # why there is no file


def chosen(rows: Sequence[Row[Any]], count: int) -> list[Row[Any]]:
    """Half of `count` the worst (one of an image), the rest of it samples that are the same in every run of so many.

    In order of their score.
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
) -> list[Picture]:
    """Draws the chosen rows into a folder as JPEG; the pictures by file name within it.  `mistakes` are by sample.

    A picture that is not there, or cannot be read, is told in its place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = chosen(rows, count)
    pictures = pictures_of(drawn, mistakes or {})
    for place, (row, picture) in enumerate(zip(drawn, pictures, strict=True)):
        try:
            draw(row, root).save(folder / picture.file, "JPEG", quality=88)
        except DataError as error:
            pictures[place] = picture._replace(lacking=str(error))
    return pictures


def pictures_of(rows: Sequence[Row[Any]], mistakes: Mapping[str, Sequence[str]]) -> list[Picture]:
    """What stands below the pictures of these rows, and what their files are called."""
    pictures = []
    for place, row in enumerate(rows):
        score = f"{next(iter(row.score.values))} {100 * goodness(row):.0f}"
        pictures.append(
            Picture(
                f"{place:03d}.jpg",
                row.sample.id,
                _asked(row.sample.question),
                score,
                round(goodness(row), 4),
                outcome(row),
                object_size(row.sample.target),
                " ".join(mistakes.get(row.sample.id, ())),
                _wanted(row),
                " ".join(row.answer.raw)[:LONGEST],
                row.score.readable,
            )
        )
    return pictures


def outcome(row: Row[Any]) -> str:
    """One of OUTCOMES: half and more of the score is partly right, nine tenths and more right."""
    if not row.score.readable:
        return "unreadable"
    value = goodness(row)
    return "right" if value >= RIGHT else "partly right" if value >= PARTLY else "wrong"


def object_size(target: Value | None) -> str:
    """By the area of a target's object, or its largest box (square pixels, as COCO's words have it); '' for words."""
    if isinstance(target, Mask):
        areas = [float(masks.area(target))]
    else:
        areas = [abs(_area(line)) for line in lines_of(target)]
        areas = [sum(areas)] if isinstance(target, Polygons) else areas  # one object, a ring for each of its parts
    return size_of(max(areas, default=0.0))


def size_of(area: float) -> str:
    """COCO's word for an area in square pixels; '' for none."""
    return "" if not area else "small" if area < 32**2 else "medium" if area < 96**2 else "large"


def _area(ring: Sequence[tuple[float, float]]) -> float:
    """Of a closed line, by the shoelace formula."""
    turned = [*ring[1:], ring[0]]
    return sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, turned, strict=True)) / 2


def _asked(question: Question) -> str:
    """The question's text, or the names of what is to be found, or the kind of question."""
    if question.kind == "find":
        return ", ".join(phrase.text for phrase in question.phrases)
    return question.text or question.kind


def _wanted(row: Row[Any]) -> str:
    """What people said, the most frequent first; '' where that is drawn."""
    target = row.sample.target
    return " | ".join(text for text, _ in Counter(target.texts).most_common(3)) if isinstance(target, Text) else ""


def draw(row: Row[Any], root: Path) -> Image.Image:
    """The image of a sample with the question's region, the target and the answer drawn on it."""
    image = open_rgb(root, row.sample.question.image)
    question = row.sample.question
    first = question.kind == "refer"  # the first box is the answer to an expression
    return overlay(image, row.answer.value, row.sample.target, region=question.region, first=first, labels=False)


def _rank(row: Row[Any]) -> tuple[bool, float, str]:
    return (row.score.readable, goodness(row), row.sample.id)
