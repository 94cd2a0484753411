"""The records of `bench`: one JSON file for each device and name.

`speeds` checks every field that a report reads, so no other code has to; see `records` for runs.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import msgspec
from msgspec import Meta

from harness.errors import DataError
from harness.store.files import folder_name, read_regular, replace_file

log = logging.getLogger(__name__)
MOST_BYTES = 1 << 26  # in a record
_Number = Annotated[float, Meta(ge=0, le=1e21)]
_Positive = Annotated[float, Meta(gt=0, le=1e21)]
_Whole = Annotated[int, Meta(ge=0, le=1 << 53)]
_Count = Annotated[int, Meta(ge=1, le=1 << 53)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class _Estimate(TypedDict):
    value: _Number
    low: _Number
    high: _Number


class _Ratio(TypedDict):
    value: _Number
    low: _Number | None
    high: _Number | None


_Settings = TypedDict(
    "_Settings",
    {
        "batch size": _Count,
        "beams": _Whole,  # 0: a model that is measured as a whole
        "dtype": str,
        "resolution": str,
        "new tokens": _Whole | None,
        "rate": NotRequired[_Number | None],
        "target s": NotRequired[_Number | None],
    },
)
_Throughput = TypedDict("_Throughput", {"images/s": _Number, "tokens/s": _Number})
_Meter = TypedDict(
    "_Meter", {"peak memory MiB": _Number, "not checked": NotRequired[str], "joules": NotRequired[_Number]}
)


class _Trial(TypedDict):
    rate: _Number
    percent: _Number
    latency: _Number
    holds: bool


_Stage = TypedDict(
    "_Stage",
    {
        "stage": str,
        "seconds": _Number,
        "floor s": NotRequired[_Number],
        "bound": NotRequired[str],
        "of the ceiling": NotRequired[_Number],
        "operations": NotRequired[_Number],
        "bytes": NotRequired[_Number],
    },
)


class _Stages(TypedDict):
    batch: _Count
    steps: _Whole
    lines: list[_Stage]


class _Ceilings(TypedDict):
    operations: _Positive
    bytes: _Positive


class _Against(TypedDict):
    ratio: _Ratio
    ours: _Number
    theirs: _Number
    rounds: _Count
    queries: _Count
    equal: _Share
    reasons: list[str]


class _Provenance(TypedDict):
    harness: str


_Speed = TypedDict(
    "_Speed",
    {
        "device": str,
        "model": str,
        "set": Annotated[str, Meta(pattern=r"^\d{1,9} ")],  # begins with the number of images
        "scenario": str,
        "level": str,
        "settings": _Settings,
        "valid": bool,
        "reasons": list[str],
        "queries": _Count,
        "seconds": _Number,
        "latency s": dict[str, _Estimate],
        "throughput": _Throughput,
        "rates tried": list[_Trial],
        "meter": _Meter,
        "against": dict[str, dict[str, Any]],
        "provenance": _Provenance,
        "stages": NotRequired[_Stages],
        "ceilings": NotRequired[_Ceilings],
    },
)
COUNTED = ("vision", "encoder", "prefill", "decode")  # stages whose operations and bytes are counted


def keep_speed(results: Path, device: str, name: str, record: Mapping[str, Any]) -> Path:
    """Writes RESULTS/speed/<device>/<name>.json whole or not at all, and returns its path.

    ResourceError if the disk is full or read-only.
    """
    path = results / "speed" / folder_name(device) / f"{folder_name(name)}.json"
    replace_file(path, (json.dumps(record, indent=1) + "\n").encode())
    return path


def speeds(results: Path) -> list[dict[str, Any]]:
    """Every record of `bench`, in order of path; a damaged or foreign one is logged with its reason and left out."""
    records = []
    for path in sorted((results / "speed").glob("*/*.json")):
        try:
            records.append(read_speed(path))
        except DataError as error:
            log.warning("left out: %s", error)
    return records


def read_speed(path: Path) -> dict[str, Any]:
    """A record of `bench`; DataError if it cannot be read, or a field that a report reads is missing or impossible."""
    try:
        record: dict[str, Any] = msgspec.json.decode(read_regular(path, MOST_BYTES))
        msgspec.convert(record, _Speed)
        for name, result in record["against"].items():
            form: Any = dict[str, str] if "cannot run" in result else _Against
            _convert(result, form, f"against {name}")
            if form is _Against and (result["ratio"]["low"] is None) != (result["ratio"]["high"] is None):
                raise ValueError(f"against {name}: half an interval")
        if "stages" in record:
            _check_stages(record)
        json.dumps(record, ensure_ascii=False).encode()  # UnicodeEncodeError for half a character
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not a record of `bench`: {error}; remove it, or measure again") from error
    return record


def _check_stages(record: Mapping[str, Any]) -> None:
    """ValueError if the stages lack what the figures of stages need."""
    if "ceilings" not in record:
        raise ValueError("stages without ceilings")
    for line in record["stages"]["lines"]:
        if line["stage"] in COUNTED and not (line.get("operations", 0) > 0 and line.get("bytes", 0) > 0):
            raise ValueError(f"the stage {line['stage']!r} without its operations or bytes")
        if "floor s" in line and not {"bound", "of the ceiling"} <= line.keys():
            raise ValueError(f"the stage {line['stage']!r} without what bounds it")


def _convert(value: Any, form: Any, where: str) -> None:
    """ValueError, naming the place, if a value does not have this form."""
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise ValueError(f"{where}: {error}") from error
