"""Scenarios over a system whose speed is known, and what makes a point INVALID; on a clock of our own."""

from __future__ import annotations

import itertools
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.errors import UsageError
from harness.florence2.config import with_text
from harness.speed import bench, levels, scenarios, systems
from harness.speed.levels import Level
from tests.twins import TINY

CPU = torch.device("cpu")
SHORT = Level("short", 0.2, 40, 2, 7)
STEP = 0.004


class Clock:
    now = 0.0

    @classmethod
    def sleep(cls, seconds: float) -> None:
        cls.now += max(seconds, 1e-6)


@pytest.fixture(autouse=True)
def told_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes where a system works or a scenario waits, and nowhere else."""
    stand_in = SimpleNamespace(perf_counter=lambda: Clock.now, sleep=Clock.sleep)
    monkeypatch.setattr(scenarios, "time", stand_in)
    monkeypatch.setattr(bench, "time", stand_in)


class Known:
    """Answers the oldest of what waits, each step, in so many seconds; query q is answered [q] * tokens."""

    def __init__(self, seconds: float = STEP, tokens: int = 3) -> None:
        self.seconds, self.tokens = seconds, tokens
        self.waiting: deque[tuple[int, int]] = deque()
        self.done: list[tuple[int, list[int]]] = []
        self.asked = 0

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.done)

    def submit(self, ticket: int, query: int) -> None:
        self.waiting.append((ticket, query))

    def step(self) -> None:
        Clock.sleep(self.seconds)
        ticket, query = self.waiting.popleft()
        self.asked += 1
        self.done.append((ticket, [query] * self.tokens))

    def poll(self) -> list[tuple[int, list[int]]]:
        done, self.done = self.done, []
        return done


def test_a_single_stream_asks_one_at_a_time_long_enough_and_often_enough() -> None:
    measured = scenarios.single_stream(Known(), 5, SHORT)
    assert measured.seconds >= 0.2
    assert len(measured.queries) >= 40
    assert measured.latencies == pytest.approx([STEP] * len(measured.queries))  # never two at once
    assert all(tokens == [query] * 3 for query, tokens in zip(measured.queries, measured.written, strict=True))
    counts = [measured.queries.count(query) for query in range(5)]
    assert max(counts) - min(counts) <= 1  # the set is gone through evenly
    fewer = scenarios.single_stream(Known(0.02), 5, Level("count", 0.01, 12, 2, 3))
    assert len(fewer.queries) == 12  # the time was over long before


def test_offline_is_the_whole_set_at_once() -> None:
    measured = scenarios.offline(Known(), 10, SHORT)
    assert len(measured.queries) % 10 == 0
    found = bench.throughput(measured)
    assert found["tokens an answer"] == 3
    assert found["images/s"] == pytest.approx(1 / STEP)
    assert found["tokens/s"] == pytest.approx(3 * found["images/s"])


def test_a_server_run_is_a_poisson_process_whose_latencies_begin_when_queries_are_due() -> None:
    rate = 50.0
    measured = scenarios.server(Known(), 5, Level("s", 2.0, 40, 2, 3), rate)
    assert len(measured.queries) == 100
    assert measured.seconds == pytest.approx(100 / rate, rel=0.5)  # a sum of 100 exponentials has a spread of 10 %
    late = scenarios.server(Known(0.03), 5, Level("s", 1.0, 40, 2, 3), rate)  # it can do 33 a second
    # The queue grows: the last of 50 begins when 50 * 0.03 s are done and was due at about 1 s.
    assert max(late.latencies) > 0.25
    assert not scenarios.holds(late, 0.1, rate).holds


def test_a_rate_at_which_the_queue_grows_does_not_hold_whatever_its_median_is() -> None:
    """Two thirds of the latencies are short, but the last third is late: few values, so p50 alone is looked at."""
    ended = [float(second) for second in range(30)]
    latencies = [0.1] * 20 + [2.0] * 10
    growing = scenarios.Measured(queries=[0] * 30, latencies=latencies, ended=ended, written=[[1]] * 30, seconds=30.0)
    assert scenarios.holds(growing, 1.0, 1.0) == scenarios.Held(1.0, 50.0, 0.1, False)
    growing.latencies = [0.1] * 30
    assert scenarios.holds(growing, 1.0, 1.0).holds


def test_the_highest_rate_is_found_and_one_that_cannot_be_held_is_said() -> None:
    """A queue with one server of 4 ms: at half its 250 a second the mean wait is 2 ms (M/D/1), at all of it endless."""
    level = Level("s", 10.0, 400, 2, 3)
    tried = scenarios.highest_rate(lambda rate: scenarios.server(Known(), 5, level, rate), 60.0, 0.05)
    best = max(one.rate for one, _ in tried if one.holds)
    assert 150 < best < 260
    assert any(not one.holds for one, _ in tried)
    point = bench.measure(Known(0.03), 5, "server", level, CPU, target=0.05, rate=60.0)
    assert any("60 a second cannot be held within 0.05 s" in reason for reason in point.reasons)


def test_a_rate_that_holds_to_the_end_of_the_search_is_the_highest_and_said_not_to_be_the_most() -> None:
    def holding(rate: float) -> scenarios.Measured:
        ended = [float(second) for second in range(30)]
        return scenarios.Measured([0] * 30, [0.1] * 30, ended, [[1]] * 30, 30.0, used={"reasons": []})

    tried = scenarios.highest_rate(holding, 1.0, 1.0)
    assert [one.rate for one, _ in tried] == [2.0**number for number in range(scenarios.TRIES)]
    measured, held, reasons = bench._served(holding, 2.0, 1.0, None)
    assert len(held) == scenarios.TRIES and measured.seconds == 30.0
    assert reasons[0].startswith("the highest rate was not reached: of all tried, 128 a second, p50 is 0.1 s")


def test_what_is_metered_is_what_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the accuracy run, the warm-up, nor other rates than the one that is given."""
    spans: list[tuple[float, float]] = []

    class Watch:
        def __init__(self, device: torch.device) -> None:
            self.begun = 0.0

        def start(self) -> None:
            self.begun = Clock.now

        def stop(self) -> dict[str, Any]:
            spans.append((self.begun, Clock.now))
            return {"seconds": Clock.now - self.begun, "reasons": []}

    monkeypatch.setattr(bench, "Meter", Watch)
    for scenario, more in (("single_stream", {}), ("offline", {}), ("server", {"target": 0.05})):
        spans.clear()
        point = bench.measure(Known(), 5, scenario, Level("s", 1.0, 40, 2, 3), CPU, **more)
        assert point.meter["seconds"] == pytest.approx(point.seconds, rel=1e-6)
        assert len(spans) == max(1, len(point.held))


