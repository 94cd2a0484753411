"""A sweep of `bench`: points measured one after another, resumed where an interrupted one stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import store
from harness.evaluation.benchmark import Plan, Point, measure
from harness.provenance import provenance

log = logging.getLogger(__name__)


def sweep(
    plan: Plan, points: Sequence[Point], out: Path, command: Sequence[str]
) -> Iterator[tuple[dict[str, Any], Path]]:
    """The record of every point and its file, in order; points that were measured before are read."""
    with _unfinished(out, len(points), command) as done:
        for place, point in enumerate(points):
            if place in done.records:
                yield json.loads(done.records[place].read_bytes()), done.records[place]
                continue
            record = measure(plan, point, command)
            asked = {key: record[key] for key in ("model", "weights", "settings", "scenario", "level", "set")}
            asked["against"] = sorted(record["against"])
            name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]
            path = store.keep_speed(out, record["device"], name, record)
            done.add(place, path)
            yield record, path


class Done:
    """The files of the records of measured points, listed in a file that exists until all points are measured."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            listed = {int(place): Path(record) for place, record in json.loads(path.read_bytes()).items()}
        except (OSError, ValueError, TypeError, AttributeError):  # no interrupted sweep, or a torn file: measure all
            listed = {}
        self.records = {place: record for place, record in listed.items() if record.is_file()}

    def add(self, place: int, record: Path) -> None:
        """Keeps the file of a point's record."""
        self.records[place] = record
        store.replace_file(self.path, json.dumps({place: str(path) for place, path in self.records.items()}).encode())


@contextmanager
def _unfinished(out: Path, points: int, command: Sequence[str]) -> Iterator[Done]:
    """The finished points of an interrupted sweep of the same command, code and machine; forgotten at its end."""
    now = provenance(command)
    words = json.dumps([now[key] for key in ("command", "harness", "commit", "dirty", "machine", "packages")])
    done = Done(out / f"speed/unfinished-{hashlib.sha256(words.encode()).hexdigest()[:12]}.json")
    if done.records:
        log.warning("%d of %d points were measured before; the rest follow", len(done.records), points)
    yield done
    done.path.unlink(missing_ok=True)
