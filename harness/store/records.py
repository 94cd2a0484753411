"""Run records: run.json and its schema, ids, and upgrades of older records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Run, RunSpec
from harness.errors import DataError
from harness.migrations import MIGRATIONS
from harness.sinks import json_text
from harness.store.files import replace_file

SCHEMA = 2


class _Versioned(msgspec.Struct):
    """The field that records of every schema have."""

    schema: int


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

    The file itself is not changed.  DataError if it cannot be read, is damaged, or has an unknown schema.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    try:
        schema = msgspec.json.decode(data, type=_Versioned).schema
        if schema != SCHEMA:
            run = msgspec.convert(_upgraded(msgspec.json.decode(data), schema, path), Run)
            return replace(run, id=run_id(run.spec))
        return msgspec.json.decode(data, type=Run)
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not a run record: {error}; remove its folder, or run again with --fresh") from error


def write_run(path: Path, run: Run) -> None:
    """Replaces a run.json in one step; ResourceError if the disk is full or read-only."""
    replace_file(path, f"{as_json(run)}\n".encode())


def _upgraded(record: dict[str, Any], schema: int, path: Path) -> dict[str, Any]:
    """A record of an older schema in the current schema; DataError if there is no migration."""
    while schema != SCHEMA:
        if schema not in MIGRATIONS:
            raise DataError(f"{path} has schema {schema}; this version reads 1 to {SCHEMA}")
        record = MIGRATIONS[schema](record)
        schema += 1
        record["schema"] = schema
    return record
