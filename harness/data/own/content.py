"""What a reader finds in a user's own data, and the problems that it meets on the way."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from harness.core import Noted, Reading, Size, Xywh
from harness.data import files
from harness.errors import DataError

TRAIN, WITHOUT = "train", "val"  # the training split; the split of images that are of none
SPLITS = {  # by the names that tools give them
    "train": TRAIN, "training": TRAIN, "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
Flat = tuple[float, ...]  # an outline as COCO writes it: x, y, x, y, ...


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: its category, its box [x, y, width, height] and its rings, in pixels; `crowd` is never missed."""

    label: str
    xywh: Xywh
    rings: tuple[Flat, ...] = ()
    crowd: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """An expression with the box and the rings of the object that it refers to."""

    text: str
    xywh: Xywh
    rings: tuple[Flat, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with one answer, or with the answers of ten people."""

    text: str
    answers: tuple[str, ...]


@dataclass(slots=True)
class Picture:
    """An image with its annotations.

    - `name` is its path under the folder of images.
    - `size` is the one that the annotations state; None where they state none.
    - `things` is None where objects are not annotated; [] says that there are none in the image.
    """

    name: str
    split: str
    size: Size | None = None
    captions: list[str] = field(default_factory=list)
    things: list[Thing] | None = None
    said: list[Said] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)


class CocoFile(msgspec.Struct):
    """A file in COCO's format whose records are kept as they are, except the names of images."""

    images: list[dict[str, msgspec.Raw]]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw] | None = None


@dataclass(slots=True)
class Content:
    """All images of a data set.

    - `categories` are in the order of the source; [] where the source has no list: then those of the objects, sorted.
    - `official` has the files that are in COCO's format already, by task and split.
    """

    pictures: list[Picture]
    categories: list[str] = field(default_factory=list)
    official: dict[tuple[str, str], CocoFile] = field(default_factory=dict)


class Notes:
    """Problems, each with the number of its cases and the first places; with `strict`, the first is a DataError."""

    def __init__(self, where: Path, *, strict: bool = False) -> None:
        self.where = where
        self.reading = Reading(strict)

    def note(self, problem: str, place: str) -> None:
        """Counts a problem, such as "images that are not there, left out", at a place."""
        if self.reading.strict:
            raise DataError(f"{self.where}: {problem} ({place}); correct it, or leave --strict out")
        noted = self.reading.notes.setdefault(problem, Noted())
        noted.count += 1
        if len(noted.first) < files.FIRST:
            noted.first.append(place)


def split_of(name: str) -> str:
    """The split that a folder of an image's path names, such as valid/images/1.jpg; `WITHOUT` where none does."""
    for part in name.lower().split("/")[:-1]:
        if part in SPLITS:
            return SPLITS[part]
    return WITHOUT


def named_split(name: str, place: str) -> str:
    """A split that a column or a field names; DataError where it cannot be the name of a file."""
    plain = name.strip()
    if not plain:
        return WITHOUT
    if not re.fullmatch(r"\w[\w.-]{0,49}", plain) or plain == "all":
        raise DataError(f"{place}: the split {plain[:60]!r} is no name of letters, digits, _ . and -, or it is 'all'")
    return SPLITS.get(plain.lower(), plain)


def bounds(rings: Iterable[Flat]) -> Xywh:
    """The box [x, y, width, height] around rings that have points."""
    xs = [x for ring in rings for x in ring[::2]]
    ys = [y for ring in rings for y in ring[1::2]]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
