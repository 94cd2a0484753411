"""The number of CPU threads for a network: a given number, the fastest of a trial, or as many as other processes leave.

torch's default is a thread per core.  Decode steps of few rows are often faster with fewer threads, and much faster if
the machine has other work: every product waits for its slowest thread.  So `BackOff` halves the number of threads while
they wait.  The number changes a token only if two candidates are equally likely up to rounding.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping

import torch

from harness.errors import UsageError
from harness.florence2.decoding.generate import Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.model import Florence2

AUTO = "auto"
MOST = torch.get_num_threads()
TOKENS = 20  # tokens of a typical answer
STEPS = 4  # decode steps that are timed
WORSE = 1.2  # the trial ends at a count that takes this many times as long as the best
WINDOW = 1.0  # seconds of steps that are judged together
WAITING = 0.6  # CPU seconds per second and thread; with fewer, the threads wait for each other or for a core
RETRY = 30.0  # seconds of steps until the full number of threads is tried again; twice as long after each failure


def settle(setting: str | None, model: Florence2, side: int, decoding: Decoding) -> None:
    """Sets torch's number of threads: a whole number, or "auto" for a trial; None changes nothing.

    `side` is the image side in pixels.  UsageError for any other setting.
    """
    if setting is None:
        return
    if setting != AUTO:
        torch.set_num_threads(number(setting))
    elif model.embedding.weight.device.type == "cpu":
        seconds = trial(lambda: _seconds_per_answer(model, side, decoding), MOST)
        torch.set_num_threads(min(seconds, key=lambda count: seconds[count]))


def number(setting: str) -> int:
    """The number of threads that a setting states; UsageError unless it is from 1 to four times the CPU's cores."""
    largest = 4 * (os.cpu_count() or 1)
    if not setting.isdecimal() or not 1 <= int(setting) <= largest:
        raise UsageError(
            f"--threads {setting}: a whole number from 1 to {largest}, or {AUTO} for the fastest of a trial"
        )
    return int(setting)


def trial(cost: Callable[[], float], largest: int) -> Mapping[int, float]:
    """The cost of each tried number of threads: `largest`, then halves of it, until the cost is clearly worse."""
    costs: dict[int, float] = {}
    count = largest
    while count:
        torch.set_num_threads(count)
        cost()  # warm-up: starts threads and touches memory
        costs[count] = min(cost(), cost())
        if costs[count] > WORSE * min(costs.values()):
            break
        count //= 2
    return costs


class BackOff:
    """Halves torch's number of threads while other processes keep the threads waiting.

    The CPU seconds of a step over its seconds are the number of threads that ran.  On an idle machine they are at least
    `WAITING` of torch's; the network then keeps its threads.  The full number is tried again after `RETRY` seconds.
    """

    def __init__(self) -> None:
        self.most = torch.get_num_threads()
        self._seconds = self._cpu = self._lowered = 0.0
        self._retry = RETRY

    def record(self, seconds: float, cpu: float) -> None:
        """Adds a step: its seconds, and the CPU seconds of the process in it; sets torch's threads."""
        self._seconds, self._cpu = self._seconds + seconds, self._cpu + cpu
        if self._seconds < WINDOW:
            return
        count = torch.get_num_threads()
        if count > 1 and self._cpu < WAITING * count * self._seconds:
            if count == self.most and self._lowered:
                self._retry *= 2
            torch.set_num_threads(count // 2)
            self._lowered = 0.0
        elif count >= self.most:
            self._lowered, self._retry = 0.0, RETRY
        else:
            self._lowered += self._seconds
            if self._lowered >= self._retry:
                torch.set_num_threads(self.most)
        self._seconds = self._cpu = 0.0

    def end(self) -> None:
        """Sets the full number of threads, if it was lowered."""
        if torch.get_num_threads() < self.most:
            torch.set_num_threads(self.most)


@torch.inference_mode()
def _seconds_per_answer(model: Florence2, side: int, decoding: Decoding) -> float:
    """Seconds for an image and an answer of TOKENS tokens, estimated from STEPS decode steps."""
    pixels = torch.zeros(1, 3, side, side, dtype=model.vision.dtype)
    start = time.perf_counter()
    image = model.encode_image(pixels)
    encoded = time.perf_counter()
    pool: Pool[int] = Pool(model, decoding, 1)
    pool.admit([0], model.encode(image, torch.tensor([[0, 4, 5, 6, 2]])))
    begun = time.perf_counter()
    steps = 0
    while pool.keys and steps < STEPS:
        pool.step()
        steps += 1
    return encoded - start + TOKENS * (time.perf_counter() - begun) / steps
