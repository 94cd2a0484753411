"""The queue of a cluster: every question answered once, whatever dies; and its efficiency at a scale that is simulated.

Simulations run in virtual time: an event is (time, order, what happens), and no clock of the machine is read.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.cluster.dispatcher import DEATHS, Asked, Chunk, Counts, Dispatcher, Reply
from harness.core import Answer, Failure, Question, Text


def questions(count: int, per_image: int = 1) -> Iterator[Asked]:
    return ((ticket, Question(f"{ticket // per_image}.jpg", None, "caption")) for ticket in range(count))


def replies(chunk: Chunk) -> list[Reply]:
    return [(ticket, Answer((str(ticket),), Text((str(ticket),)))) for ticket, _ in chunk.questions]


@dataclass
class Simulation:
    """Workers that take `pace(worker)` seconds a question; `dies(worker, chunk)` says how far it gets, None: it lives.

    A dead worker is noticed at once and comes back after `rest` seconds; None: never.
    """

    queue: Dispatcher
    workers: int
    pace: Callable[[str], float]
    dies: Callable[[str, Chunk], float | None] = lambda worker, chunk: None
    rest: float | None = 30.0
    answered: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    useful: float = 0.0  # seconds that workers spent on answers that counted
    alive: float = 0.0  # seconds that workers were there

    def run(self) -> float:
        """The time at which the last question has its answer."""
        order = itertools.count()
        names = [f"w{number}" for number in range(self.workers)]
        events: list[tuple[float, int, str, str, Chunk | None]] = [
            (0.0, next(order), "idle", name, None) for name in names
        ]
        since = dict.fromkeys(names, 0.0)
        idle: set[str] = set()
        now = 0.0
        while events and not self.queue.done:
            now, _, what, name, chunk = heapq.heappop(events)
            if what == "ends" and chunk is not None:
                fresh = self.queue.finished(name, replies(chunk), now)
                self.useful += len(fresh) * self.pace(name)
                self.answered += [ticket for ticket, _ in fresh]
            if what == "dies":
                self.alive += now - since.pop(name)
                self.failed += [ticket for ticket, _ in self.queue.lost(name, "killed")]
                if self.rest is not None:
                    heapq.heappush(events, (now + self.rest, next(order), "idle", name, None))
                for waiting in sorted(idle):  # what it held can be dealt again
                    heapq.heappush(events, (now, next(order), "idle", waiting, None))
                idle.clear()
                continue
            since.setdefault(name, now)
            chunk = self.queue.take(name, self.workers, now)
            if chunk is None:
                idle.add(name)
                continue
            share = self.dies(name, chunk)
            seconds = self.pace(name) * len(chunk) * (1.0 if share is None else share)
            heapq.heappush(events, (now + seconds, next(order), "ends" if share is None else "dies", name, chunk))
        self.alive += sum(now - start for start in since.values())
        return now


@given(
    st.integers(0, 200), st.integers(1, 6), st.integers(1, 5), st.one_of(st.none(), st.integers(1, 40)),
    st.integers(0, 2**32),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_question_is_answered_once_whatever_dies(
    count: int, workers: int, per_image: int, size: int | None, seed: int
) -> None:
    random_ = random.Random(seed)
    killed = Counter[str]()

    def dies(worker: str, chunk: Chunk) -> float | None:
        killed[worker] += random_.random() < 0.3
        return random_.random() if random_.random() < 0.1 and len(chunk) > 1 else None  # nothing is set aside

    pace = {f"w{number}": random_.uniform(0.01, 0.5) for number in range(workers)}
    simulation = Simulation(Dispatcher(questions(count, per_image), size=size), workers, pace.__getitem__, dies)
    simulation.run()
    assert sorted(simulation.answered) == list(range(count))
    assert simulation.failed == []
    assert simulation.queue.done


def test_poisonous_question_is_set_aside_after_three_deaths_alone_and_no_other() -> None:
    """64 questions in chunks of 16; number 21 kills whoever holds it: first with its chunk, then three times alone."""
    deaths = Counter[int]()

    def dies(worker: str, chunk: Chunk) -> float | None:
        poisonous = any(ticket == 21 for ticket, _ in chunk.questions)
        deaths[len(chunk)] += poisonous
        return 0.5 if poisonous else None

    simulation = Simulation(Dispatcher(questions(64), size=16), 2, lambda _: 0.1, dies)
    simulation.run()
    assert simulation.failed == [21]
    assert sorted(simulation.answered) == [number for number in range(64) if number != 21]
    assert {size: count for size, count in deaths.items() if count} == {16: 1, 1: DEATHS}
    assert simulation.queue.counts.deaths == 1 + DEATHS


def test_failure_of_a_poisonous_question_names_the_last_death() -> None:
    queue = Dispatcher(questions(1))
    for _ in range(DEATHS - 1):
        assert queue.take("w", 1, 0.0) is not None
        assert queue.lost("w", "killed") == []
    assert queue.take("w", 1, 0.0) is not None
    [(ticket, failure)] = queue.lost("w", "signal 11")
    assert ticket == 0
    assert isinstance(failure, Failure)
    assert failure.reason == "set aside: 3 workers died of it, the last one: signal 11"
    assert queue.done


def test_question_of_which_a_worker_died_is_not_given_to_two_at_once() -> None:
    """The idle worker would be faster: without the death it gets the question too, and might die of it as well."""
    queue = Dispatcher(questions(2), size=1)
    first, deadly = queue.take("a", 2, 0.0), queue.take("b", 2, 0.0)
    assert first is not None and deadly is not None
    queue.finished("a", replies(first), 0.1)
    assert queue.lost("b", "killed") == []
    again = queue.take("b", 2, 10.0)
    assert again is not None and again.deaths == 1
    assert queue.take("a", 2, 99.0) is None
    queue.finished("b", replies(again), 100.0)
    assert queue.done


def test_chunks_keep_the_questions_of_an_image_together() -> None:
    queue = Dispatcher(questions(40, per_image=4), size=10)
    images: list[set[str]] = []
    while (chunk := queue.take("w", 1, 0.0)) is not None:
        images.append({question.image_name for _, question in chunk.questions})
        assert len(chunk) == 8  # two images of four questions: a third would make 12
        queue.finished("w", replies(chunk), 1.0)
    assert sum(map(len, images)) == len(set().union(*images)) == 10


def test_size_of_chunks_follows_the_speed_of_each_worker() -> None:
    """Goal 2 s: 40 questions at 0.05 s each, 4 at 0.5 s; both in whole batches of 4."""
    queue = Dispatcher(questions(10_000), goal=2.0, least=4)
    now = {"fast": 0.0, "slow": 0.0}
    sizes: dict[str, list[int]] = {"fast": [], "slow": []}
    for _ in range(12):
        for worker, each in (("fast", 0.05), ("slow", 0.5)):
            chunk = queue.take(worker, 2, now[worker])
            assert chunk is not None
            sizes[worker].append(len(chunk))
            now[worker] += each * len(chunk)
            queue.finished(worker, replies(chunk), now[worker])
    assert sizes["fast"][-1] == 40
    assert sizes["slow"][-1] == 4


def test_chunks_shrink_at_the_end_and_the_slowest_is_given_twice() -> None:
    """Two workers, one of which stops for ever: the other answers everything, the stuck chunk too."""
    queue = Dispatcher(questions(100), goal=1.0)
    first = [queue.take(worker, 2, 0.0) for worker in ("a", "b")]
    for worker, chunk in zip(("a", "b"), first, strict=True):
        assert chunk is not None and len(chunk) == 1  # nothing is known of their speed yet
        queue.finished(worker, replies(chunk), 0.1)
    stuck = queue.take("b", 2, 1.0)
    assert stuck is not None
    now, answered = 1.0, 0
    sizes: list[int] = []
    while not queue.done:
        chunk = queue.take("a", 2, now)
        assert chunk is not None
        sizes.append(len(chunk))
        now += 0.1 * len(chunk)
        answered += len(queue.finished("a", replies(chunk), now))
    assert answered + 2 == 100
    assert sizes[0] == 10
    assert min(sizes) == 1
    assert chunk is stuck
    assert queue.finished("b", replies(stuck), now + 1) == ()
    assert queue.counts.twice == len(stuck)


def test_silent_worker_is_overdue_after_patience_and_ten_times_the_expected() -> None:
    queue = Dispatcher(questions(100), size=10, patience=60)
    chunk = queue.take("a", 1, 0.0)
    assert chunk is not None
    assert queue.overdue(59) == []
    assert queue.overdue(61) == ["a"]
    queue.finished("a", replies(chunk), 100.0)  # 10 s a question: 100 s for the next ten, late after 1,000
    assert queue.take("a", 1, 100.0) is not None
    assert queue.overdue(1_099) == []
    assert queue.overdue(1_101) == ["a"]


def test_window_of_questions_does_not_grow_with_their_number() -> None:
    """A million questions are pulled as they are needed: at most the workers' chunks and the window ahead."""
    pulled = 0

    def stream() -> Iterator[Asked]:
        nonlocal pulled
        for asked in questions(1_000_000):
            pulled += 1
            yield asked

    queue = Dispatcher(stream(), size=32)
    taken = 0
    for _ in range(100):
        chunk = queue.take("w", 4, 0.0)
        assert chunk is not None
        taken += len(chunk)
        queue.finished("w", replies(chunk), 1.0)
        assert pulled - taken <= 32 * (2 * 4 + 1)


