"""A model on another machine as a system: arrivals, latencies, first texts and errors, with answers of a known time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import pytest
import torch

from harness.errors import ResourceError
from harness.speed import bench, scenarios
from harness.speed.levels import Level
from harness.speed.remote import Completed, Remote

LEVEL = Level("test", 0.5, 40, 4, 3)
_made: list[Remote] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while _made:
        _made.pop().close()


def remote(seconds: float, most: int, text: Callable[[int], str] = str) -> Remote:
    """Answers each query after a fixed time; the first text comes at half of it."""

    def complete(query: int) -> Completed:
        time.sleep(seconds)
        return Completed(text(query), 3, seconds / 2)

    _made.append(Remote(complete, 8, most, "http://host/v1", "m", "8 questions"))
    return _made[-1]


def test_single_stream_has_the_latency_of_an_answer() -> None:
    system = remote(0.02, 1)
    measured = scenarios.single_stream(system, 8, LEVEL)
    assert 0.02 <= statistics.median(measured.latencies) < 0.03
    assert all(len(tokens) == 3 for tokens in measured.answers)
    first = system.first_text(len(measured.queries))
    assert first["first text p50"].value == pytest.approx(0.01) and first["first text p50"].n == len(measured.queries)


def test_offline_has_as_many_answers_at_once_as_allowed() -> None:
    """8 queries of 0.05 s: two at once take 0.2 s, eight at once 0.05 s."""
    few, many = (scenarios.offline(remote(0.05, most), 8, LEVEL) for most in (2, 8))
    assert statistics.median(few.passes) == pytest.approx(0.2, rel=0.3)
    assert statistics.median(many.passes) == pytest.approx(0.05, rel=0.6)


def test_arrivals_are_not_delayed_by_answers_under_way() -> None:
    """40 arrivals per second of answers that take 0.1 s: with room for all, each takes 0.1 s."""
    measured = scenarios.server(remote(0.1, 64), 8, LEVEL, 40.0)
    assert 0.1 <= statistics.median(measured.latencies) < 0.13
    assert measured.seconds < 3


def test_goodput_counts_answers_within_the_target() -> None:
    measured = scenarios.Measured(latencies=[0.1, 0.2, 0.3, 0.5], queries=[0, 1, 2, 3], seconds=2.0)
    assert bench.throughput(measured, 0.3)["goodput/s"] == 1.5  # 3 of 4 answers, in 2 seconds
    assert "goodput/s" not in bench.throughput(measured)


def test_answer_that_changes_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(10_000))
    system = remote(0.001, 4, lambda query: f"{query} {next(count)}")
    measured = bench.measure(system, 8, "offline", LEVEL, torch.device("cpu"), repeatable=False)
    assert any("answers differ from those of the accuracy run" in reason for reason in measured.reasons)


def test_error_of_a_query_is_raised() -> None:
    def complete(query: int) -> Completed:
        raise ResourceError("down")

    _made.append(Remote(complete, 8, 2, "u", "m", ""))
    with pytest.raises(ResourceError, match="down"):
        scenarios.ask(_made[-1], [0])
