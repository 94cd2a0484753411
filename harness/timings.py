"""Throughput, latency and memory of a run, as its record contains them."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness.core import Answer


@dataclass(slots=True)
class Clock:
    """Measures throughput from the first question on, including image decoding and storing of answers."""

    start: float = field(default_factory=time.perf_counter)
    first: float | None = None
    answers: int = 0
    tokens: int = 0

    def answered(self, answer: Answer) -> None:
        """Counts an answer that was just stored."""
        now = time.perf_counter()
        self.first = self.first if self.first is not None else now - self.start
        self.answers += 1
        self.tokens += answer.tokens

    def timings(self, images: int) -> dict[str, Any]:
        """Elapsed seconds and peak memory so far; rates per second, and seconds to the first answer, if there is one.

        `images` is the number of different images among the questions.
        """
        seconds = time.perf_counter() - self.start
        timings: dict[str, Any] = {"seconds": seconds, "peak memory MiB": peak_memory()}
        if self.answers:
            timings |= {
                "first answer s": self.first,
                "answers/s": self.answers / seconds,
                "images/s": images / seconds,
                "tokens/s": self.tokens / seconds,
            }
        return timings


def peak_memory() -> float:
    """The largest resident memory of this process, in MiB, since its start or since `forget_peak_memory`.

    On Linux this is VmHWM of /proc/self/status.  `getrusage` is used only elsewhere, because on Linux it also counts
    the memory of the process that started this one.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)


def forget_peak_memory() -> None:
    """Restarts the measurement of `peak_memory` at the current memory, if Linux permits it; else does nothing."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def latency(answers: Iterable[Answer]) -> dict[str, Any]:
    """Percentiles 50, 90 and 99 of latency in seconds, as `p50 s` and so on, and `latency of`: what was measured.

    At batch size 1 this is the latency of an answer, else of a whole batch.  Each batch counts once: an answer of a
    batch of n has the weight 1 / n.  {} if the model does not measure time.
    """
    timed = [answer for answer in answers if answer.seconds > 0]
    if not timed:
        return {}
    largest = max(answer.batch for answer in timed)
    seconds = np.array([answer.seconds for answer in timed])
    order = np.argsort(seconds)
    share = np.cumsum(np.array([1 / answer.batch for answer in timed])[order])
    of = "an answer, at batch size 1" if largest == 1 else f"a batch of at most {largest} answers"
    percentiles = {f"p{p} s": float(seconds[order][np.searchsorted(share, p / 100 * share[-1])]) for p in (50, 90, 99)}
    return {"latency of": of, **percentiles}