def thousand(goal: float, lost: float) -> tuple[float, float, Counts]:
    """Seconds, efficiency and counts of 1,000 workers on 200,000 questions, with a share of the workers lost for good.

    A question takes 0.35 to 0.7 s by the worker, and five times that on 20 stragglers; a batch is of 4.  Efficiency:
    seconds spent on answers that counted, of the seconds that workers were there.
    """
    random_ = random.Random(7)
    pace = {f"w{number}": random_.uniform(0.35, 0.7) for number in range(1_000)}
    for number in range(20):
        pace[f"w{number}"] *= 5
    end_of = {f"w{number}": random_.uniform(5, 60) for number in random_.sample(range(1_000), int(lost * 1_000))}
    worked = dict.fromkeys(pace, 0.0)

    def dies(worker: str, chunk: Chunk) -> float | None:
        worked[worker] += len(chunk) * pace[worker]
        return 0.5 if worked[worker] > end_of.get(worker, math.inf) else None

    queue = Dispatcher(questions(200_000, per_image=3), goal=goal, least=4)
    simulation = Simulation(queue, 1_000, pace.__getitem__, dies, None)
    end = simulation.run()
    assert sorted(simulation.answered) == list(range(200_000))
    assert queue.counts.deaths == len(end_of)
    return end, simulation.useful / simulation.alive, queue.counts


@pytest.mark.parametrize("lost", [0.0, 0.1])
def test_a_thousand_workers_are_busy_most_of_the_time(lost: float) -> None:
    _, efficiency, _ = thousand(2.0, lost)
    assert efficiency > 0.95
