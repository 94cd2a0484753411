"""Rules that make a measurement INVALID, and comparisons, over a system of known speed on a simulated clock."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from harness.errors import UsageError
from harness.speed import bench, scenarios
from harness.speed.ceilings import Ceilings, Work
from harness.speed.levels import Level
from harness.speed.stages import Staged
from tests.harness.speed.known import SHORT, STEP, Clock, Known

pytestmark = pytest.mark.usefixtures("simulated_time")
CPU = torch.device("cpu")


def test_throughput_counts_images_and_tokens_per_second() -> None:
    figures = bench.throughput(scenarios.offline(Known(), 10, SHORT))
    assert figures["tokens an answer"] == 3
    assert figures["images/s"] == pytest.approx(1 / STEP)
    assert figures["tokens/s"] == pytest.approx(3 * figures["images/s"])


def test_rate_that_does_not_hold_target_is_a_reason() -> None:
    level = Level("s", 10.0, 400, 2, 3)
    result = bench.measure(Known(0.03), 5, "server", level, CPU, target=0.05, rate=60.0)  # 33 per second are answered
    assert any(reason.startswith("the rate of 60 per second does not hold 0.05 s") for reason in result.reasons)


def test_search_whose_every_rate_holds_is_a_reason() -> None:
    def holding(rate: float) -> scenarios.Measured:
        ended = [float(second) for second in range(30)]
        return scenarios.Measured([0] * 30, [0.1] * 30, ended, [[1]] * 30, 30.0, meter={"reasons": []})

    measured, held, reasons = bench._run_server(holding, 2.0, 1.0, None)
    assert len(held) == scenarios.TRIES and measured.seconds == 30.0
    assert reasons[0] == (
        "the highest rate was not reached: every rate holds, the last with 128 per second, p50 is 0.1 s"
    )


def test_meter_covers_timed_run_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It covers neither the accuracy run nor the warm-up, and one rate at a time."""
    spans: list[tuple[float, float]] = []

    class Watch:
        def __init__(self, device: torch.device, *, alone: bool) -> None:
            self.begun = 0.0

        def start(self) -> None:
            self.begun = Clock.now

        def stop(self) -> dict[str, Any]:
            spans.append((self.begun, Clock.now))
            return {"seconds": Clock.now - self.begun, "reasons": []}

    monkeypatch.setattr(bench, "Meter", Watch)
    for scenario, more in (("single_stream", {}), ("offline", {}), ("server", {"target": 0.05})):
        spans.clear()
        result = bench.measure(Known(), 5, scenario, Level("s", 1.0, 40, 2, 3), CPU, **more)
        assert result.meter["seconds"] == pytest.approx(result.seconds, rel=1e-6)
        assert len(spans) == max(1, len(result.held))


class Drifting(Known):
    """Becomes slower with every answer, and appends a token to every answer after the fifth."""

    def step(self) -> None:
        super().step()
        self.seconds *= 1.02
        if self.answered > 5:
            ticket, tokens = self.done.pop()
            self.done.append((ticket, [*tokens, 9]))


def test_drift_and_different_answers_are_reasons() -> None:
    result = bench.measure(Drifting(0.001), 5, "single_stream", Level("few", 0.0, 60, 2, 3), CPU)
    reasons = "; ".join(result.reasons)
    assert not result.valid
    assert "drift: the last third of latencies takes +" in reasons
    assert "answers differ from those of the accuracy run" in reasons


def test_too_few_queries_for_p90_are_a_reason() -> None:
    result = bench.measure(Known(), 5, "single_stream", Level("few", 0.0, 8, 2, 3), CPU)
    assert any(reason == "too few queries: 8 give no p90" for reason in result.reasons)
    assert set(result.latency) == {"p50"}


def test_drift_of_alternating_latencies_is_no_reason() -> None:
    assert not bench.drift([1.0, 1.2] * 50)


@pytest.mark.parametrize("scenario", ["single_stream", "offline", "server"])
def test_single_different_answer_is_a_reason_except_for_server(scenario: str) -> None:
    """One answer of 400 differs.  The batches of a server change from run to run, and a near tie may tip."""

    class Once(Known):
        def step(self) -> None:
            super().step()
            if self.answered == 100:
                ticket, tokens = self.done.pop()
                self.done.append((ticket, [*tokens, 9]))

    rate = 60.0 if scenario == "server" else None
    result = bench.measure(Once(), 5, scenario, Level("s", 0.0, 400, 2, 3), CPU, rate=rate)
    assert len(result.differing) == 1
    assert any("1 of 400 answers differ" in reason for reason in result.reasons) is (scenario != "server")


def test_comparison_reports_median_ratio_and_interval() -> None:
    """One system takes three times as long as the other."""
    compared = bench.versus(Known(), Known(3 * STEP), "slow", [[0, 1], [2, 3], [4]], 7, CPU)
    assert compared.ratio.value == pytest.approx(3, rel=1e-6)
    assert compared.ratio.low is not None
    assert compared.equal == 1.0
    assert (compared.queries, compared.different) == (2, 5)
    assert not any("unequal" in reason for reason in compared.reasons)


