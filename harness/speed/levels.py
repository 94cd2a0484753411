"""How long a measurement goes on.

A run ends when both hold: the least time has passed and the least count is done.  `official` has the times of MLPerf
Inference's LoadGen (600 s) and its count for a single stream (1,024 queries); its 24,576 offline samples and 270,336
server queries are left to those who submit there.  Before it, queries that are not counted: until the medians of two
neighbouring groups of them differ by less than `STEADY`, at most so many times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError

STEADY = 0.05
MOST_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Level:
    """Seconds and queries that a run lasts at least, and how many queries make a group of the warm-up."""

    name: str
    seconds: float
    count: int
    group: int
    rounds: int  # of each of two sides that are compared

    def queries(self, rate: float) -> int:
        """How many come in a run at so many a second."""
        return max(self.count, int(rate * self.seconds))


LEVELS: Mapping[str, Level] = {
    level.name: level
    for level in (
        Level("smoke", 1.0, 8, 2, 3),
        Level("default", 30.0, 64, 4, 7),
        Level("official", 600.0, 1024, 8, 21),
    )
}


def find(name: str) -> Level:
    """UsageError, with what there is, for another name."""
    if name not in LEVELS:
        raise UsageError(f"--level {name}: one of {', '.join(LEVELS)}")
    return LEVELS[name]
