"""Annotation and prediction files: read whole and strictly; errors name the file and the record.

Records are typed (msgspec).  So a malformed record is named by its place (`$.annotations[3].bbox`), and unused fields
of large files take no memory.  NaN is malformed, because JSON has no NaN.

A file may be packed by gzip, and JSON may begin with a byte order mark or be in UTF-16 or UTF-32.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.core import Answer, Noted, Reading, Sample
from harness.errors import DataError
from harness.store.files import gunzip

T = TypeVar("T")
R = TypeVar("R")
FIRST = 3  # places that a note names
MALFORMED = (ValueError, OverflowError, RecursionError)  # of another form, too large, nested too deeply
GZIP = b"\x1f\x8b"
ARCHIVES = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
MOST_PIXELS = 1 << 28  # in one image; a larger size is treated as malformed
MOST_UNPACKED = 1 << 31  # bytes; COCO's largest file of annotations has 0.5 GB


def read(path: Path, origin: str) -> bytes:
    """The bytes of an annotation file, unpacked from gzip; DataError, naming its origin, if it cannot be read.

    The origin of a user's own file is "".
    """
    try:
        return unpacked(path.read_bytes(), path)
    except FileNotFoundError as error:
        where = f"it comes from {origin}" if origin else "--annotations names it, or the folder that holds it"
        raise DataError(
            f"{path} is not there; {where}; `python -m harness data check` lists where each file belongs"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def unpacked(data: bytes, path: Path) -> bytes:
    """The bytes of a file, unpacked if it is packed by gzip; DataError for a damaged one, and for other archives.

    `path` is used in the message only.
    """
    if data.startswith(GZIP):
        try:
            return gunzip(data, MOST_UNPACKED)
        except ValueError as error:
            raise DataError(f"{path} is not a complete gzip file: {error}; obtain it again") from error
    for magic, name in ARCHIVES.items():
        if data.startswith(magic):
            raise DataError(f"{path} is packed by {name}; unpack it first")
    return data


def utf8(data: bytes, path: Path | str) -> bytes:
    """Text in UTF-8, UTF-16 or UTF-32 as UTF-8 without a byte order mark; DataError if it cannot be decoded.

    Its first character is ASCII, as in every JSON file of records.  `path` is used in the message only.
    """
    encoding = json.detect_encoding(data[:4])
    if encoding == "utf-8":
        return data
    try:
        return data.decode(encoding).encode()
    except UnicodeError as error:
        raise DataError(f"{path} begins as {encoding.upper()} but is not: {error}; save it as UTF-8") from error


def decode(data: bytes | msgspec.Raw, form: type[T], path: Path | str) -> T:
    """JSON as a value of type `form`; DataError, naming `path` and the first malformed record, if it has another form.

    `path` is used in the message only.
    """
    try:
        return msgspec.json.decode(utf8(data, path) if isinstance(data, bytes) else data, type=form)
    except MALFORMED as error:
        kind = "" if "`" in str(error) else "; it should be JSON in UTF-8, which has no NaN"
        raise DataError(f"{path} is not as expected: {error}{kind}") from error


def load(path: Path, form: type[T], origin: str) -> T:
    """The JSON of an annotation file as a value of type `form`; DataError as `read` and `decode`."""
    return decode(read(path, origin), form, path)


def by_id(records: Iterable[T], key: Callable[[T], R], path: Path, what: str) -> dict[R, T]:
    """Records by id, in their order; DataError if two records have one id.

    `path` and `what`, the name of the id, are used in the message only.
    """
    by_key: dict[R, T] = {}
    for record in records:
        if key(record) in by_key:
            raise DataError(f"{path} has the {what} {key(record)!r} twice")
        by_key[key(record)] = record
    return by_key


def remedy(origin: str) -> str:
    """What to do about a malformed file, as the end of a message; the origin of a user's own file is ""."""
    return f"obtain it again from {origin}" if origin else "correct the file"


def note(reading: Reading, path: Path, what: str, place: str, problem: str, todo: str = "correct the file") -> None:
    """Notes that a record is converted or dropped; DataError with `problem` and `todo` if the reading is strict.

    `what` names the kind of records and what becomes of them; `place` is where this record is in the file.
    """
    if reading.strict:
        raise DataError(f"{path}: {place} {problem}; {todo}, or leave --strict out")
    noted = reading.notes.setdefault(f"{path}: {what}", Noted())
    noted.count += 1
    if len(noted.first) < FIRST:
        noted.first.append(place)


# ---------------------------------------------------------------------------- predictions


def predictions(path: Path, form: type[T]) -> T:
    """The JSON of a prediction file as a value of type `form`; DataError if it cannot be read or has another form."""
    try:
        data = unpacked(path.read_bytes(), path)
    except OSError as error:
        raise DataError(f"the predictions {path} cannot be read: {error.strerror}") from error
    return decode(data, form, path)


def one_each(
    path: Path,
    entries: Sequence[tuple[str, T]],
    samples: Sequence[Sample[Any]],
    key: str,
    answer: Callable[[T, Sample[Any]], Answer],
) -> dict[str, Answer]:
    """An Answer for every sample, from exactly one (id, entry) pair each.

    `answer` converts an entry; `key` is the name of the id in the file.  An excluded sample may have no entry.
    DataError if an id occurs twice, is unknown or is missing, or if an entry cannot be converted.
    """
    by_name = {sample.id: sample for sample in samples}
    counts = Counter(name for name, _ in entries)
    refuse(path, key, "are answered more than once", [i for i, count in counts.items() if count > 1], len(by_name))
    refuse(path, key, "are not in this split", [i for i in counts if i not in by_name], len(by_name))
    missing = [name for name, sample in by_name.items() if name not in counts and not sample.excluded]
    refuse(path, key, "have no answer", missing, len(by_name))
    answers = {}
    for name, entry in entries:
        try:
            answers[name] = answer(entry, by_name[name])
        except MALFORMED as error:
            raise DataError(f"{path}: {key} {name}: {error}") from error
    return answers


def refuse(path: Path, key: str, what: str, ids: Sequence[str], count: int) -> None:
    """DataError if there are any ids; `what` says what is wrong with them, and `count` entries are expected."""
    if ids:
        first = ", ".join(ids[:3])
        raise DataError(f"{path}: {len(ids)} {key}s {what} (first: {first}); it needs one entry for each of {count}")


def write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Writes entries as a JSON list."""
    path.write_bytes(msgspec.json.encode(entries))
