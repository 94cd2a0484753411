"""A table with a row for each annotation, in UTF-8, separated by a comma, semicolon, tab or bar; the first row names
the columns.

    image,split,caption
    image,split,label,left,top,right,bottom              objects; rows without a label are images without objects
    image,split,expression,left,top,right,bottom
    image,split,question,answer

A table may have several of these; empty cells are not read.  Boxes are pixels.  Other names of columns: `filename` or
`file_name` for `image`; `class` for `label`; xmin, ymin, xmax, ymax for the edges, beside which width and height are
those of the image (as in TensorFlow's tables); x, y, width and height for a box by its sides.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from textwrap import shorten

from harness.core import Size, Xywh
from harness.data.own.content import Asked, Content, Notes, Picture, Said, Thing, named_split, split_of
from harness.data.own.listing import full_text_of, name_of
from harness.errors import DataError
from harness.geometry.boxes import from_xywh, is_plausible

SEPARATORS = ",;\t|"
ALIASES = {
    "filename": "image", "file_name": "image", "class": "label",
    "xmin": "left", "ymin": "top", "xmax": "right", "ymax": "bottom",
}  # fmt: skip
EDGES, SIDES = ("left", "top", "right", "bottom"), ("x", "y", "width", "height")
READ = ("image", "split", "caption", "label", "expression", "question", "answer", *EDGES, *SIDES)


def read(annotations: Path, images: Path, notes: Notes) -> Content:
    """The content of a table; columns that are not read are noted.  DataError, naming the line, for a malformed row."""
    text = full_text_of(annotations)
    header, separator = _header(text.splitlines()[0], annotations)
    for name in header:
        if name not in READ:
            notes.note("columns that are not read", name)
    form = SIDES if "x" in header and "y" in header else EDGES
    _refuse_missing(header, form, annotations)
    pictures: dict[tuple[str, str], Picture] = {}
    rows = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    try:
        next(rows)
        for cells in rows:
            place = f"{annotations} line {rows.line_num}"
            if not any(map(str.strip, cells)):
                continue
            if len(cells) != len(header):
                raise DataError(f"{place} has {len(cells)} columns, and the first line {len(header)}")
            _add(pictures, dict(zip(header, map(str.strip, cells), strict=True)), form, place)
    except csv.Error as error:
        raise DataError(f"{annotations} line {rows.line_num} is no row of a table: {error}") from error
    return Content(list(pictures.values()))


def _header(line: str, path: Path) -> tuple[list[str], str]:
    """The names of the columns and the separator: the one that finds an `image` among them."""
    for separator in SEPARATORS:
        names = [cell.strip().lower() for cell in next(csv.reader([line], delimiter=separator), [])]
        names = [ALIASES.get(name, name) for name in names]
        if "image" in names:
            if len(set(names)) < len(names):
                raise DataError(f"{path} has a column twice: {', '.join(names)}")
            return names, separator
    raise DataError(
        f"{path}: the first line has no column `image`; it is {line[:80]!r}, and columns are separated by , ; tab or |"
    )


def _refuse_missing(header: list[str], form: tuple[str, ...], path: Path) -> None:
    """DataError for a table of nothing, and for one whose columns lack a partner."""
    needed: dict[str, tuple[str, ...]] = {"label": form, "expression": form, "question": ("answer",), "caption": ()}
    present = [name for name in needed if name in header]
    there = shorten(", ".join(header), 200, placeholder=" ...")
    if not present:
        raise DataError(f"{path} has none of the columns {', '.join(needed)}; it has {there}")
    for name in present:
        lacking = [other for other in needed[name] if other not in header]
        if lacking:
            raise DataError(f"{path} has the column `{name}` but lacks {', '.join(lacking)}; it has {there}")


def _add(pictures: dict[tuple[str, str], Picture], row: dict[str, str], form: tuple[str, ...], place: str) -> None:
    """Adds the annotations of a row to those of its image."""
    if not row["image"]:
        raise DataError(f"{place}: the cell of `image` is empty")
    name = name_of(row["image"], place)
    split = named_split(row["split"], place) if "split" in row else split_of(name)
    picture = pictures.setdefault((name, split), Picture(name, split))
    if form == EDGES and row.get("width", "").isdecimal() and row.get("height", "").isdecimal():
        picture.size = Size(int(row["width"]), int(row["height"]))
    if row.get("caption"):
        picture.captions.append(row["caption"])
    if "label" in row and picture.things is None and not row.get("expression"):
        picture.things = []
    if row.get("label"):
        if picture.things is None:
            picture.things = []
        picture.things.append(Thing(row["label"], _box(row, form, place)))
    if row.get("expression"):
        picture.said.append(Said(row["expression"], _box(row, form, place)))
    if row.get("question"):
        if not row["answer"]:
            raise DataError(f"{place}: the cell of `answer` is empty")
        picture.asked.append(Asked(row["question"], (row["answer"],)))


def _box(row: dict[str, str], form: tuple[str, ...], place: str) -> Xywh:
    try:
        a, b, c, d = (float(row[name]) for name in form)
    except ValueError as error:
        cells = [row[name][:20] for name in form]
        raise DataError(f"{place}: {', '.join(form)} are {cells}; expected numbers") from error
    xywh = (a, b, c, d) if form == SIDES else (a, b, c - a, d - b)
    if not is_plausible(from_xywh(xywh)):
        raise DataError(f"{place}: {', '.join(form)} are {[a, b, c, d]}: a negative side, or too large")
    return xywh


def sources(annotations: Path, images: Path) -> list[Path]:
    """The files that the content comes from."""
    return [annotations]
