"""Scenarios over a system of known speed, on a simulated clock."""

from __future__ import annotations

import itertools

import pytest

from harness.speed import scenarios
from harness.speed.levels import Level
from tests.harness.speed.known import SHORT, STEP, Clock, Known

pytestmark = pytest.mark.usefixtures("simulated_time")


def test_single_stream_submits_one_query_at_a_time_until_level_is_reached() -> None:
    measured = scenarios.single_stream(Known(), 5, SHORT)
    assert measured.seconds >= 0.2
    assert len(measured.queries) >= 40
    assert measured.latencies == pytest.approx([STEP] * len(measured.queries))  # never two at once
    assert all(tokens == [query] * 3 for query, tokens in zip(measured.queries, measured.answers, strict=True))
    counts = [measured.queries.count(query) for query in range(5)]
    assert max(counts) - min(counts) <= 1  # the set is repeated evenly
    fewer = scenarios.single_stream(Known(0.02), 5, Level("count", 0.01, 12, 2, 3))
    assert len(fewer.queries) == 12  # the least time is over after one query


def test_offline_submits_whole_set_at_once() -> None:
    measured = scenarios.offline(Known(), 10, SHORT)
    assert len(measured.queries) % 10 == 0
    assert len(measured.passes) == len(measured.queries) // 10
    assert measured.passes == pytest.approx([10 * STEP] * len(measured.passes))
    latencies = [STEP * (1 + place) for place in range(10)]  # one answer per step, timed from the start of the pass
    assert measured.latencies[:10] == pytest.approx(latencies)


def test_server_latency_starts_when_query_is_due() -> None:
    rate = 50.0
    measured = scenarios.server(Known(), 5, Level("s", 2.0, 40, 2, 3), rate)
    assert len(measured.queries) == 100
    assert measured.seconds == pytest.approx(100 / rate, rel=0.5)  # a sum of 100 exponentials has a spread of 10 %
    late = scenarios.server(Known(0.03), 5, Level("s", 1.0, 40, 2, 3), rate)  # the system answers 33 per second
    # The queue grows: the last of 50 queries starts after 50 * 0.03 s, and was due at about 1 s.
    assert max(late.latencies) > 0.25
    assert not scenarios.holds(late, 0.1, rate).holds


def test_rate_with_growing_queue_does_not_hold_despite_short_median() -> None:
    """Two thirds of the latencies are short, the last third is late.  Thirty values support p50 only."""
    ended = [float(second) for second in range(30)]
    latencies = [0.1] * 20 + [2.0] * 10
    growing = scenarios.Measured(queries=[0] * 30, latencies=latencies, ended=ended, answers=[[1]] * 30, seconds=30.0)
    assert scenarios.holds(growing, 1.0, 1.0) == scenarios.Held(1.0, 50.0, 0.1, False)
    growing.latencies = [0.1] * 30
    assert scenarios.holds(growing, 1.0, 1.0).holds


def test_highest_rate_search_finds_capacity_of_queue() -> None:
    """One server of 4 ms: at half of its 250 per second the mean wait is 2 ms (M/D/1), at 250 it has no bound."""
    level = Level("s", 10.0, 400, 2, 3)
    tried = scenarios.highest_rate(lambda rate: scenarios.server(Known(), 5, level, rate), 60.0, 0.05)
    best = max(held.rate for held, _ in tried if held.holds)
    assert 150 < best < 260
    assert any(not held.holds for held, _ in tried)


def test_highest_rate_search_doubles_while_every_rate_holds() -> None:
    def holding(rate: float) -> scenarios.Measured:
        ended = [float(second) for second in range(30)]
        return scenarios.Measured([0] * 30, [0.1] * 30, ended, [[1]] * 30, 30.0)

    tried = scenarios.highest_rate(holding, 1.0, 1.0)
    assert [held.rate for held, _ in tried] == [2.0**number for number in range(scenarios.TRIES)]


def test_accuracy_run_submits_as_scenario_does() -> None:
    """Each answer holds the number of queries that waited with its own, itself included."""

    class Counting(Known):
        def step(self) -> None:
            waiting = len(self.waiting)
            super().step()
            ticket, tokens = self.done.pop()
            self.done.append((ticket, [tokens[0], waiting]))

    assert scenarios.accuracy(Counting(), 4, "single_stream") == [[query, 1] for query in range(4)]
    first = list(itertools.islice(scenarios.order(4), 4))
    assert scenarios.accuracy(Counting(), 4, "offline") == [[query, 4 - first.index(query)] for query in range(4)]


def test_warm_up_ends_after_two_equal_groups() -> None:
    times = itertools.chain([0.02, 0.02, 0.005, 0.005], itertools.repeat(0.001))
    calls = [0]

    def work() -> None:
        calls[0] += 1
        Clock.sleep(next(times))

    assert scenarios.warm_up(work, 2)
    assert calls[0] == 2 * 4  # groups of 20, 5, 1 and 1 ms


def test_warm_up_of_slowing_system_is_not_steady() -> None:
    """Each answer takes a quarter more than the one before."""

    class Slowing(Known):
        def step(self) -> None:
            super().step()
            self.seconds *= 1.25

    slowing = Slowing(1e-5)
    assert not scenarios.warm_up(lambda: scenarios.ask(slowing, [0]), 2)
