"""A split of a data set in parquet files: its columns are checked, its rows read, and single images read when needed.

The files of a split have the same columns; their rows are in the order of the file names.  Rows are read without the
column of images.  An image is read from its row later: only the image column of its row group is decoded, and the last
row groups are kept up to `MOST_KEPT` bytes.  So memory is bounded by the largest row group's images, and images in the
order of the rows decode each row group once.

A file is opened when it is first needed, and serves all threads under one lock.  A forked process opens it again.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from harness.data.columns import IMAGE, described, fits, shorten
from harness.errors import DataError, ResourceError

MOST_KEPT = 256 << 20  # bytes of images in row groups that are kept decoded; the last one is kept in any case
MOST_DECODED = 4 << 30  # bytes of images in one row group
INSTALL = "reading parquet needs pyarrow: pip install 'florence2-harness[parquet]'"


class Place(NamedTuple):
    """Where a row lies: the number of its file, its row group in the file, and its row in the row group, from 0."""

    file: int
    group: int
    row: int


@dataclass(frozen=True, slots=True)
class Table:
    """The parquet files of a split.

    `columns` has the declared type of each column that is used, by path (see `harness.data.columns`).  `image` is the
    column of images; "" where there is none.
    """

    files: tuple[Path, ...]
    columns: Mapping[str, str]
    image: str

    def check(self) -> None:
        """DataError, naming the file and the column, if a column is missing or has another type than declared.

        ResourceError if pyarrow is not installed.
        """
        wanted = {**self.columns, **({self.image: IMAGE} if self.image else {})}
        for path in self.files:
            with _errors(path):
                schema = opened(path).schema_arrow
            for column, declared in wanted.items():
                found = described(schema, column)
                if found is None:
                    names = ", ".join(schema.names)
                    raise DataError(f"{path} has no column {column!r} of type {declared}; it has {names}")
                if not fits(declared, found):
                    raise DataError(f"{path}: column {column!r} has the type {found}; expected {declared}")

    def rows(self) -> Iterator[tuple[Place, dict[str, Any]]]:
        """Each row's place and its values by top-level column, without images; DataError if a file is damaged."""
        names = list(dict.fromkeys(column.partition(".")[0] for column in self.columns))
        for number, path in enumerate(self.files):
            with _errors(path):
                file = opened(path)
                schema = file.schema_arrow
            single = {name for name in self.columns if (described(schema, name) or "").endswith("float32")}
            for group in range(file.num_row_groups):
                with _errors(path):
                    values = file.read_row_group(group, columns=names, use_threads=False).to_pylist()
                for row, value in enumerate(values):
                    for name in single:
                        shorten(value, name.split("."))
                    yield Place(number, group, row), value


@dataclass(eq=False)
class Images:
    """The images of a split by reference: `places` says in which row each lies."""

    files: tuple[Path, ...]
    column: str
    places: Mapping[str, Place]
    _opened: dict[int, tuple[Any, str]] = field(default_factory=dict)
    _kept: OrderedDict[tuple[int, int], Any] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        _every.add(self)

    def __contains__(self, reference: str) -> bool:
        return reference in self.places

    def get(self, reference: str) -> bytes | None:
        """The bytes of an image; None if no row has it, or its row has none.  DataError if its file is damaged."""
        place = self.places.get(reference)
        return None if place is None else self.at(place)

    def at(self, place: Place) -> bytes | None:
        """The bytes of the image in a row; None if the row has none."""
        with self._lock, _errors(self.files[place.file]):
            value: bytes | None = self._group(place.file, place.group)[place.row].as_py()
            return value

    def _group(self, number: int, group: int) -> Any:
        """The decoded image column of a row group."""
        kept = self._kept.pop((number, group), None)
        if kept is None:
            path = self.files[number]
            if number not in self._opened:
                self._opened[number] = _opened_for_images(path, self.column)
            kept = _decoded(*self._opened[number], path, group)
        self._kept[number, group] = kept  # the last is the one used last
        while len(self._kept) > 1 and sum(column.nbytes for column in self._kept.values()) > MOST_KEPT:
            self._kept.popitem(last=False)
        return kept

    def forget(self) -> None:
        """Drops open files and decoded row groups."""
        self._opened.clear()
        self._kept.clear()


def opened(path: Path) -> Any:
    """A parquet file, whose footer is read; DataError if it is torn or no parquet file, ResourceError without pyarrow.

    The file is not mapped into memory: one that is truncated while it is read would kill the process.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ResourceError(INSTALL) from error
    with _errors(path):
        return pyarrow.parquet.ParquetFile(path, memory_map=False, pre_buffer=False)


def footer(path: Path) -> bytes:
    """The footer of a parquet file: its schema, and where each column of each row group lies; DataError if torn."""
    end = b"PAR1"
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - 8))
            tail = file.read()
            length = int.from_bytes(tail[:4], "little")
            if tail[4:] != end or length + 12 > size:
                raise DataError(f"{path} is not a complete parquet file: it does not end with its footer; {AGAIN}")
            file.seek(size - 8 - length)
            return file.read(length)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


AGAIN = "obtain it again"
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    MemoryError,
    OverflowError,
    NotImplementedError,
)  # pyarrow's too


class _errors:
    """Raises DataError, naming the file, for any error of pyarrow within the context."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from pyarrow import ArrowException

        if isinstance(error, (ArrowException, *DAMAGED)):
            reason = " ".join(str(error).split())
            raise DataError(f"{self.path} cannot be read as parquet: {reason}; {AGAIN}") from error


def _opened_for_images(path: Path, column: str) -> tuple[Any, str]:
    """A file whose equal images are decoded once in a row group, and the path of the bytes in the image column.

    Copies of VQA repeat an image in the row of each of its questions.
    """
    import pyarrow.parquet

    about = opened(path).metadata
    leaf = f"{column}.bytes"
    leaves = {about.schema.column(number).path for number in range(about.num_columns)}
    name = leaf if leaf in leaves else column
    with _errors(path):
        file = pyarrow.parquet.ParquetFile(
            path, metadata=about, read_dictionary=[name], memory_map=False, pre_buffer=False
        )
    return file, name


def _decoded(file: Any, name: str, path: Path, group: int) -> Any:
    """The bytes in the image column of a row group; DataError if it is damaged or would take too much memory."""
    import pyarrow.compute

    about = file.metadata.row_group(group)
    columns = (about.column(number) for number in range(about.num_columns))
    size = sum(column.total_uncompressed_size for column in columns if column.path_in_schema == name)
    if size > MOST_DECODED:
        raise DataError(f"{path}: row group {group} has {size:,} bytes of images; at most {MOST_DECODED:,} are decoded")
    with _errors(path):
        values = file.read_row_group(group, columns=[name], use_threads=False).column(0)
        return pyarrow.compute.struct_field(values, "bytes") if name.endswith(".bytes") else values


# ---------------------------------------------------------------------------- forks

_every: weakref.WeakSet[Images] = weakref.WeakSet()
_held: list[Images] = []


def _before_fork() -> None:
    """Waits until no thread reads, since a lock that another thread holds would stay locked in the child."""
    _held.extend(_every)
    for images in _held:
        images._lock.acquire()


def _after_fork() -> None:
    for images in _held:
        images._lock.release()
    _held.clear()


def _after_fork_in_child() -> None:
    """Forgets the parent's open files, whose positions the two processes would share."""
    for images in _held:
        images.forget()
    _after_fork()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child)