def test_comparison_of_unequal_lengths_is_invalid() -> None:
    longer = bench.versus(Known(), Known(tokens=4), "longer", [[0, 1]], 3, CPU)
    # Three rounds and one that is not counted, of two answers each, of three tokens and of four.
    assert any(reason == "unequal token counts: 24 (ours), 32 (longer)" for reason in longer.reasons)
    assert longer.equal == 0.0
    assert any(reason == "too few rounds: 3 give no interval" for reason in longer.reasons)


def test_warm_up_that_never_becomes_steady_is_a_reason() -> None:
    """Each answer takes a quarter more than the one before."""

    class Slowing(Known):
        def step(self) -> None:
            super().step()
            self.seconds *= 1.25

    few = Level("few", 0.0, 30, 2, 3)
    result = bench.measure(Slowing(1e-5), 5, "single_stream", few, CPU)
    assert any(reason.startswith("never steady: the last two of 10 warm-up groups") for reason in result.reasons)
    assert not any("never steady" in reason for reason in bench.measure(Known(), 5, "offline", few, CPU).reasons)


def test_drift_of_passes_is_a_reason() -> None:
    class Tiring(Known):
        def step(self) -> None:
            super().step()
            self.seconds *= 1.001

    level = Level("some", 0.0, 100, 2, 3)
    result = bench.measure(Tiring(), 5, "offline", level, CPU)
    assert any("drift: the last third of passes over the set takes +" in reason for reason in result.reasons)
    assert not any("drift" in reason for reason in bench.measure(Known(), 5, "offline", level, CPU).reasons)


def test_rate_above_twice_offline_throughput_is_refused_untried() -> None:
    system = Known(0.01)
    with pytest.raises(UsageError, match=r"--rate 1e\+09 cannot be held: all at once, about 100 queries per second"):
        bench.measure(system, 5, "server", Level("s", 10.0, 40, 2, 3), CPU, rate=1e9)
    assert system.answered < 50


def test_target_below_fastest_answer_is_refused_untried() -> None:
    system = Known(0.01)
    with pytest.raises(UsageError, match=r"--target 0.009 cannot be held at any rate: .* alone takes 0.01 s"):
        bench.measure(system, 5, "server", Level("s", 10.0, 400, 2, 3), CPU, target=0.009)
    assert system.answered < 50


def test_server_run_with_too_few_queries_is_announced_invalid(caplog: pytest.LogCaptureFixture) -> None:
    """p99 needs 368 queries; 10 s at 20 per second are 200."""
    level = Level("s", 10.0, 40, 2, 3)
    result = bench.measure(Known(), 5, "server", level, CPU, rate=20, target=1.0)
    assert "the result will be INVALID: 200 queries at 20 per second are too few for p99" in caplog.text
    assert not result.valid
    caplog.clear()
    bench.measure(Known(), 5, "server", level, CPU, rate=40, target=1.0)
    assert not caplog.text


@pytest.mark.parametrize("rate", [None, 20.0])
def test_target_compared_with_less_than_p99_is_a_reason(rate: float | None) -> None:
    """p99 needs 368 queries, p95 needs 72."""
    result = bench.measure(Known(), 5, "server", Level("s", 0.1, 100, 2, 3), CPU, rate=rate, target=1.0)
    assert result.held
    assert "too few queries for p99: the target was compared with p95" in result.reasons


def test_search_without_holding_rate_is_a_reason() -> None:
    class Tired(Known):
        def step(self) -> None:
            self.seconds = STEP if self.answered < 50 else 3 * STEP
            super().step()

    result = bench.measure(Tired(), 5, "server", Level("s", 0.1, 400, 2, 3), CPU, target=2 * STEP)
    assert any(reason.startswith("no rate holds 0.008 s; at the lowest rate tried") for reason in result.reasons)


def test_record_has_answers_of_accuracy_run() -> None:
    record = bench.measure(Known(), 3, "offline", SHORT, CPU).record()
    assert record["answers"] == [[0] * 3, [1] * 3, [2] * 3]
    assert record["answers that differ"] == 0


def test_stage_lines_have_floors_where_work_is_counted() -> None:
    """300 operations at 100 per second take 3 s, 10 bytes at 10 per second take 1 s; the stage takes 4 s."""
    stages = Staged(batch=1, steps=1, seconds={"open": 2.0, "vision": 4.0})
    lines = bench.versus_floors(stages, {"vision": Work(300.0, 10.0)}, Ceilings(operations=100.0, bytes=10.0))
    assert lines == [
        {"stage": "open", "seconds": 2.0},
        {
            "stage": "vision", "seconds": 4.0, "floor s": 3.0, "bound": "arithmetic", "of the ceiling": 0.75,
            "operations": 300.0, "bytes": 10.0,
        },
    ]  # fmt: skip
