"""Deals questions to workers in chunks, and deals them again when a worker dies, hangs or is slow.

The caller owns the clock and the workers: it says what happened and when, so a simulation can run it in virtual time.
Memory does not depend on the number of questions: only a window of them is held.

Rules:

- A chunk keeps the questions of one image together, if they follow each other.
- Its size aims at `goal` seconds by the worker's own speed.  Once the end is in sight, it is at most half of an equal
  share of what is left, so that workers end together.
- What a dead worker held is dealt again question by question.  A question that was alone when `DEATHS` workers died of
  it is set aside as a Failure.  A lost node takes many workers at once, but hardly three with the same question alone.
- When nothing is left to deal, an idle worker gets the chunk that is expected to end last, if it would end earlier
  there.  The first answer counts.  A question of which a worker died is held by one worker at a time.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from harness.core import Answer, Failure, Question, Ticket

Asked = tuple[Ticket, Question]
Reply = tuple[Ticket, Answer | Failure]
GOAL = 2.0  # seconds that a chunk should take
PATIENCE = 120.0  # seconds after which a worker that is far too late counts as dead
LATE = 10  # times the expected seconds that are far too late
DEATHS = 3  # of workers, after which a question is set aside
LARGEST = 4096  # questions in a chunk


@dataclass(eq=False, slots=True)
class Chunk:
    """Questions that a worker answers together; `deaths` of workers if it is one question; who holds it now."""

    questions: Sequence[Asked]
    deaths: int = 0
    holders: dict[str, float] = field(default_factory=dict)  # the time at which each got it
    done: bool = False

    def __len__(self) -> int:
        return len(self.questions)


@dataclass(slots=True)
class Speed:
    """Seconds per question of a worker, as a mean over about its last five chunks; None before the first."""

    seconds: float | None = None

    def add(self, seconds: float, questions: int) -> None:
        """Counts a chunk that took `seconds`."""
        each = max(seconds, 1e-6) / questions
        self.seconds = each if self.seconds is None else 0.7 * self.seconds + 0.3 * each


@dataclass(slots=True)
class Counts:
    """What happened: chunks dealt, answers that came twice, deaths of workers, and answers by worker."""

    chunks: int = 0
    twice: int = 0
    deaths: int = 0
    answers: dict[str, int] = field(default_factory=dict)


class Dispatcher:
    """The queue of a run.  `least` is the size of a worker's batch, below which chunks would waste it."""

    def __init__(
        self,
        questions: Iterable[Asked],
        *,
        goal: float = GOAL,
        size: int | None = None,
        least: int = 1,
        patience: float = PATIENCE,
    ) -> None:
        self._groups = (list(group) for _, group in groupby(questions, key=lambda asked: asked[1].image_name))
        self._goal, self._size, self._least, self._patience = goal, size, max(1, least), patience
        self._ahead: deque[list[Asked]] = deque()
        self._questions_ahead = 0
        self._exhausted = False
        self._again: deque[Chunk] = deque()
        self._held: dict[str, Chunk] = {}
        self._running: set[Chunk] = set()
        self._speeds: dict[str, Speed] = {}
        self._overall = Speed()
        self.counts = Counts()

    @property
    def done(self) -> bool:
        """Whether every question has its answer."""
        self._look_ahead(1)
        return not (self._ahead or self._again or self._running)

    @property
    def in_flight(self) -> int:
        """The number of questions that workers hold."""
        return sum(map(len, self._running))

    def take(self, worker: str, workers: int, now: float) -> Chunk | None:
        """The next chunk for an idle worker, one of `workers`; None where nothing is left that it should do."""
        chunk = self._again.popleft() if self._again else self._next(worker, workers) or self._slowest(worker, now)
        if chunk is None:
            return None
        chunk.holders[worker] = now
        self._held[worker] = chunk
        self._running.add(chunk)
        self.counts.chunks += 1
        return chunk

    def finished(self, worker: str, replies: Sequence[Reply], now: float) -> Sequence[Reply]:
        """The replies of a worker to its chunk, without those that another worker gave before."""
        chunk = self._held.pop(worker)
        seconds = now - chunk.holders.pop(worker)
        for speed in (self._speeds.setdefault(worker, Speed()), self._overall):
            speed.add(seconds, len(chunk))
        if chunk.done:
            self.counts.twice += len(chunk)
            return ()
        self._conclude(chunk)
        self.counts.answers[worker] = self.counts.answers.get(worker, 0) + len(chunk)
        return replies

    def lost(self, worker: str, reason: str) -> list[Reply]:
        """Deals the chunk of a dead worker again; returns a Failure for a question that is set aside."""
        self.counts.deaths += 1
        self._speeds.pop(worker, None)
        chunk = self._held.pop(worker, None)
        if chunk is None:
            return []
        chunk.holders.pop(worker)
        if chunk.done or chunk.holders:  # answered, or another worker still has it
            return []
        self._conclude(chunk)
        if len(chunk) > 1:
            self._again.extend(Chunk([asked]) for asked in chunk.questions)
            return []
        deaths = chunk.deaths + 1
        if deaths < DEATHS:
            self._again.append(Chunk(chunk.questions, deaths))
            return []
        [(ticket, _)] = chunk.questions
        return [(ticket, Failure(f"set aside: {deaths} workers died of it, the last one: {reason}"))]

    def overdue(self, now: float) -> list[str]:
        """The workers that are far too late with their chunk, which counts as dead."""
        late = []
        for worker, chunk in self._held.items():
            expected = self._expected(worker, len(chunk))
            if now - chunk.holders[worker] > max(self._patience, LATE * (expected or 0)):
                late.append(worker)
        return late

    def rates(self) -> Mapping[str, float]:
        """Questions per second of each worker."""
        return {worker: 1 / speed.seconds for worker, speed in self._speeds.items() if speed.seconds}

    def _conclude(self, chunk: Chunk) -> None:
        chunk.done = True
        self._running.discard(chunk)

    def _next(self, worker: str, workers: int) -> Chunk | None:
        """A new chunk of the questions that no worker has had."""
        size = self._size or self._aimed(worker)
        self._look_ahead(size * (2 * workers + 1))
        if not self._ahead:
            return None
        if self._exhausted and self._size is None:
            size = min(size, math.ceil(self._questions_ahead / (2 * workers)))
        questions: list[Asked] = []
        while self._ahead and (not questions or len(questions) + len(self._ahead[0]) <= size):
            questions += self._ahead.popleft()
        self._questions_ahead -= len(questions)
        return Chunk(questions)

    def _aimed(self, worker: str) -> int:
        """The number of questions that take the worker `goal` seconds, in whole batches."""
        each = self._speeds.get(worker, self._overall).seconds or self._overall.seconds
        if each is None:
            return self._least
        batches = max(1, round(self._goal / each / self._least))
        return min(batches * self._least, max(LARGEST, self._least))

    def _look_ahead(self, questions: int) -> None:
        """Holds at least this many questions, or all that are left."""
        while not self._exhausted and self._questions_ahead < questions:
            group = next(self._groups, None)
            if group is None:
                self._exhausted = True
                return
            self._ahead.append(group)
            self._questions_ahead += len(group)

    def _slowest(self, worker: str, now: float) -> Chunk | None:
        """The chunk of one other worker that is expected to end last, if this worker would end it earlier."""
        single = [chunk for chunk in self._running if len(chunk.holders) == 1 and not chunk.deaths]
        if not single:
            return None
        ends = {chunk: self._end(chunk, now) for chunk in single}
        chunk = max(single, key=ends.__getitem__)
        mine = self._expected(worker, len(chunk))
        return chunk if mine is not None and ends[chunk] > now + mine else None

    def _end(self, chunk: Chunk, now: float) -> float:
        """When a chunk is expected to end; never, for one that is already twice as late as expected."""
        [(holder, since)] = chunk.holders.items()
        expected = self._expected(holder, len(chunk))
        if expected is None or now - since > 2 * expected:
            return math.inf
        return max(now, since + expected)

    def _expected(self, worker: str, questions: int) -> float | None:
        """Seconds that a worker needs for some questions; None before any worker has answered one."""
        each = self._speeds.get(worker, self._overall).seconds or self._overall.seconds
        return None if each is None else each * questions
