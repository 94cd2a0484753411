"""Alternating rounds of two or more ways of the same work in one process, and the record of their ratio.

BENCH_ROUNDS is the number of counted rounds.  BENCH_RECORD is a JSON-lines file to which each result is added.
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
    """Returns BENCH_ROUNDS, or the default without it."""
    return int(os.environ.get("BENCH_ROUNDS", default))


def interleaved(ways: Mapping[str, Callable[[], Any]], count: int) -> dict[str, list[float]]:
    """Returns the seconds of each way per round, after one round that is not counted; the order alternates."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-1, count):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = time.perf_counter()
            ways[name]()
            if number >= 0:
                times[name].append(time.perf_counter() - start)
    return times


def quote(benchmark: Any, name: str, times: Mapping[str, list[float]], *, ours: str, theirs: str, **more: Any) -> None:
    """Records the median of the rounds' ratios (theirs over ours) and both medians, also in BENCH_RECORD."""
    ratios = [slow / fast for fast, slow in zip(times[ours], times[theirs], strict=True)]
    record = {
        "name": name,
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
    benchmark.extra_info.update({f"{ours} versus {theirs}, {key}": value for key, value in record.items()})
    if RECORD:
        with Path(RECORD).open("a") as stream:
            stream.write(json.dumps(record) + "\n")
