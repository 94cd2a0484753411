"""What forms share: how rows are taken, and how records are encoded.

A form takes the rows of a split one by one, and then returns the annotation files as the tasks' own readers expect
them.  So samples, ids and targets are those of the official files where the copy has them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from harness.core import Size

VERSION = 1  # of the forms: raised whenever the files that they write change
Row = dict[str, Any]
Look = Callable[[], Size]  # the size of the row's image, read from its header


class Form(Protocol):
    """Collects the rows of a split."""

    def add(self, row: Row, look: Look) -> str:
        """Takes a row and returns its image's reference below the data root; ValueError for a malformed row."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """The annotation files by path below the data root."""
        ...


@dataclass(slots=True)
class Json:
    """A JSON object of lists, whose records are kept encoded."""

    lists: dict[str, list[bytes]]

    @classmethod
    def of(cls, *names: str) -> Json:
        """Empty lists of these names."""
        return cls({name: [] for name in names})

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """Appends a record to a list."""
        self.lists[name].append(msgspec.json.encode(record))

    def encoded(self) -> bytes:
        """The object."""
        return b"{" + b",".join(b'"%s":%s' % (name.encode(), array(of)) for name, of in self.lists.items()) + b"}"


def array(records: Sequence[bytes]) -> bytes:
    """A JSON array of encoded records."""
    return b"[" + b",\n".join(records) + b"]"


def records(value: Any) -> list[Row]:
    """A list of records, which parquet files also hold as a record of lists; ValueError for lists of other lengths."""
    if isinstance(value, dict):
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    return value or []


def width_and_height(size: Size) -> dict[str, int]:
    """The fields of an image's size in COCO's format."""
    return {"width": size.width, "height": size.height}


def from_corners(corners: Sequence[float]) -> list[float]:
    """[x, y, width, height] of two corners; sides have two decimals, as in COCO's files."""
    left, top, right, bottom = corners
    return [left, top, round(right - left, 2), round(bottom - top, 2)]
