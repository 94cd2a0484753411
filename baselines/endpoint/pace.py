"""How many requests are under way at once: more while the server keeps up, fewer when it says that it does not.

As in TCP's congestion control: one more after each round of answers, and half as many after an overload (429, 503, or
a time-out).  After `Retry-After`, no request starts before its time.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

START = 4  # requests at once, at first
LONGEST_WAIT = 60.0  # seconds between two tries of a request, also where the server asks for more


@dataclass(slots=True)
class Pace:
    """The number of requests that may be under way, between 1 and `most`."""

    most: int
    allowed: float = 0.0
    highest: int = 0  # the largest number that was allowed
    overloads: int = 0
    _not_before: float = 0.0  # of `time.monotonic`
    _halved: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.allowed = float(min(START, self.most))
        self.highest = int(self.allowed)

    @property
    def room(self) -> int:
        """The number of requests that may be under way now."""
        return int(self.allowed)

    def answered(self) -> None:
        """Counts a request that was answered in time."""
        with self._lock:
            self.allowed = min(float(self.most), self.allowed + 1 / self.allowed)
            self.highest = max(self.highest, int(self.allowed))

    def overloaded(self, started: float, wait: float = 0.0) -> None:
        """Halves the number after a request that `started` (of `time.monotonic`) met an overload.

        Requests that started before the last halving do not halve again.  `wait` is the server's Retry-After, in
        seconds.
        """
        with self._lock:
            self.overloads += 1
            now = time.monotonic()
            self._not_before = max(self._not_before, now + min(wait, LONGEST_WAIT))
            if started >= self._halved:
                self._halved = now
                self.allowed = max(1.0, self.allowed / 2)

    def wait(self, stop: threading.Event) -> None:
        """Sleeps until requests may start again, or until `stop` is set."""
        while (left := self._not_before - time.monotonic()) > 0 and not stop.wait(left):
            pass


def back_off(attempt: int, first: float) -> float:
    """Seconds before try number `attempt` (from 1): up to `first`, doubled for each try, with full jitter."""
    return random.uniform(0.1, 1.0) * min(LONGEST_WAIT, first * 2.0 ** (attempt - 1))