class Other(Known):
    """Answers otherwise once it was asked for a while, and slower and slower."""

    def step(self) -> None:
        super().step()
        self.seconds *= 1.02
        if self.asked > 5:
            ticket, tokens = self.done.pop()
            self.done.append((ticket, [*tokens, 9]))


def test_what_makes_a_point_invalid_is_said() -> None:
    point = bench.measure(Other(0.001), 5, "single_stream", Level("few", 0.0, 60, 2, 3), CPU)
    told = "; ".join(point.reasons)
    assert not point.valid
    assert "a trend: the last third of latencies is +" in told
    assert "answers differ from those of the accuracy run" in told
    few = bench.measure(Known(), 5, "single_stream", Level("few", 0.0, 8, 2, 3), CPU)
    assert any(reason == "too few: 8 queries have no p90" for reason in few.reasons)
    assert not bench.drift([1.0, 1.2] * 50)
    assert set(few.latency) == {"p50"}


@pytest.mark.parametrize("scenario", bench.SCENARIOS)
def test_one_answer_that_differs_is_too_many_but_where_company_is_the_moments(scenario: str) -> None:
    """One in four hundred; whom a server's query is answered beside is another each time, and a near tie may tip."""

    class Once(Known):
        def step(self) -> None:
            super().step()
            if self.asked == 100:
                ticket, tokens = self.done.pop()
                self.done.append((ticket, [*tokens, 9]))

    rate = 60.0 if scenario == "server" else None
    point = bench.measure(Once(), 5, scenario, Level("s", 0.0, 400, 2, 3), CPU, rate=rate)
    assert len(point.differing) == 1
    assert any("1 of 400 answers differ" in reason for reason in point.reasons) is (scenario != "server")


def test_the_accuracy_run_asks_as_the_scenario_does() -> None:
    """How many were beside each query, itself included."""

    class Company(Known):
        def step(self) -> None:
            beside = len(self.waiting)
            super().step()
            ticket, tokens = self.done.pop()
            self.done.append((ticket, [tokens[0], beside]))

    assert scenarios.accuracy(Company(), 4, "single_stream") == [[query, 1] for query in range(4)]
    first = list(itertools.islice(scenarios.order(4), 4))
    assert scenarios.accuracy(Company(), 4, "offline") == [[query, 4 - first.index(query)] for query in range(4)]


def test_two_sides_by_turns() -> None:
    """One takes three times as long as the other; one of unequal length is INVALID."""
    found = bench.beside(Known(), Known(3 * STEP), "slow", [[0, 1], [2, 3], [4]], 7, CPU)
    assert found.ratio.value == pytest.approx(3, rel=1e-6)
    assert found.ratio.low is not None
    assert found.equal == 1.0
    assert (found.queries, found.different) == (2, 5)
    assert not any("unequal" in reason for reason in found.reasons)
    longer = bench.beside(Known(), Known(tokens=4), "longer", [[0, 1]], 3, CPU)
    # Three rounds and one that is not counted, two answers each, of three tokens and of four.
    assert any(reason == "unequal token counts: 24 ours, 32 theirs" for reason in longer.reasons)
    assert longer.equal == 0.0
    assert any(reason == "too few: 3 rounds have no interval" for reason in longer.reasons)


def test_warm_up_goes_on_until_two_groups_are_alike() -> None:
    times = itertools.chain([0.02, 0.02, 0.005, 0.005], itertools.repeat(0.001))
    slowing = [0]

    def work() -> None:
        slowing[0] += 1
        Clock.sleep(next(times))

    assert scenarios.warm_up(work, 2)
    assert slowing[0] == 2 * 4  # 20, 5, 1 and 1 ms


