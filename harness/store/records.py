"""Run records: run.json and its schema, ids, and upgrades of older records.

A record may be damaged, of another program, or edited by a stranger.  `read_run` checks every field that any command
reads, so no other code has to.  Entries of the provenance that nothing reads may hold anything.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import Meta

from harness.core import Estimate, Run, RunSpec
from harness.errors import DataError
from harness.migrations import MIGRATIONS
from harness.sinks import json_text
from harness.store.files import read_regular, replace_file

log = logging.getLogger(__name__)
SCHEMA = 2
MOST_BYTES = 1 << 24  # in a record; those of this project have at most 10 kB
DEEPEST = 50  # containers within containers
LONGEST = 300  # characters of a reason; it may quote the record
MOST = 1e15  # the largest absolute value of a number in a record
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")  # an id names a folder of a report
_Seconds = Annotated[float, Meta(ge=0, le=MOST)]
_Whole = Annotated[int, Meta(ge=0, le=int(MOST))]
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # msgspec's errors are ValueErrors


class _Versioned(msgspec.Struct):
    """The field that records of every schema have."""

    schema: _Whole


_Timings = TypedDict(  # other entries are not read
    "_Timings",
    {
        "seconds": _Seconds,
        "answers/s": _Seconds,
        "images/s": _Seconds,
        "tokens/s": _Seconds,
        "p50 s": _Seconds,
        "latency of": str,
        "peak memory MiB": _Seconds,
        "peak GPU memory MiB": _Seconds,
    },
    total=False,
)
NEEDED = {"answers/s": ("seconds", "images/s", "tokens/s"), "latency of": ("p50 s",)}  # timings that are shown together


class _Cost(TypedDict, total=False):
    GFLOPs: _Seconds
    of: str


_Provenance = TypedDict(
    "_Provenance",
    {
        "harness": str,
        "commit": str,
        "dirty": bool,
        "date": str,
        "command": str,
        "entry": str,
        "task from": str,
        "own data": dict[str, str],
        "policy": str,
        "marking": list[str],
        "failures": dict[str, str],
        "shard": str,
        "cost": _Cost,
        "model": dict[str, Any],  # a model may state any facts about itself
    },
    total=False,
)


def run_id(spec: RunSpec) -> str:
    """The id of a run: 12 hexadecimal digits of the sha256 of its RunSpec, so equal commands share a folder."""
    canonical = json.dumps(asdict(spec), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def with_status(run: Run, **changes: Any) -> Run:
    """The record with some fields changed."""
    return replace(run, **changes)


def sealed(run: Run) -> Run:
    """The record with a checksum of its metrics and counts, so that `edited` tells when they were changed later."""
    return replace(run, provenance={**run.provenance, "checksum": _checksum(run)})


def edited(run: Run) -> bool:
    """Whether the metrics or counts of a finished record are not those that were scored.

    False for a record without a checksum, which versions before 0.14 wrote.
    """
    return run.finished and "checksum" in run.provenance and run.provenance["checksum"] != _checksum(run)


def _checksum(run: Run) -> str:
    scored = msgspec.json.encode([run.headline, run.metrics, run.counts], order="sorted")
    return hashlib.sha256(scored).hexdigest()[:16]


def as_json(value: Any) -> str:
    """A record, or a list of records, as the indented JSON of a run.json; safe to show in a terminal."""
    return json_text(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def read_run(path: Path) -> Run | None:
    """The record in a run.json, upgraded to the current schema; None if there is no such file.

    The file itself is not changed.  DataError if it cannot be read, is damaged, has an unknown schema, or has a field
    that no run has.
    """
    try:
        data = read_regular(path, MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(data, type=_Versioned).schema
        if schema != SCHEMA:
            run = msgspec.convert(_upgraded(msgspec.json.decode(data), schema, path), Run)
            run = replace(run, id=run_id(run.spec))
        else:
            run = msgspec.json.decode(data, type=Run)
        _check(run)
    except MALFORMED as error:
        reason = "".join(character if character.isprintable() else " " for character in str(error)[:LONGEST])
        raise DataError(
            f"{path} is not a run record: {reason}; remove its folder, or run again with --fresh"
        ) from error
    return run


def readable(paths: Iterable[Path]) -> Iterator[tuple[Path, Run]]:
    """The records in these files; a damaged or foreign one is logged with its reason and left out."""
    for path in paths:
        try:
            run = read_run(path)
        except DataError as error:
            log.warning("%s", error)
            continue
        if run is not None:
            yield path, run


def write_run(path: Path, run: Run) -> None:
    """Replaces a run.json in one step; ResourceError if the disk is full or read-only."""
    replace_file(path, f"{as_json(run)}\n".encode())


def _check(run: Run) -> None:
    """ValueError, naming the field, if a field that some command reads cannot be of a run.

    msgspec has checked the types of the fields of `Run` before.
    """
    if not _ID.fullmatch(run.id):
        raise ValueError(f"the id {run.id[:80]!r} has other characters than letters, digits, - and _")
    spec = run.spec
    _convert(spec.limit, Annotated[int, Meta(ge=1, le=int(MOST))] | None, "spec.limit")
    _convert([spec.version, spec.seed], list[_Whole], "spec: version and seed")
    for name, estimate in run.metrics.items():
        _check_estimate(name, estimate)
    _convert(run.counts, dict[str, _Whole], "counts")
    _convert(run.timings, _Timings, "timings")
    for name, others in NEEDED.items():
        missing = [other for other in others if name in run.timings and other not in run.timings]
        if missing:
            raise ValueError(f"timings has {name!r} without {missing[0]!r}")
    _convert(run.provenance, _Provenance, "provenance")
    _refuse_deep([run.provenance, run.timings])
    msgspec.json.encode(run)  # UnicodeEncodeError for half a character, which cannot be printed


def _check_estimate(name: str, estimate: Estimate) -> None:
    numbers = [number for number in (estimate.value, estimate.low, estimate.high) if number is not None]
    whole = (estimate.low is None) == (estimate.high is None) and (estimate.value is not None or not numbers)
    ordered = estimate.low is None or estimate.high is None or estimate.low <= estimate.high
    _convert(estimate.n, _Whole, f"n of the metric {name[:80]!r}")
    if not whole or not ordered or any(abs(number) > MOST for number in numbers):
        raise ValueError(f"the metric {name[:80]!r} is {numbers}, which is not a value with its interval")


def _refuse_deep(level: list[Any]) -> None:
    """ValueError for containers nested DEEPEST deep, which code that visits them could not leave."""
    for _ in range(DEEPEST):
        containers = [value for value in level if isinstance(value, dict | list)]
        level = [part for value in containers for part in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise ValueError(f"provenance is nested more than {DEEPEST} deep")


def _convert(value: Any, form: Any, where: str) -> None:
    """ValueError, naming the place, if a value does not have this form."""
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from error


def _upgraded(record: dict[str, Any], schema: int, path: Path) -> dict[str, Any]:
    """A record of an older schema in the current schema; DataError if there is no migration."""
    while schema != SCHEMA:
        if schema not in MIGRATIONS:
            raise DataError(f"{path} has schema {schema}; this version reads 1 to {SCHEMA}")
        record = MIGRATIONS[schema](record)
        schema += 1
        record["schema"] = schema
    return record
