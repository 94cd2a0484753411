"""Files in COCO's format, of detection and of refer, that pycocotools reads although COCO does not publish them so.

Ids may be whole floats or strings, and sizes floats or null.  They are converted, and a `Reading` notes each kind of
conversion; a strict reading refuses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from harness.core import Reading, Size
from harness.data import files
from harness.errors import DataError

Given = int | float | str  # the id of an image, an annotation or a category in a file
Id = int | str  # the id after conversion
Side = int | float | None  # the width or height of an image in a file


class Record(Protocol):
    """A record with an id."""

    id: Given


class Sized(Protocol):
    """An image with a width and a height."""

    width: Side
    height: Side


R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class File:
    """A file in COCO's format, whose records are converted or dropped as pycocotools does.

    `todo` is what the user can do about a malformed record.  With a strict `reading`, a conversion is a DataError.
    """

    path: Path
    reading: Reading
    todo: str

    def note(self, what: str, place: str, problem: str) -> None:
        """Notes that a record is converted or dropped; see `files.note`."""
        files.note(self.reading, self.path, what, place, problem, self.todo)

    def refused(self, place: str, problem: str) -> DataError:
        """The error that refuses a record."""
        return DataError(f"{self.path}: {place} {problem}; {self.todo}")

    def id(self, value: Given, place: str, number: int = 0) -> Id:
        """An id as an integer or a string; DataError for a float that is not whole.

        `place` is where the id is in the file, with "{}" for the `number` of its record.
        """
        if type(value) is int:  # of nearly every record, which this is fast for
            return value
        place = place.format(number)
        if isinstance(value, float):
            if not value.is_integer():
                raise self.refused(place, f"is {value}; an id is an integer or a string")
            self.note("ids that are floats, read as integers", place, f"is the float {value}")
            return int(value)
        if isinstance(value, str):
            self.note("ids that are strings, kept as strings", place, f"is the string {value!r}")
        return value

    def by_id(self, records: Sequence[R], field: str, what: str) -> dict[Id, R]:
        """Records by their converted ids, in their order; DataError if two records have one id."""
        pairs = [(self.id(record.id, f"$.{field}[{{}}].id", number), record) for number, record in enumerate(records)]
        return {key: record for key, (_, record) in files.by_id(pairs, lambda pair: pair[0], self.path, what).items()}

    def one_type(self, ids: Iterable[Id], what: str) -> None:
        """DataError if some ids are integers and others are strings, which pycocotools cannot sort."""
        if len({type(number) for number in ids}) > 1:
            raise DataError(f"{self.path}: some {what}s are integers and others are strings; {self.todo}")

    def size(self, width: Side, height: Side, place: str) -> Size | None:
        """The size of an image; None if it is unknown (null, 0, too large, or not a whole number of pixels)."""
        if width is None or height is None:
            self.note("images whose size is null", place, "has a width or height that is null")
            return None
        if width != int(width) or height != int(height) or min(width, height) < 0:
            self.note("image sizes that are no whole numbers, ignored", place, f"has the size {[width, height]}")
            return None
        if width * height > files.MOST_PIXELS:
            self.note("image sizes that no image has, ignored", place, f"has the size {[width, height]}")
            return None
        if not (isinstance(width, int) and isinstance(height, int)):
            self.note("image sizes that are floats, read as integers", place, f"has the size {[width, height]}")
        return Size(int(width), int(height)) if width and height else None

    def crowd(self, value: bool | float, number: int) -> bool:
        """Whether an object is a crowd; notes an `iscrowd` that is no integer, of annotation `number`."""
        if not isinstance(value, int) or isinstance(value, bool):
            place = f"$.annotations[{number}]"
            self.note("`iscrowd` that is no integer, read as 0 or 1", place, f"has iscrowd {value}")
        return bool(value)

    def sizes(self, images: Mapping[Id, Sized]) -> dict[Id, Size | None]:
        """The size of each image by id, as `size` gives it; the images are all of the file, in its order."""
        return {
            number: self.size(image.width, image.height, f"$.images[{place}]")
            for place, (number, image) in enumerate(images.items())
        }


def usable(size: Size | None, image: Sized, *, needed: bool) -> Size | None:
    """The converted size of an image; ValueError for one that no image has, and for a missing one that is `needed`."""
    if size is None and image.width is not None and image.height is not None:
        raise ValueError(f"its image is {image.width} x {image.height} pixels")
    if size is None and needed:
        raise ValueError("its image has a width or height that is null, and an outline needs both")
    return size