def test_a_warm_up_that_never_ends_is_said() -> None:
    """Each answer takes a quarter more than the one before."""

    class Slower(Known):
        def step(self) -> None:
            super().step()
            self.seconds *= 1.25

    few, slower = Level("few", 0.0, 30, 2, 3), Slower(1e-5)
    assert not scenarios.warm_up(lambda: scenarios.ask(slower, [0]), few.group)
    point = bench.measure(Slower(1e-5), 5, "single_stream", few, CPU)
    assert any(reason.startswith("never steady: after 10 groups") for reason in point.reasons)
    assert not any("never steady" in reason for reason in bench.measure(Known(), 5, "offline", few, CPU).reasons)


def test_times_through_the_set_that_drift_are_said() -> None:
    class Tiring(Known):
        def step(self) -> None:
            super().step()
            self.seconds *= 1.001

    level = Level("some", 0.0, 100, 2, 3)
    point = bench.measure(Tiring(), 5, "offline", level, CPU)
    assert any("a trend: the last third of times through the set is +" in reason for reason in point.reasons)
    assert not any("a trend" in reason for reason in bench.measure(Known(), 5, "offline", level, CPU).reasons)


def test_a_rate_that_nothing_could_hold_is_refused_before_it_is_tried() -> None:
    system = Known(0.01)
    with pytest.raises(UsageError, match=r"--rate 1e\+09 cannot be held: all at once, about 100 a second"):
        bench.measure(system, 5, "server", Level("s", 10.0, 40, 2, 3), CPU, rate=1e9)
    assert system.asked < 50


def test_a_target_that_an_answer_alone_takes_longer_than_is_refused_before_a_rate_is_tried() -> None:
    system = Known(0.01)
    with pytest.raises(UsageError, match=r"--target 0.009 cannot be held at any rate: .* alone takes 0.01 s"):
        bench.measure(system, 5, "server", Level("s", 10.0, 400, 2, 3), CPU, target=0.009)
    assert system.asked < 50


def test_a_server_run_that_cannot_become_valid_is_said_beforehand(caplog: pytest.LogCaptureFixture) -> None:
    """p99 needs 368 queries; in 10 s at 20 a second there are 200."""
    level = Level("s", 10.0, 40, 2, 3)
    point = bench.measure(Known(), 5, "server", level, CPU, rate=20, target=1.0)
    assert "this will be INVALID: 200 queries at 20 a second are too few for p99" in caplog.text
    assert not point.valid
    caplog.clear()
    bench.measure(Known(), 5, "server", level, CPU, rate=40, target=1.0)
    assert not caplog.text


@pytest.mark.parametrize("rate", [None, 20.0])
def test_a_target_that_is_held_to_less_than_p99_is_said(rate: float | None) -> None:
    """p99 needs 368 queries, p95 72."""
    point = bench.measure(Known(), 5, "server", Level("s", 0.1, 100, 2, 3), CPU, rate=rate, target=1.0)
    assert point.held
    assert "the target was held to p95: too few queries for p99" in point.reasons


def test_no_rate_that_holds_is_said() -> None:
    class Tired(Known):
        def step(self) -> None:
            self.seconds = STEP if self.asked < 50 else 3 * STEP
            super().step()

    point = bench.measure(Tired(), 5, "server", Level("s", 0.1, 400, 2, 3), CPU, target=2 * STEP)
    assert any(
        reason.startswith("no rate was found that holds 0.008 s; at the least tried") for reason in point.reasons
    )


def test_the_accuracy_runs_answers_are_in_the_record() -> None:
    record = bench.measure(Known(), 3, "offline", SHORT, CPU).record()
    assert record["answers"] == [[0] * 3, [1] * 3, [2] * 3]
    assert record["answers that differ"] == 0


def test_levels_by_name() -> None:
    assert levels.find("official").seconds == 600
    with pytest.raises(UsageError, match="one of smoke, default, official"):
        levels.find("long")


@pytest.mark.parametrize("quick", [False, True])
def test_the_peer_has_the_attention_that_is_quicker_and_the_process_keeps_its_own(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systems, "time", SimpleNamespace(perf_counter=lambda: Clock.now))
    enabled = torch.backends.cuda.cudnn_sdp_enabled
    used: list[bool] = []

    def work() -> None:
        used.append(enabled())
        Clock.sleep(1.0 if enabled() == quick else 2.0)

    torch.backends.cuda.enable_cudnn_sdp(False)
    assert systems.cudnn_is_quicker(work, CPU) is quick
    assert used == [False, False, True, True]
    assert not enabled()


def test_drawn_weights_are_filled_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch fills what nobody has filled yet with what is no number."""
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.empty(3).isnan().all()
        model = systems.random_model(with_text(TINY, vocab=1100))
    finally:
        torch.use_deterministic_algorithms(False)
    for name, weight in model.state_dict().items():
        assert weight.isfinite().all(), name
