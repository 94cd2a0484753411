"""A model on another machine as a system that is measured: queries go out as they are submitted.

The time of a query includes the network and the server's own queue.  Token ids are not known: an answer is a digest of
its text, repeated for each token that the server counted.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from harness.core import Estimate
from harness.speed.percentiles import percentiles
from harness.speed.scenarios import Tokens

STEP = 0.001  # seconds that a step waits for an answer; arrivals are late by at most as much


@dataclass(frozen=True, slots=True)
class Completed:
    """An answer: its text, its number of tokens, and the seconds until its first text came."""

    text: str
    tokens: int
    first: float


@dataclass(slots=True)
class Remote:
    """A `scenarios.System`.  `complete` sends a query and waits for its answer; `most` queries are under way at once.

    `server` and `served` name the model in records; `about` describes the queries.
    """

    complete: Callable[[int], Completed]
    queries: int
    most: int
    server: str
    served: str
    about: str
    on_close: Callable[[], object] = int
    firsts: list[float] = field(default_factory=list)  # of every answer, in the order of their ends
    _pending: dict[Future[Completed], int] = field(default_factory=dict)
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(self.most, "remote")

    @property
    def busy(self) -> bool:
        """Whether a query has no answer yet, or one that was not polled."""
        return bool(self._pending)

    def submit(self, ticket: int, query: int) -> None:
        """Sends a query; it waits here while `most` others are under way."""
        self._pending[self._pool.submit(self.complete, query)] = ticket

    def step(self) -> None:
        """Waits a moment for an answer."""
        wait(self._pending, STEP, FIRST_COMPLETED)

    def poll(self) -> list[tuple[int, Tokens]]:
        """Returns answered tickets with their tokens; raises what `complete` raised."""
        done = [future for future in self._pending if future.done()]
        answers: list[tuple[int, Tokens]] = []
        for future in done:
            ticket = self._pending.pop(future)
            completed = future.result()
            self.firsts.append(completed.first)
            answers.append((ticket, [zlib.crc32(completed.text.encode())] * max(1, completed.tokens)))
        return answers

    def first_text(self, last: int) -> dict[str, Estimate]:
        """Returns the percentiles of the time to the first text over the `last` answers, in seconds."""
        return {f"first text {name}": value for name, value in percentiles(self.firsts[-last:]).items()}

    def close(self) -> None:
        """Waits for the queries under way."""
        self._pool.shutdown(cancel_futures=True)
        self.on_close()
