"""The least duration and the least number of queries of a measurement.

A run ends when both have been reached.  `official` has two values of MLPerf Inference's LoadGen: 600 s, and 1,024
queries of a single stream.  LoadGen's 24,576 offline samples and 270,336 server queries are not required here.

Before a run, queries are answered without being counted.  This warm-up is made of groups.  It ends when the medians of
two consecutive groups differ by at most `STEADY`, and after `MOST_GROUPS` groups at the latest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError

STEADY = 0.05
MOST_GROUPS = 10


@dataclass(frozen=True, slots=True)
class Level:
    """The least seconds and the least queries of a run, and the number of queries in a warm-up group."""

    name: str
    seconds: float
    count: int
    group: int
    rounds: int  # of each side of a comparison

    def queries(self, rate: float) -> int:
        """The number of queries in a server run at `rate` queries per second."""
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
    """Returns the level of that name; raises UsageError, which lists the names, for an unknown name."""
    if name not in LEVELS:
        raise UsageError(f"--level {name}: one of {', '.join(LEVELS)}")
    return LEVELS[name]
