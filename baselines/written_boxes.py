"""Reads boxes that a model wrote as text, and converts them to pixels of the original image.

    from_json    objects with `bbox_2d`, four numbers, and perhaps `label`: in a list, in prose or in a code block
    from_lists   [x1, y1, x2, y2], four numbers in brackets; `<ref>label</ref>` before them is their label

Any text is accepted.  A box that is cut off, or holds anything but four finite numbers, is dropped; the others count.
Boxes may be inverted, and stay as they are written.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from harness.core import Box, Size

LONGEST = 1 << 16  # characters of an answer that are read
_NUMBER = r"\s*(-?\d{1,15}(?:\.\d{1,15})?)\s*"
_FOUR = re.compile(r"<ref>([^<>]{0,1000})</ref>|\[" + ",".join([_NUMBER] * 4) + r"\]")
_NONE = re.compile(r"(?:```(?:json)?)?[\s\[\]]*\[\s*\][\s\[\]]*(?:```)?")
_FLAT = re.compile(r"\{[^{}]{0,2000}\}")


class WrittenBox(NamedTuple):
    """A box in the coordinates in which it was written, its label or "", and the place of both in the text."""

    box: Box
    label: str
    start: int
    end: int


def from_json(text: str, keys: Sequence[str] = ("label",)) -> list[WrittenBox]:
    """Every object of the text with a box; read one at a time, so that one that is cut off spoils no other.

    The label is under the first of `keys` that an object has.  An object in Python's notation (single quotes) is read
    too, as in Qwen's evaluation of ODinW.
    """
    return list(_objects(text[:LONGEST], keys))


def from_lists(text: str) -> list[WrittenBox]:
    """Every list of four numbers of the text."""
    return list(_lists(text[:LONGEST]))


def says_none(text: str) -> bool:
    """Whether the text is an empty list, which says that there is no box."""
    return _NONE.fullmatch(text[:LONGEST].strip()) is not None


def to_pixels(box: Box, extent: tuple[float, float], size: Size) -> Box:
    """A box in pixels of the original image of `size`, clipped to the image.

    `extent` is the right and the bottom edge of the image in the coordinates of the box, such as (1000, 1000).
    """
    across, down = size.width / extent[0], size.height / extent[1]
    left, top, right, bottom = box
    return (
        _within(left * across, size.width),
        _within(top * down, size.height),
        _within(right * across, size.width),
        _within(bottom * down, size.height),
    )


def from_pixels(box: Box, extent: tuple[float, float], size: Size) -> list[int]:
    """A box in pixels as whole numbers of a model's coordinates, inside the image: `to_pixels` up to half a unit."""
    left, top, right, bottom = box
    across, down = extent[0] / size.width, extent[1] / size.height
    edges = (left * across, top * down, right * across, bottom * down)
    return [round(min(max(edge, 0.0), extent[place % 2])) for place, edge in enumerate(edges)]


def _within(value: float, side: int) -> float:
    return min(max(value, 0.0), float(side))


def _objects(text: str, keys: Sequence[str]) -> Iterator[WrittenBox]:
    place = text.find("{")
    while place >= 0:
        value, end = _object(text, place)
        box = _four(value.get("bbox_2d")) if isinstance(value, dict) else None
        if box is None:
            end = place + 1  # another object may be inside
        else:
            yield WrittenBox(box, _label(value, keys), place, end)
        place = text.find("{", end)


def _object(text: str, place: int) -> tuple[Any, int]:
    """The object that begins at a place, and its end; None if there is none."""
    try:
        return json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):
        flat = _FLAT.match(text, place)
    if flat is None:
        return None, place
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            return ast.literal_eval(flat[0]), flat.end()
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None, place


def _label(value: dict[str, Any], keys: Sequence[str]) -> str:
    label = next((value[key] for key in keys if key in value), None)
    return label.strip().encode("utf-8", "replace").decode() if isinstance(label, str) else ""


def _four(value: object) -> Box | None:
    """Four finite numbers as a box, else None."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in value):
        return None
    try:
        left, top, right, bottom = map(float, value)
    except OverflowError:
        return None
    return (left, top, right, bottom) if all(map(math.isfinite, (left, top, right, bottom))) else None


def _lists(text: str) -> Iterator[WrittenBox]:
    label = ""
    for match in _FOUR.finditer(text):
        if match[1] is not None:
            label = match[1].strip()
        else:
            left, top, right, bottom = map(float, match.groups()[1:])
            yield WrittenBox((left, top, right, bottom), label, match.start(), match.end())
