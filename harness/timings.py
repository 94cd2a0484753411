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
    """Measures throughput from the first question on, including image decoding and storing of answers.

    It restarts the measurement of the peak memory of GPUs.
    """

    start: float = field(default_factory=time.perf_counter)
    first: float | None = None
    answers: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        forget_peak_gpu_memory()

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
        if on_gpu := peak_gpu_memory():
            timings["peak GPU memory MiB"] = on_gpu
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


def peak_gpu_memory() -> float:
    """The largest memory of this process's tensors on one GPU, in MiB, since `forget_peak_gpu_memory`.

    0 where the process uses no GPU.  This is what torch has allocated; CUDA itself needs some hundred MiB more.
    """
    torch = _torch_on_gpu()
    if torch is None:
        return 0.0
    peaks = [torch.cuda.max_memory_allocated(device) for device in range(torch.cuda.device_count())]
    return float(max(peaks)) / (1 << 20)


def forget_peak_gpu_memory() -> None:
    """Restarts the measurement of `peak_gpu_memory` at the current memory; nothing where there is no GPU in use."""
    torch = _torch_on_gpu()
    for device in range(torch.cuda.device_count() if torch is not None else 0):
        torch.cuda.reset_peak_memory_stats(device)


def _torch_on_gpu() -> Any:
    """torch, if this process has imported it and has used a GPU; else None."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None


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
