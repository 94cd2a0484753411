"""Annotation and prediction files: read whole, strictly, and complained about by file and record.

Records are typed (msgspec), so a wrong one is named by its place (`$.annotations[3].bbox`), and what is not needed of a
large file is never kept.  JSON has no NaN; one in a file is malformed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness.core import Answer, Sample
from harness.errors import DataError

T = TypeVar("T")
R = TypeVar("R")
MALFORMED = (ValueError, OverflowError, RecursionError)  # not as it should be, too large, nested too deep


def read(path: Path, origin: str) -> bytes:
    """An annotation file's bytes; DataError, naming its origin, where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not there; it comes from {origin}; `python -m harness data check` says where each file belongs"
        ) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def decode(data: bytes | msgspec.Raw, form: type[T], path: Path) -> T:
    """JSON of a form; DataError naming the first wrong record."""
    try:
        return msgspec.json.decode(data, type=form)
    except MALFORMED as error:
        kind = "" if "`" in str(error) else "; it should be JSON in UTF-8, which has no NaN"
        raise DataError(f"{path} is not as expected: {error}{kind}") from error


def load(path: Path, form: type[T], origin: str) -> T:
    """Both of the above."""
    return decode(read(path, origin), form, path)


def by_id(records: Iterable[T], key: Callable[[T], R], path: Path, what: str) -> dict[R, T]:
    """Records under their ids; DataError where two share one."""
    found: dict[R, T] = {}
    for record in records:
        if key(record) in found:
            raise DataError(f"{path} has the {what} {key(record)!r} twice")
        found[key(record)] = record
    return found


# ---------------------------------------------------------------------------- predictions


def predictions(path: Path, form: type[T]) -> T:
    """A prediction file of a form; DataError where it cannot be read or is not as expected."""
    try:
        data = path.read_bytes()
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
    """An answer to every sample from (id, entry) pairs, no more and no fewer; `key` is what the file calls an id."""
    wanted = {sample.id: sample for sample in samples}
    counts = Counter(name for name, _ in entries)
    refuse(path, key, "are answered more than once", [i for i, count in counts.items() if count > 1], len(wanted))
    refuse(path, key, "are none of this split", [i for i in counts if i not in wanted], len(wanted))
    refuse(path, key, "have no answer", [i for i in wanted if i not in counts], len(wanted))
    answers = {}
    for name, entry in entries:
        try:
            answers[name] = answer(entry, wanted[name])
        except MALFORMED as error:
            raise DataError(f"{path}: {key} {name}: {error}") from error
    return answers


def refuse(path: Path, key: str, what: str, ids: Sequence[str], count: int) -> None:
    """DataError where there are any such ids."""
    if ids:
        first = ", ".join(ids[:3])
        raise DataError(f"{path}: {len(ids)} {key}s {what} (first: {first}); it takes one entry for each of {count}")


def write(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """A JSON list."""
    path.write_bytes(msgspec.json.encode(entries))
