"""Values as plain lists that a page can draw.  Coordinates are pixels of the original image, with two decimals.

A shape is a dictionary:

    kind     "box" (left, top, right, bottom), "ring" (x, y of each vertex; quads too), or "mask"
    points   the flat list of coordinates; for a mask, its width and height
    label    the text of the shape, "" without one
    score    the confidence of a box, or None
    counts   for a mask: COCO's compressed run-length code
    crowd    true for an annotated crowd
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from harness.core import Boxes, Embedding, Grounded, Mask, Match, Objects, Phrase, Polygons, Quads, Text, Value

MOST = 500  # shapes of one value that a page draws


def shapes_of(value: Value | None, phrases: Sequence[Phrase] = ()) -> list[dict[str, Any]]:
    """The shapes of a value, at most `MOST`; none for text.  `phrases` are those of the question."""
    return [shape for shape, _ in zip(_shapes(value, phrases), range(MOST), strict=False)]


def texts_of(value: Value | None) -> list[str]:
    """What a page says about a value that is not drawn; empty for shapes."""
    if isinstance(value, Text):
        return list(value.texts)
    if isinstance(value, Match):
        return [f"match {value.score:.4g}"]
    return [repr(value)] if isinstance(value, Embedding) else []


def _shapes(value: Value | None, phrases: Sequence[Phrase]) -> Iterable[dict[str, Any]]:
    if isinstance(value, Boxes):
        for place, box in enumerate(value.boxes):
            label = value.labels[place] if place < len(value.labels) else ""
            yield _shape("box", box, label, value.region_scores[place] if value.region_scores else None)
    elif isinstance(value, Objects):
        for box, category, crowd in zip(value.boxes, value.categories, value.crowd, strict=True):
            name = phrases[category].text if category < len(phrases) else ""
            yield _shape("box", box, name) | ({"crowd": True} if crowd else {})
    elif isinstance(value, Grounded):
        for place, boxes in enumerate(value.boxes):
            name = phrases[place].text if place < len(phrases) else ""
            yield from (_shape("box", box, name) for box in boxes)
    elif isinstance(value, Quads):
        for place, quad in enumerate(value.quads):
            label = value.labels[place] if place < len(value.labels) else ""
            yield _shape("ring", [number for point in quad for number in point], label)
    elif isinstance(value, Polygons):
        for ring in value.rings:
            yield _shape("ring", [number for point in ring for number in point])
    elif isinstance(value, Mask):
        yield _shape("mask", value.size) | {"counts": value.counts.decode("ascii")}


def _shape(kind: str, points: Iterable[float], label: str = "", score: float | None = None) -> dict[str, Any]:
    shape: dict[str, Any] = {"kind": kind, "points": [round(number, 2) for number in points]}
    if label:
        shape["label"] = label
    if score is not None:
        shape["score"] = round(score, 4)
    return shape
