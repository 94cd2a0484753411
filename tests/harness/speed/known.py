"""A clock that tests set, and a system whose speed and answers are known."""

from __future__ import annotations

from collections import deque

from harness.speed.levels import Level

STEP = 0.004
SHORT = Level("short", 0.2, 40, 2, 7)


class Clock:
    """Simulated seconds."""

    now = 0.0

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.now += max(seconds, 1e-6)


class Known:
    """Answers the oldest waiting query per step, in `seconds` of the simulated clock, with [query] * tokens."""

    def __init__(self, seconds: float = STEP, tokens: int = 3) -> None:
        self.seconds, self.tokens = seconds, tokens
        self.waiting: deque[tuple[int, int]] = deque()
        self.done: list[tuple[int, list[int]]] = []
        self.answered = 0

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.done)

    def submit(self, ticket: int, query: int) -> None:
        self.waiting.append((ticket, query))

    def step(self) -> None:
        Clock.sleep(self.seconds)
        ticket, query = self.waiting.popleft()
        self.answered += 1
        self.done.append((ticket, [query] * self.tokens))

    def poll(self) -> list[tuple[int, list[int]]]:
        done, self.done = self.done, []
        return done
