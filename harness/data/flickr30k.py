"""Flickr30k Entities: sentences with marked phrases, and the boxes of each phrase.

    flickr30k/val.txt, test.txt           the images of a split, one for each line
    flickr30k/Sentences/<image>.txt       up to five sentences; [/EN#<chain>/<type>/... the words] marks a phrase
    flickr30k/Annotations/<image>.xml     boxes; a box names one or several chains, and a chain may have several boxes
    flickr30k/flickr30k-images/<image>.jpg

Coordinates are not converted.  The files count pixels from 1; MDETR, GLIP and Kosmos-2 do not subtract 1 either.
A chain without boxes (a scene, or something invisible) is not evaluated.  A sentence without any evaluated phrase is
left out.
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
    """One sentence with its evaluated phrases; `target` has the boxes and types of each phrase, in pixels."""

    image: str
    number: int  # the line in the image's file, from 0
    size: Size
    text: str
    phrases: tuple[Phrase, ...]
    target: Grounded


def read(folder: Path, split: str, origin: str = ORIGIN) -> Iterator[Sentence]:
    """The sentences of a split that have an evaluated phrase, in the order of the split's list.

    The origin of a user's own files is "".

    DataError, naming the file and the line, if a file is missing or malformed.
    """
    split_file = folder / f"{split}.txt"
    for image in files.by_id(_lines(split_file, origin), str.strip, split_file, "image"):
        if "/" in image:
            raise DataError(f"{split_file} names the image {image!r}, which is not the name of a file without a folder")
        size, boxes = read_boxes(folder / "Annotations" / f"{image}.xml", origin)
        path = folder / "Sentences" / f"{image}.txt"
        for number, line in enumerate(_lines(path, origin, empty=True)):
            if not line.strip():
                continue
            text, marked = read_sentence(line, f"{path}, line {number + 1}", origin)
            evaluated = [(phrase, types, boxes[chain]) for phrase, chain, types in marked if chain in boxes]
            if evaluated:
                phrases, types, boxes_of_phrases = zip(*evaluated, strict=True)
                yield Sentence(image, number, size, text, phrases, Grounded(boxes_of_phrases, types))


def _lines(path: Path, origin: str, *, empty: bool = False) -> list[str]:
    """The lines of a file; with `empty` also empty ones, whose numbers count."""
    try:
        text = files.utf8(files.read(path, origin), path).decode("utf-8")
        return [line for line in text.split("\n") if empty or line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: {error}; {files.remedy(origin)}") from error


def read_sentence(line: str, where: str, origin: str = ORIGIN) -> tuple[str, list[tuple[Phrase, str, tuple[str, ...]]]]:
    """The text without marks, and each phrase with its chain and types.

    `where` names the line in messages.  DataError if a mark is not closed, or its phrase is empty.
    """
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
        raise DataError(f"{where}: a phrase is not marked as [/EN#chain/type words]; {files.remedy(origin)}")
    return text, phrases


def read_boxes(path: Path, origin: str = ORIGIN) -> tuple[Size, dict[str, tuple[Box, ...]]]:
    """The size of an image, and the boxes of each chain in pixels; DataError if the file is missing or malformed."""
    try:
        root = ElementTree.fromstring(files.read(path, origin))
        size = Size(int(_text(root, "size/width")), int(_text(root, "size/height")))
        if min(size) < 1:
            raise ValueError(f"its image is {size.width} x {size.height} pixels")
        boxes: dict[str, list[Box]] = {}
        for element in root.iterfind("object"):
            corners = element.find("bndbox")
            if corners is None:
                continue
            left, top, right, bottom = (float(_text(corners, side)) for side in ("xmin", "ymin", "xmax", "ymax"))
            if not is_plausible((left, top, right, bottom)):
                raise ValueError(f"a box runs from ({left:g}, {top:g}) to ({right:g}, {bottom:g})")
            for name in element.iterfind("name"):
                boxes.setdefault((name.text or "").strip(), []).append((left, top, right, bottom))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is not as expected: {error}; {files.remedy(origin)}") from error
    return size, {chain: tuple(of_chain) for chain, of_chain in boxes.items()}


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {path}")
    return text


# ---------------------------------------------------------------------------- predictions


class _Entry(msgspec.Struct):
    image_id: str | int
    sentence_id: int
    boxes: list[list[tuple[float, float, float, float]]]


def _read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    content = files.predictions(path, list[_Entry])
    entries = [(f"{entry.image_id}/{entry.sentence_id}", entry.boxes) for entry in content]
    return files.one_each(path, entries, samples, "image_id/sentence_id", _answer)


def _answer(boxes: list[list[Box]], sample: Sample[Any]) -> Answer:
    expected = len(sample.question.phrases)
    if len(boxes) != expected:
        raise ValueError(f"it has boxes for {len(boxes)} phrases; the sentence has {expected} evaluated phrases")
    for place, box in enumerate(box for of_phrase in boxes for box in of_phrase):
        if not is_plausible(box):
            raise ValueError(f"box {place} is {list(box)}; expected [x0, y0, x1, y1]")
    return Answer((f"{boxes}",), Grounded(tuple(map(tuple, boxes))))


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    entries = []
    for row in rows:
        image, _, number = row.sample.id.partition("/")
        value = row.answer.value
        boxes = value.boxes if isinstance(value, Grounded) else ((),) * len(row.sample.question.phrases)
        finite = [[_without_negative_sides(box) for box in of_phrase if is_finite(box)] for of_phrase in boxes]
        entries.append({"image_id": image, "sentence_id": int(number), "boxes": finite})
    files.write(path, entries)


def _without_negative_sides(box: Box) -> Box:
    """An inverted box as an empty one, which scores the same; the box keeps its rank among the predictions."""
    left, top, right, bottom = box
    return (left, top, max(left, right), max(top, bottom))


BOXES = PredictionFormat(
    'JSON: [{"image_id": "1007129816", "sentence_id": 0, "boxes": [[[x0, y0, x1, y1], ...best first], ...]}, ...], one '
    "list for each phrase that has boxes, in order; sentence_id is the line of the sentence, from 0",
    _read,
    _write,
)
