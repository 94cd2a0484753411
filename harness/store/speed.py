"""The records of `bench`: one JSON file for each device and name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.store.files import folder_name, replace_file


def keep_speed(results: Path, device: str, name: str, record: Mapping[str, Any]) -> Path:
    """Writes RESULTS/speed/<device>/<name>.json whole or not at all, and returns its path.

    ResourceError if the disk is full or read-only.
    """
    path = results / "speed" / folder_name(device) / f"{folder_name(name)}.json"
    replace_file(path, (json.dumps(record, indent=1) + "\n").encode())
    return path


def speeds(results: Path) -> list[dict[str, Any]]:
    """Every record of `bench`, in order of path; DataError if one cannot be read."""
    records = []
    for path in sorted((results / "speed").glob("*/*.json")):
        try:
            records.append(json.loads(path.read_bytes()))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as a record of `bench`: {error}") from error
    return records
