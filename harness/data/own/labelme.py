"""LabelMe's format: a JSON file for each image, usually beside it.

Rectangles, polygons, circles and rotated rectangles are objects; an object's box is that around its points.  Shapes
with the same label and `group_id` are the parts of one object, as in LabelMe's own conversion to COCO.  Points, lines
and other shapes are no objects, and are noted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.core import Size
from harness.data import files
from harness.data.own.content import Content, Flat, Notes, Picture, Thing, bounds, split_of
from harness.data.own.listing import below, listed
from harness.errors import DataError

CORNERS = 64  # of the polygon that stands for a circle
OUTLINES = ("polygon", "rotation")
SUFFIXES = (".json",)


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    group_id: int | str | None = None


class _File(msgspec.Struct):
    shapes: list[_Shape]
    imagePath: str
    imageWidth: int | None = None
    imageHeight: int | None = None


class _Any(msgspec.Struct):
    shapes: msgspec.Raw = msgspec.Raw(b"")


def read(annotations: Path, images: Path, notes: Notes) -> Content:
    """The content of all JSON files below a folder, or of one file; files of another kind are left out and noted."""
    pictures = []
    for path in sources(annotations, images):
        data = files.read(path, "")
        if data.lstrip()[:1] == b"[" or not bytes(files.decode(data, _Any, path).shapes):
            notes.note("JSON files without shapes, left out", path.name)
            continue
        content = files.decode(data, _File, path)
        stated = content.imagePath.replace("\\", "/")
        name = below(images, path.parent / stated)
        if name is None or not stated:
            raise DataError(
                f"{path}: imagePath {content.imagePath!r} is not below {images}; --images names the folder of images"
            )
        width, height = content.imageWidth, content.imageHeight
        size = Size(width, height) if width and height else None
        pictures.append(Picture(name, split_of(name), size, things=list(_things(content.shapes, path, notes))))
    if not pictures:
        raise DataError(f"{annotations} has no JSON file of LabelMe, which has `shapes` and an `imagePath`")
    return Content(pictures)


def _things(shapes: list[_Shape], path: Path, notes: Notes) -> Iterator[Thing]:
    parts: dict[tuple[str, int | str], list[tuple[Flat, bool]]] = {}
    for number, shape in enumerate(shapes):
        outline = _outline(shape)
        if outline is None:
            problem = f"shapes of type {shape.shape_type or 'polygon'} that are no objects, left out"
            notes.note(problem, f"{path.name}: {shape.label}")
            continue
        key = (shape.label, f"shape {number}" if shape.group_id is None else shape.group_id)
        parts.setdefault(key, []).append(outline)
    for (label, _), outlines in parts.items():
        rings = tuple(ring for ring, _ in outlines)
        only_boxes = all(is_box for _, is_box in outlines) and len(outlines) == 1
        yield Thing(label, bounds(rings), () if only_boxes else rings)


def _outline(shape: _Shape) -> tuple[Flat, bool] | None:
    """The outline of a shape, and whether it is a plain box; None for a shape that is no object."""
    kind, points = shape.shape_type or "polygon", shape.points
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points  # any two opposite corners
        return (left, top, right, top, right, bottom, left, bottom), True
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        turns = (2 * math.pi * corner / CORNERS for corner in range(CORNERS))
        return tuple(
            value for turn in turns for value in (x + radius * math.cos(turn), y + radius * math.sin(turn))
        ), False
    if kind in OUTLINES and len(points) >= 3:
        return tuple(value for point in points for value in point), False
    if kind == "rectangle" and len(points) == 4:
        return tuple(value for point in points for value in point), True
    return None


def sources(annotations: Path, images: Path) -> list[Path]:
    """The files that the content comes from."""
    return [annotations] if annotations.is_file() else [annotations / name for name in listed(annotations, SUFFIXES)]
