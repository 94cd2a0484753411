"""The scenarios of MLPerf's LoadGen: when queries are submitted to a system.

    single_stream   the next query after the answer to the last: latency
    offline         all queries at once: throughput
    server          queries at the times of a Poisson process: latency under load, and the highest rate that holds

A system holds its queries in memory, and a query is a number; loading and decoding of files are not timed.  A run
repeats the set of queries in one seeded order.  Times are seconds of `time.perf_counter`.
Source: Reddi et al., MLPerf Inference Benchmark, 2020, section 3.
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
TRIES = 8  # doublings or halvings in the search for a rate, and bisections after them


class System(Protocol):
    """Answers queries by their numbers."""

    @property
    def busy(self) -> bool: ...

    def submit(self, ticket: int, query: int) -> None: ...

    def step(self) -> None: ...

    def poll(self) -> Sequence[tuple[int, Tokens]]:
        """Returns finished tickets and the token ids of their answers; each ticket is returned once."""
        ...


@dataclass(slots=True)
class Measured:
    """The answered queries of a run.

    `queries`, `latencies`, `ended` and `answers` have one entry per answer: the query, its latency, the time from the
    start of the run to the answer, and the token ids.  `passes` are the seconds of each pass over the set (offline).
    `steady` says whether the warm-up reached a steady state.  `meter` is what `Meter.stop` returned for the run.
    """

    queries: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    answers: list[Tokens] = field(default_factory=list)
    seconds: float = 0.0
    passes: list[float] = field(default_factory=list)
    steady: bool = True
    meter: Mapping[str, Any] = field(default_factory=dict)

    def add(self, query: int, latency: float, ended: float, tokens: Tokens) -> None:
        self.queries.append(query)
        self.latencies.append(latency)
        self.ended.append(ended)
        self.answers.append(tokens)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.answers))


def order(queries: int, seed: int = 0) -> Iterator[int]:
    """Yields the numbers below `queries` in one seeded order, repeated without end."""
    return itertools.cycle(np.random.default_rng(seed).permutation(queries).tolist())


def _one_pass(queries: int) -> list[int]:
    return list(itertools.islice(order(queries), queries))


def ask(system: System, queries: Sequence[int]) -> list[Tokens]:
    """Submits all queries at once, and returns their answers in the order of `queries`."""
    for ticket, query in enumerate(queries):
        system.submit(ticket, query)
    answers: dict[int, Tokens] = {}
    while system.busy:
        system.step()
        answers |= dict(system.poll())
    return [answers[ticket] for ticket in range(len(queries))]


def accuracy(system: System, queries: int, scenario: str) -> list[Tokens]:
    """Returns the answer to each query from an untimed run (LoadGen's accuracy mode).

    Queries are submitted as in the scenario: one after another for a single stream, else all at once in the seeded
    order.
    """
    submitted = _one_pass(queries)
    if scenario == "single_stream":
        answers = [ask(system, [query])[0] for query in submitted]
    else:
        answers = ask(system, submitted)
    by_query = dict(zip(submitted, answers, strict=True))
    return [by_query[query] for query in range(queries)]


def warm_up(work: Callable[[], object], group: int) -> bool:
    """Runs the work in groups of `group` calls until it is steady; returns whether it became so.

    Steady: the medians of two consecutive groups differ by at most `STEADY`.
    """
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
    """Submits one query at a time, until the level is reached.

    `warm` is called after the warm-up, before timing starts.  `tick` receives the number of answers so far.
    """
    following, measured = order(queries), Measured()
    measured.steady = warm_up(lambda: ask(system, [next(following)]), level.group)
    warm()
    following, begin = order(queries), time.perf_counter()
    while measured.seconds < level.seconds or len(measured.queries) < level.count:
        query = next(following)
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
    """Submits the whole set at once, pass after pass, until the level is reached.

    A latency is the time from the start of its pass.  The warm-up runs the whole set as well, so that every shape of
    the run has occurred before.  `warm` and `tick` are as in `single_stream`.
    """
    submitted = _one_pass(queries)
    measured = Measured(steady=warm_up(lambda: ask(system, submitted), 1))
    warm()
    begin = time.perf_counter()
    while measured.seconds < level.seconds or len(measured.queries) < level.count:
        start = time.perf_counter()
        for ticket, query in enumerate(submitted):
            system.submit(ticket, query)
        while system.busy:
            system.step()
            for ticket, tokens in system.poll():
                now = time.perf_counter()
                measured.add(submitted[ticket], now - start, now - begin, tokens)
        measured.passes.append(time.perf_counter() - start)
        measured.seconds = time.perf_counter() - begin
        tick(len(measured.queries))
    return measured


def server(
    system: System, queries: int, level: Level, rate: float, seed: int = 0, tick: Callable[[int], object] = int
) -> Measured:
    """Submits queries at the times of a Poisson process with `rate` queries per second.

    A latency starts when its query is due, not when the query is submitted.
    """
    count = level.queries(rate)
    due = np.cumsum(np.random.default_rng((seed, 7)).exponential(1 / rate, count)).tolist()
    chosen = list(itertools.islice(order(queries), count))
    measured, begin, submitted = Measured(), time.perf_counter(), 0
    while submitted < count or system.busy:
        now = time.perf_counter() - begin
        while submitted < count and due[submitted] <= now:
            system.submit(submitted, chosen[submitted])
            submitted += 1
        if system.busy:
            system.step()
        elif submitted < count:
            time.sleep(max(0.0, due[submitted] - (time.perf_counter() - begin)))
        now = time.perf_counter() - begin
        for ticket, tokens in system.poll():
            measured.add(chosen[ticket], now - due[ticket], now, tokens)
        tick(len(measured.queries))
    measured.seconds = time.perf_counter() - begin
    return measured


@dataclass(frozen=True, slots=True)
class Held:
    """A rate that was tried: the percentile compared with the target, its latency, and whether the target holds."""

    rate: float
    percent: float
    latency: float
    holds: bool


def target_percent(count: int) -> float:
    """Returns the percentile that is compared with a target: 99, or the highest that `count` latencies support."""
    return next((percent for percent in (99.0, 95.0, 90.0, 50.0) if count >= least_count(percent)), 50.0)


def holds(measured: Measured, target: float, rate: float) -> Held:
    """Returns whether a run meets the latency target (seconds), also at its end.

    The median latency of the queries due in the last third must meet the target too: this detects a growing queue.
    """
    percent = target_percent(len(measured.latencies))
    estimate = percentile(sorted(measured.latencies), percent)
    latency = float("inf") if estimate is None or estimate.value is None else estimate.value
    answered = zip(measured.ended, measured.latencies, strict=True)
    by_due = sorted(answered, key=lambda times: times[0] - times[1])
    last = [latency for _, latency in by_due[-max(1, len(by_due) // 3) :]]
    return Held(rate, percent, latency, latency <= target and statistics.median(last) <= target)


def highest_rate(try_rate: Callable[[float], Measured], first: float, target: float) -> list[tuple[Held, Measured]]:
    """Searches for the highest rate that holds the target, and returns every rate that was tried, in order.

    The rate is doubled while it holds, else halved until it holds, and then bisected to within 5 %.
    """
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
