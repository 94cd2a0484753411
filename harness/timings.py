"""How long answers took, as a run records it."""

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
    """Throughput from the first question on: everything is in it, also decoding of files and keeping of answers."""

    start: float = field(default_factory=time.perf_counter)
    first: float | None = None
    answers: int = 0
    tokens: int = 0

    def answered(self, answer: Answer) -> None:
        now = time.perf_counter()
        self.first = self.first if self.first is not None else now - self.start
        self.answers += 1
        self.tokens += answer.tokens

    def timings(self, images: int) -> dict[str, Any]:
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
    """The most memory that this process has had, in MiB, since it was started or `forget_peak_memory`.

    Linux's own count: `getrusage` also counts whatever process started it.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)


def forget_peak_memory() -> None:
    """Where Linux lets it, the most memory is counted from here on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def latency(answers: Iterable[Answer]) -> dict[str, Any]:
    """Seconds to an answer at batch 1, of a whole batch otherwise, and which; {} where the model does not time itself.

    Each batch counts once, however many answers it held.
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
