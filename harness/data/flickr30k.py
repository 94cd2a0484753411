"""Flickr30k Entities: sentences with phrases, and the boxes of what each phrase is about.

    flickr30k/val.txt, test.txt           the images of a split, a line each
    flickr30k/Sentences/<image>.txt       up to five sentences: [/EN#<chain>/<type>/... the words] marks a phrase
    flickr30k/Annotations/<image>.xml     a box names one chain or several; a chain may have several boxes
    flickr30k/flickr30k-images/<image>.jpg

Coordinates are taken as they stand: the files count pixels from 1, and MDETR, GLIP and Kosmos-2 do not subtract it.
A chain without boxes (a scene, something not visible) is not evaluated, nor is a sentence without any that has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec

from harness.core import Answer, Box, Grounded, Phrase, PredictionFormat, Row, Sample, Size
from harness.data import files
from harness.errors import DataError
from harness.geometry.boxes import is_finite, is_plausible

ORIGIN = "https://github.com/BryanPlummer/flickr30k_entities (annotations.zip)"
IMAGES = "flickr30k-images"
_MARKED = re.compile(r"\[/EN#(\d+)((?:/[^\s/\]]+)+)((?:\s[^\]]*)?)\]")


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence, its phrases that have boxes, and those boxes with the phrases' types."""

    image: str
    number: int  # its line, from 0
    size: Size
    text: str
    phrases: tuple[Phrase, ...]
    target: Grounded


def read(folder: Path, split: str) -> Iterator[Sentence]:
    """The sentences of a split, in the order of its list; those without a box are left out.

    DataError where a file is missing or malformed, naming it and the line.
    """
    listed = folder / f"{split}.txt"
    for image in files.by_id(_lines(listed), str.strip, listed, "image"):
        size, boxes = read_boxes(folder / "Annotations" / f"{image}.xml")
        path = folder / "Sentences" / f"{image}.txt"
        for number, line in enumerate(_lines(path, empty=True)):
            if not line.strip():
                continue
            text, marked = read_sentence(line, f"{path}, line {number + 1}")
            shown = [(phrase, types, boxes[chain]) for phrase, chain, types in marked if chain in boxes]
            if shown:
                target = Grounded(tuple(found for _, _, found in shown), tuple(types for _, types, _ in shown))
                yield Sentence(image, number, size, text, tuple(phrase for phrase, _, _ in shown), target)


def _lines(path: Path, *, empty: bool = False) -> list[str]:
    """A file's lines, empty ones too where their place counts."""
    try:
        return [line for line in files.read(path, ORIGIN).decode("utf-8").split("\n") if empty or line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}; take it again from {ORIGIN}") from error


def read_sentence(line: str, where: str) -> tuple[str, list[tuple[Phrase, str, tuple[str, ...]]]]:
    """The plain text, and each phrase with its chain and types; DataError where a mark is not closed or empty."""
    text, phrases, end = "", [], 0
    line = " ".join(line.split())
    for match in _MARKED.finditer(line):
        text += line[end : match.start()]
        words = match[3].strip()
        phrase = Phrase(words, len(text), len(text) + len(words))
        phrases.append((phrase, match[1], tuple(match[2].strip("/").split("/"))))
        text += words
        end = match.end()
    text += line[end:]
    if "/EN#" in text or any(not phrase.text for phrase, _, _ in phrases):
        raise DataError(f"{where}: a phrase is not marked as [/EN#chain/type words]; take the file from {ORIGIN}")
    return text, phrases


def read_boxes(path: Path) -> tuple[Size, dict[str, tuple[Box, ...]]]:
    """An image's size and the boxes of each chain; DataError where the file is not as expected."""
    try:
        root = ElementTree.fromstring(files.read(path, ORIGIN))
        size = Size(int(_text(root, "size/width")), int(_text(root, "size/height")))
        if min(size) < 1:
            raise ValueError(f"its image is {size.width} x {size.height} pixels")
        boxes: dict[str, list[Box]] = {}
        for thing in root.iterfind("object"):
            corners = thing.find("bndbox")
            if corners is None:
                continue
            left, top, right, bottom = (float(_text(corners, side)) for side in ("xmin", "ymin", "xmax", "ymax"))
            if not is_plausible((left, top, right, bottom)):
                raise ValueError(f"a box runs from ({left:g}, {top:g}) to ({right:g}, {bottom:g})")
            for name in thing.iterfind("name"):
                boxes.setdefault((name.text or "").strip(), []).append((left, top, right, bottom))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not as expected: {error}; take it again from {ORIGIN}") from error
    return size, {chain: tuple(found) for chain, found in boxes.items()}


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return found


# ---------------------------------------------------------------------------- predictions


class _Entry(msgspec.Struct):
    image_id: str | int
    sentence_id: int
    boxes: list[list[tuple[float, float, float, float]]]


def _read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    entries = [(f"{one.image_id}/{one.sentence_id}", one.boxes) for one in files.predictions(path, list[_Entry])]
    return files.one_each(path, entries, samples, "image_id/sentence_id", _answer)


def _answer(boxes: list[list[Box]], sample: Sample[Any]) -> Answer:
    wanted = len(sample.question.phrases)
    if len(boxes) != wanted:
        raise ValueError(f"it has boxes for {len(boxes)} phrases; the sentence has {wanted} that are evaluated")
    for place, box in enumerate(box for found in boxes for box in found):
        if not is_plausible(box):
            raise ValueError(f"box {place} is {list(box)}; it is [x0, y0, x1, y1]")
    return Answer((f"{boxes}",), Grounded(tuple(map(tuple, boxes))))


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    entries = []
    for row in rows:
        image, _, number = row.sample.id.partition("/")
        value = row.answer.value
        boxes = value.boxes if isinstance(value, Grounded) else ((),) * len(row.sample.question.phrases)
        proper = [[_proper(box) for box in found if is_finite(box)] for found in boxes]
        entries.append({"image_id": image, "sentence_id": int(number), "boxes": proper})
    files.write(path, entries)


def _proper(box: Box) -> Box:
    """Of an inverted box nothing is left, here as in scores; it keeps its place among the guesses."""
    left, top, right, bottom = box
    return (left, top, max(left, right), max(top, bottom))


BOXES = PredictionFormat(
    'JSON: [{"image_id": "1007129816", "sentence_id": 0, "boxes": [[[x0, y0, x1, y1], ...best first], ...]}, ...], one '
    "list for each phrase that has boxes, in order; sentence_id is its line, from 0",
    _read,
    _write,
)
