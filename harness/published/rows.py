"""Rows of a CSV text with fixed columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping


def read(name: str, text: str, columns: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row with its place in the file (`name`, and the line): cells by the field that `columns` names.

    ValueError for an unknown or missing column, and for a row of another length.
    """
    lines = csv.reader(io.StringIO(text, newline=""))
    header = next(lines, [])
    if odd := sorted({*header} ^ {*columns}):
        raise ValueError(f"{name}: unknown or missing columns: {', '.join(odd)}; expected {', '.join(columns)}")
    for cells in lines:
        where = f"{name}, line {lines.line_num}"
        if len(cells) != len(header):
            raise ValueError(f"{where}: {len(cells)} cells for {len(header)} columns")
        yield where, {columns[column]: cell for column, cell in zip(header, cells, strict=True)}
