"""JSON lines: a line for each image, or several; all fields but `image` are optional.

    {"image": "a.jpg", "split": "val", "caption": "a red cat"}
    {"image": "a.jpg", "captions": ["a red cat", "a cat on a mat"]}
    {"image": "a.jpg", "objects": [{"label": "cat", "box": [left, top, right, bottom], "polygon": [[x, y], ...]}]}
    {"image": "a.jpg", "expression": "the red cat", "box": [left, top, right, bottom]}
    {"image": "a.jpg", "expressions": [{"text": "the red cat", "polygon": [[x, y], ...]}, ...]}
    {"image": "a.jpg", "question": "what is red?", "answer": "the cat"}
    {"image": "a.jpg", "questions": [{"question": "what is red?", "answers": ["the cat", ... of ten people]}]}

Coordinates are pixels.  `bbox` is COCO's [x, y, width, height] in place of `box`.  `polygons` is a list of outlines.
Without a box, the box is that around the outlines.  `"objects": []` says that an image has no objects.  `file_name` is
read as `image`.  A question has one answer, or the answers of ten people.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Xywh
from harness.data import files
from harness.data.own.content import Asked, Content, Flat, Notes, Picture, Said, Thing, bounds, named_split, split_of
from harness.data.own.listing import full_text_of, name_of
from harness.errors import DataError
from harness.geometry.boxes import from_xywh, is_plausible

TEN = 10
Four = tuple[float, float, float, float]
Points = list[tuple[float, float]]


class _Where(msgspec.Struct, kw_only=True):
    box: Four | None = None
    bbox: Four | None = None
    polygon: Points | None = None
    polygons: list[Points] | None = None


class _Object(_Where, kw_only=True, forbid_unknown_fields=True):
    label: str


class _Expression(_Where, kw_only=True, forbid_unknown_fields=True):
    text: str


class _Question(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    question: str
    answer: str | None = None
    answers: list[str] | None = None


class _Line(_Where, kw_only=True):
    image: str | None = None
    file_name: str | None = None
    split: str | None = None
    caption: str | None = None
    captions: list[str] = []
    objects: list[_Object] | None = None
    expression: str | None = None
    expressions: list[_Expression] = []
    question: str | None = None
    answer: str | None = None
    answers: list[str] | None = None
    questions: list[_Question] = []


FIELDS = frozenset(_Line.__struct_fields__)


def read(annotations: Path, images: Path, notes: Notes) -> Content:
    """The content of a file of lines; fields that are not read are noted.  DataError, naming the line, for others."""
    pictures: dict[tuple[str, str], Picture] = {}
    for number, text in enumerate(full_text_of(annotations).splitlines(), start=1):
        if text.strip():
            _add(pictures, text, f"{annotations} line {number}", notes)
    return Content(list(pictures.values()))


def _add(pictures: dict[tuple[str, str], Picture], text: str, place: str, notes: Notes) -> None:
    """Adds the annotations of a line to those of its image."""
    try:
        record = msgspec.json.decode(text, type=dict[str, Any])
        line = msgspec.convert(record, _Line)
    except files.MALFORMED as error:
        raise DataError(f"{place}: {error}") from error
    for name in record.keys() - FIELDS:
        notes.note("fields that are not read", f"{place}: {name}")
    named = line.image or line.file_name
    if not named:
        raise DataError(f"{place}: there is no `image`")
    name = name_of(named, place)
    split = named_split(line.split, place) if line.split is not None else split_of(name)
    picture = pictures.setdefault((name, split), Picture(name, split))
    captions = [*([line.caption] if line.caption is not None else []), *line.captions]
    picture.captions += captions
    if line.objects is not None:
        things = [Thing(each.label, *_where(each, place)) for each in line.objects]
        picture.things = (picture.things or []) + things
    picture.said += [Said(each.text, *_where(each, place)) for each in line.expressions]
    if line.expression is not None:
        picture.said.append(Said(line.expression, *_where(line, place)))
    elif line.box or line.bbox or line.polygon or line.polygons:
        raise DataError(f"{place}: a box or an outline needs an `expression`, or a place in `objects` with a `label`")
    picture.asked += list(_asked(line, place))


def _asked(line: _Line, place: str) -> Iterator[Asked]:
    for each in line.questions:
        yield asked(each.question, each.answers, each.answer, place)
    if line.question is not None:
        yield asked(line.question, line.answers, line.answer, place)


def asked(question: str, answers: list[str] | None, answer: str | None, place: str) -> Asked:
    """A question with its answers; DataError, naming the place, where there are neither one nor ten."""
    given = [*(answers or []), *([answer] if answer is not None else [])]
    if len(given) not in (1, TEN):
        raise DataError(f"{place}: {len(given)} answers; VQA's accuracy is of one answer, or of those of ten people")
    return Asked(question, tuple(given))


def _where(where: _Where, place: str) -> tuple[Xywh, tuple[Flat, ...]]:
    """The box [x, y, width, height] and the outlines; DataError, naming the place, where there is neither."""
    outlines = [*([where.polygon] if where.polygon else []), *(where.polygons or [])]
    if any(len(outline) < 3 for outline in outlines):
        raise DataError(f"{place}: an outline of fewer than three points")
    rings: tuple[Flat, ...] = tuple(tuple(value for point in outline for value in point) for outline in outlines)
    if where.bbox is not None:
        xywh = where.bbox
    elif where.box is not None:
        left, top, right, bottom = where.box
        xywh = left, top, right - left, bottom - top
    elif rings:
        xywh = bounds(rings)
    else:
        raise DataError(f"{place}: there is no `box`, `bbox` or `polygon`")
    if not is_plausible(from_xywh(xywh)):
        stated = list(where.bbox or where.box or ())
        form = "[x, y, width, height]" if where.bbox is not None else "[left, top, right, bottom]"
        raise DataError(f"{place}: the box {stated} has a negative side or is too large; expected {form}")
    return xywh, rings


def sources(annotations: Path, images: Path) -> list[Path]:
    """The files that the content comes from."""
    return [annotations]
