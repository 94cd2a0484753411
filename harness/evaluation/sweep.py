"""A sweep of `bench`: measures points one after another, and resumes an interrupted sweep."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import store, tracking
from harness.errors import DataError
from harness.evaluation.benchmark import Plan, Point, measure
from harness.provenance import provenance

log = logging.getLogger(__name__)


def sweep(
    plan: Plan, points: Sequence[Point], out: Path, command: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Path]]:
    """The record of each point and its file, in order.

    A point that an interrupted sweep of the same command measured is read from its file.
    """
    with _unfinished(out, len(points), command) as done:
        for place, point in enumerate(points):
            if place in done.records:
                yield store.read_speed(done.records[place]), done.records[place]
                continue
            record = measure(plan, point, command)
            identity = {key: record[key] for key in ("model", "weights", "settings", "scenario", "level", "set")}
            identity["against"] = sorted(record["against"])
            name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
            path = store.keep_speed(out, record["device"], name, record)
            done.add(place, path)
            _send(record, path)
            yield record, path


def _send(record: Mapping[str, Any], path: Path) -> None:
    """Sends a measured point to the trackers, as a run; not before, which would disturb the measurement."""
    names = ("model", "scenario", "device", "weights", "set", "level", "valid")
    facts = {"harness": record["provenance"]["harness"], **{name: record[name] for name in names}, **record["settings"]}
    values = dict(record["throughput"])
    for name, each in record["latency s"].items():
        values |= {f"latency s/{name}": each["value"], f"latency s/{name} low": each["low"],
                   f"latency s/{name} high": each["high"]}  # fmt: skip
    values |= {f"stage s/{each['stage']}": each["seconds"] for each in record.get("stages", {}).get("lines", ())}
    values |= {f"ratio/{name}": each["ratio"]["value"] for name, each in record["against"].items() if "ratio" in each}
    with tracking.run(f"{record['scenario']} {record['model']}", facts):
        tracking.log({name: value for name, value in values.items() if value is not None}, record["queries"])
        tracking.artifact(path)


class Done:
    """The record files of measured points, listed in a file that exists until the sweep is finished."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            listed = {int(place): Path(record) for place, record in json.loads(path.read_bytes()).items()}
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
        ):  # no interrupted sweep, or a torn list: measure every point
            listed = {}
        self.records = {place: record for place, record in listed.items() if _is_record(record)}

    def add(self, place: int, record: Path) -> None:
        """Adds the record file of a point, and writes the list."""
        self.records[place] = record
        store.replace_file(self.path, json.dumps({place: str(path) for place, path in self.records.items()}).encode())


def _is_record(path: Path) -> bool:
    """Whether a file holds a record of `bench`; the point of another file is measured again."""
    try:
        store.read_speed(path)
    except DataError:
        return False
    return True


@contextmanager
def _unfinished(out: Path, points: int, command: Sequence[str]) -> Iterator[Done]:
    """The finished points of an interrupted sweep of the same command, code and machine.

    The list is removed when the sweep is finished.  `points` is the number of all points, for the log.
    """
    origin = provenance(command)
    identity = json.dumps([origin[key] for key in ("command", "harness", "commit", "dirty", "machine", "packages")])
    done = Done(out / f"speed/unfinished-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.json")
    if done.records:
        log.warning("resuming: %d of %d points are measured already", len(done.records), points)
    yield done
    done.path.unlink(missing_ok=True)
