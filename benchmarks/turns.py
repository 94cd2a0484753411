"""Two or more ways of the same work by turns in one process, and how their ratio is quoted and recorded.

BENCH_ROUNDS says how many rounds are counted; BENCH_RECORD names a JSON-lines file that each result is added to.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORD = os.environ.get("BENCH_RECORD")


def rounds(default: int) -> int:
    """As many as the environment says."""
    return int(os.environ.get("BENCH_ROUNDS", default))


def by_turns(ways: Mapping[str, Callable[[], Any]], count: int) -> dict[str, list[float]]:
    """Seconds of each way in each round, after one that is not counted; whoever was first is last in the next."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, count):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            ways[name]()
            if number >= 0:
                times[name].append(time.perf_counter() - start)
    return times


def quote(benchmark: Any, what: str, times: Mapping[str, list[float]], *, ours: str, theirs: str, **more: Any) -> None:
    """The median of the rounds' ratios (theirs over ours) and both medians, into the record and the file."""
    ratios = [slow / fast for fast, slow in zip(times[ours], times[theirs], strict=True)]
    record = {
        "name": what,
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
        f"{ours} s": round(statistics.median(times[ours]), 4),
        f"{theirs} s": round(statistics.median(times[theirs]), 4),
        "rounds": len(ratios),
        **more,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "numpy": version("numpy"),
    }
    benchmark.extra_info.update({f"{ours} beside {theirs}, {name}": value for name, value in record.items()})
    if RECORD:
        with Path(RECORD).open("a") as stream:
            stream.write(json.dumps(record) + "\n")
