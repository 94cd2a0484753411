"""What is asked when: MLPerf LoadGen's scenarios, over anything that is submitted to, stepped and polled.

    single_stream   the next query once the last is answered: latency
    offline         all at once: throughput
    server          at the moments of a Poisson process: latency under load, and the highest rate that still holds

Queries are numbers into a set that the system holds in memory; loading and decoding of files are not timed.  The set is
gone through in one seeded order again and again.  (LoadGen: Reddi et al., MLPerf Inference Benchmark, 2020, section 3.)
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from harness.speed.levels import MOST_GROUPS, STEADY, Level
from harness.speed.percentiles import least_count, percentile

Tokens = Sequence[int]
TRIES = 8  # doublings or halvings in the search for a rate, and as many steps between


class System(Protocol):
    """Something that answers queries by their numbers."""

    @property
    def busy(self) -> bool: ...

    def submit(self, ticket: int, query: int) -> None: ...

    def step(self) -> None: ...

    def poll(self) -> Sequence[tuple[int, Tokens]]:
        """Tickets with the tokens of their answers, each once."""
        ...


@dataclass(slots=True)
class Measured:
    """Queries in the order they were asked, with seconds to each answer, when each ended, and what was written.

    `passes` are the seconds of each time through the set, offline; `steady` says whether the warm-up came to an end;
    `used` is what a meter says of it.
    """

    queries: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    written: list[Tokens] = field(default_factory=list)
    seconds: float = 0.0
    passes: list[float] = field(default_factory=list)
    steady: bool = True
    used: Mapping[str, Any] = field(default_factory=dict)

    def add(self, query: int, latency: float, ended: float, tokens: Tokens) -> None:
        self.queries.append(query)
        self.latencies.append(latency)
        self.ended.append(ended)
        self.written.append(tokens)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.written))


def order(queries: int, seed: int = 0) -> Iterator[int]:
    """All of them, in one seeded order, for ever."""
    return itertools.cycle(np.random.default_rng(seed).permutation(queries).tolist())


def _once(queries: int) -> list[int]:
    return list(itertools.islice(order(queries), queries))


def ask(system: System, queries: Sequence[int]) -> list[Tokens]:
    """All at once, in their order."""
    for ticket, query in enumerate(queries):
        system.submit(ticket, query)
    found: dict[int, Tokens] = {}
    while system.busy:
        system.step()
        found |= dict(system.poll())
    return [found[ticket] for ticket in range(len(queries))]


def accuracy(system: System, queries: int, scenario: str) -> list[Tokens]:
    """The answer to each query, untimed, asked in the scenario's own manner (LoadGen's accuracy mode): one after
    another in a single stream, else all at once in the order of its set."""
    one = _once(queries)
    answers = [ask(system, [query])[0] for query in one] if scenario == "single_stream" else ask(system, one)
    found = dict(zip(one, answers, strict=True))
    return [found[query] for query in range(queries)]


def warm_up(work: Callable[[], object], group: int) -> bool:
    """Works uncounted until two neighbouring groups of so many are about as quick; whether that came."""
    before = None
    for _ in range(MOST_GROUPS):
        times = []
        for _ in range(group):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        now = statistics.median(times)
        if before is not None and abs(now - before) <= STEADY * before:
            return True
        before = now
    return False


def single_stream(
    system: System, queries: int, level: Level, tick: Callable[[int], object] = int, warm: Callable[[], object] = int
) -> Measured:
    """One after another; `warm` is called between the warm-up and what is timed."""
    asked, measured = order(queries), Measured()
    measured.steady = warm_up(lambda: ask(system, [next(asked)]), level.group)
    warm()
    asked, begin = order(queries), time.perf_counter()
    while measured.seconds < level.seconds or len(measured.queries) < level.count:
        query = next(asked)
        start = time.perf_counter()
        [tokens] = ask(system, [query])
        now = time.perf_counter()
        measured.add(query, now - start, now - begin, tokens)
        measured.seconds = now - begin
        tick(len(measured.queries))
    return measured


def offline(
    system: System, queries: int, level: Level, tick: Callable[[int], object] = int, warm: Callable[[], object] = int
) -> Measured:
    """All of the set at once, as often as the level asks for; latencies are from the beginning of each time.

    The warm-up is of the whole set as well, so that every size that will come has come.
    """
    one = _once(queries)
    measured = Measured(steady=warm_up(lambda: ask(system, one), 1))
    warm()
    begin = time.perf_counter()
    while measured.seconds < level.seconds or len(measured.queries) < level.count:
        start = time.perf_counter()
        for ticket, query in enumerate(one):
            system.submit(ticket, query)
        while system.busy:
            system.step()
            for ticket, tokens in system.poll():
                now = time.perf_counter()
                measured.add(one[ticket], now - start, now - begin, tokens)
        measured.passes.append(time.perf_counter() - start)
        measured.seconds = time.perf_counter() - begin
        tick(len(measured.queries))
    return measured


def server(
    system: System, queries: int, level: Level, rate: float, seed: int = 0, tick: Callable[[int], object] = int
) -> Measured:
    """Queries at the moments of a Poisson process of `rate` a second; a latency begins when its query was due."""
    count = level.queries(rate)
    due = np.cumsum(np.random.default_rng((seed, 7)).exponential(1 / rate, count)).tolist()
    chosen = list(itertools.islice(order(queries), count))
    measured, begin, asked = Measured(), time.perf_counter(), 0
    while asked < count or system.busy:
        now = time.perf_counter() - begin
        while asked < count and due[asked] <= now:
            system.submit(asked, chosen[asked])
            asked += 1
        if system.busy:
            system.step()
        elif asked < count:
            time.sleep(max(0.0, due[asked] - (time.perf_counter() - begin)))
        now = time.perf_counter() - begin
        for ticket, tokens in system.poll():
            measured.add(chosen[ticket], now - due[ticket], now, tokens)
        tick(len(measured.queries))
    measured.seconds = time.perf_counter() - begin
    return measured


@dataclass(frozen=True, slots=True)
class Held:
    """A rate that was tried, the percentile that was looked at, its latency, and whether it held."""

    rate: float
    percent: float
    latency: float
    holds: bool


def looked_at(count: int) -> float:
    """The percentile that a target is held to: p99, or the highest that the count supports."""
    return next((percent for percent in (99.0, 95.0, 90.0, 50.0) if count >= least_count(percent)), 50.0)


def holds(measured: Measured, target: float, rate: float) -> Held:
    """Whether the latency target was met, and was so to the end: of a queue that grows, the last third is late."""
    percent = looked_at(len(measured.latencies))
    found = percentile(sorted(measured.latencies), percent)
    latency = float("inf") if found is None or found.value is None else found.value
    by_due = sorted(zip(measured.ended, measured.latencies, strict=True), key=lambda one: one[0] - one[1])
    last = [latency for _, latency in by_due[-max(1, len(by_due) // 3) :]]
    return Held(rate, percent, latency, latency <= target and statistics.median(last) <= target)


def highest_rate(try_rate: Callable[[float], Measured], first: float, target: float) -> list[tuple[Held, Measured]]:
    """Every rate that was tried: doubled while it holds, halved until one does, then bisected to a few percent."""
    tried: list[tuple[Held, Measured]] = []

    def attempt(rate: float) -> bool:
        measured = try_rate(rate)
        tried.append((holds(measured, target, rate), measured))
        return tried[-1][0].holds

    low, high, rate = 0.0, math.inf, first
    while high > 1.05 * low and len(tried) < 2 * TRIES:
        if attempt(rate):
            low = rate
        else:
            high = rate
        if len(tried) >= TRIES and (low == 0 or high == math.inf):
            break
        rate = 2 * low if high == math.inf else high / 2 if low == 0 else math.sqrt(low * high)
    return tried
