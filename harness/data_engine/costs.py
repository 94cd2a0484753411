"""What asking took: seconds by kind of question and specialist, kept beside the answers.

    ENGINE/costs.jsonl   a line for each time that a shard's questions were sent; append only

These lines are provenance: nothing is decided by them, and a damaged one is left out.  The seconds of a process that
was killed are not among them, nor are the images that it was asking about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Model
from harness.data_engine.records import Origin
from harness.data_engine.waterfall import name_of
from harness.store.files import disk_errors, lines, remove_incomplete_line

FILE = "costs.jsonl"
DAY = 86_400.0  # seconds


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What sending the questions of a shard once took.

    `images` are those asked about for the first time; `seconds` are of the clock, and `devices` the number of workers
    of a cluster that they were spent on, else 1.
    """

    kind: str
    origin: str
    shard: int
    images: int
    questions: int
    seconds: float
    devices: int = 1
    device: str = ""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one kind of question to one origin took: seconds of one device for `images`.

    `device` names the device, or several with commas.
    """

    origin: str
    images: int
    seconds: float
    kind: str = ""
    questions: int = 0
    device: str = ""

    @property
    def images_per_second(self) -> float | None:
        """The rate; None if no time was measured."""
        return self.images / self.seconds if self.seconds else None

    @property
    def days_per_million(self) -> float | None:
        """Days of one device for a million images at this rate; None without images."""
        return 1e6 * self.seconds / self.images / DAY if self.images else None


def spent_on(model: Model, seconds: float) -> dict[str, Any]:
    """Seconds of the clock with the devices of a model: that of this process, or the workers of a cluster."""
    seconds, cluster = round(seconds, 6), model.provenance.get("executor")
    if cluster:
        return {"seconds": seconds, "devices": cluster["workers"], "device": ", ".join(cluster["devices"])}
    return {"seconds": seconds, "device": str(model.provenance.get("device", ""))}


def add(folder: Path, spent: Spent) -> None:
    """Appends what was spent to an engine folder; ResourceError if the disk is full."""
    file = folder / FILE
    with disk_errors(file):
        remove_incomplete_line(file)
        with file.open("ab") as stream:
            stream.write(json.dumps(msgspec.to_builtins(spent)).encode() + b"\n")


def costs(folder: Path, origins: Mapping[str, Origin]) -> tuple[Cost, ...]:
    """The cost of each kind of question to each origin, dearest first; () where no time was kept."""
    of: dict[tuple[str, str], list[Spent]] = {}
    for text in lines(folder / FILE):
        try:
            spent = msgspec.json.decode(text, type=Spent)
        except msgspec.MsgspecError:
            continue
        of.setdefault((spent.kind, spent.origin), []).append(spent)
    found = [
        Cost(
            name_of(origins.get(origin)),
            sum(each.images for each in parts),
            sum(each.seconds * each.devices for each in parts),
            kind,
            sum(each.questions for each in parts),
            ", ".join(sorted({each.device for each in parts if each.device})),
        )
        for (kind, origin), parts in of.items()
    ]
    return tuple(sorted(found, key=lambda cost: (-(cost.days_per_million or 0), cost.kind, cost.origin)))
