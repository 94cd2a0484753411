"""A parser of CSV texts with fixed columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping


def read(name: str, text: str, columns: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields each row as its location ("NAME, line N") and its cells by field.

    `columns` maps each column of the file to a field.  ValueError for an unknown or missing column, and for a row with
    too few or too many cells.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, [])
    if differing := sorted({*header} ^ {*columns}):
        raise ValueError(f"{name}: unknown or missing columns: {', '.join(differing)}; expected {', '.join(columns)}")
    for cells in lines:
        location = f"{name}, line {lines.line_num}"
        if len(cells) != len(header):
            raise ValueError(f"{location}: {len(cells)} cells for {len(header)} columns")
        yield location, {columns[column]: cell for column, cell in zip(header, cells, strict=True)}
