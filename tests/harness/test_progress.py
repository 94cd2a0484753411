"""Progress: a line from time to time without a terminal, a bar on one."""

from __future__ import annotations

import io
import itertools
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from harness import progress, tracking
from harness.progress import Progress, counted, duration, over, said
from harness.tracking.events import TRACKERS, Kind


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def work(shown: Progress, clock: Clock, units: int, seconds: float) -> None:
    """`units` units of `seconds` each."""
    for _ in range(units):
        clock.now += seconds
        shown.update()


def test_progress_in_a_log_has_a_line_after_5_s_then_every_30_s(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("querying", 400, unit="answers", clock=clock, numbers=lambda: {"failed": 2, "acc": 50.0}) as shown:
        work(shown, clock, 240, 0.25)  # 60 s: lines at 5 s and 35 s; 4 per second
    assert caplog.messages == [
        "querying: 20 of 400 answers (5 %), 4/s, 1 min 35 s left; 2 failed; acc 50",  # 380 / 4 = 95 s
        "querying: 140 of 400 answers (35 %), 4/s, 1 min 5 s left; 2 failed; acc 50",  # 260 / 4 = 65 s
        "querying: 240 of 400 answers (60 %), in 1 min 0 s, 4/s",
    ]


def test_progress_of_short_work_prints_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("scoring", 40, clock=clock) as shown:
        work(shown, clock, 40, 0.1)
    assert not caplog.messages


def test_progress_of_resumed_work_has_the_rate_of_its_own_units(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("querying", 1000, done=990, unit="answers", clock=clock) as shown:
        work(shown, clock, 5, 1.0)
    assert caplog.messages[0] == "querying: 995 of 1,000 answers (100 %), 1/s, 5 s left"


def test_costly_numbers_take_at_most_a_fiftieth_of_the_time() -> None:
    """Numbers that take 2 s are computed 100 s apart: 50 times their cost."""
    clock = Clock()
    times: list[float] = []

    def costly() -> dict[str, float]:
        times.append(clock.now)
        clock.now += 2.0
        return {}

    with Progress("querying", 1000, clock=clock, numbers=costly) as shown:
        work(shown, clock, 220, 1.0)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times[0] == 1005.0 and gaps and all(102.0 <= gap <= 103.0 for gap in gaps)


def test_disabled_progress_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("training", 100, clock=clock, enabled=False) as shown:
        work(shown, clock, 100, 1.0)
    assert not caplog.messages


def test_progress_on_a_terminal_is_a_bar_with_the_numbers(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    clock = Clock()
    with Progress("querying", 100, unit="answers", clock=clock, numbers=lambda: {"unparsable": 3}) as shown:
        work(shown, clock, 100, 0.1)
    assert "querying: 100%" in terminal.getvalue() and "3 unparsable" in terminal.getvalue()
    assert not caplog.messages


def test_name_with_control_characters_is_shown_without(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("a\x1b[2Jb\nc", 100, clock=clock) as shown:
        work(shown, clock, 6, 1.0)
    assert caplog.messages[0].startswith("a [2Jb c: 5 of 100")


def test_over_yields_the_items_and_counts_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "FIRST", 0.0)
    assert list(over([1, 2, 3], "hashing", unit="images")) == [1, 2, 3]
    assert caplog.messages[0].startswith("hashing: 1 of 3 images (33 %)")
    assert list(over(iter("ab"), "reading", unit="letters", total=2)) == ["a", "b"]
    caplog.clear()
    assert list(over(iter("ab"), "reading", unit="letters")) == ["a", "b"]  # of a number that is not known
    assert caplog.messages[0].startswith("reading: 1 letters, ") and "left" not in caplog.messages[0]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (88, "1 min 28 s"), (3599.9, "1 h 0 min"),
     (12_000, "3 h 20 min"), (48 * 3600, "2 d 0 h"), (49.6 * 3600, "2 d 2 h")],
)  # fmt: skip
def test_duration_has_its_two_largest_units(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_said_leaves_out_counts_of_zero_and_keeps_values_of_zero() -> None:
    assert said({"unparsable": 3, "truncated": 0, "failed": 1200, "loss": 0.0}) == "3 unparsable, 1,200 failed; loss 0"
    assert said({"Acc": 61.25, "Acc low": 58.0, "Acc high": 64.123, "low": 1.0}) == "Acc 61.25 [58, 64.12], low 1"
    assert said({}) == ""


def test_bytes_from_several_threads_are_all_counted(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with Progress("fetching", 2_000_000, unit="B", clock=clock) as shown:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(shown.update, [1000] * 1000))
        clock.now += 10.0
        shown.update(-500_000)  # a file begins again
        assert shown.done == 500_000
    # 500,000 bytes in 10 s are 50 kB/s; 1,500,000 bytes are left.
    assert caplog.messages[0] == "fetching: 500kB of 2.00MB (25 %), 50.0kB/s, 30 s left"


def test_numbers_of_another_thread_reach_the_trackers_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread has its own context, in which no tracker is in use."""
    told: list[tuple[dict[str, float], int, bool]] = []
    monkeypatch.setitem(TRACKERS, "recorder", Kind("recorder.Recorder", "json", ""))
    monkeypatch.setattr(tracking, "log", lambda values, step: told.append((values, step, tracking.used("recorder"))))
    clock = Clock()
    with tracking.to(["recorder"]), Progress("fetching", None, unit="B", tracked=True, clock=clock) as shown:
        clock.now += 8.0
        thread = Thread(target=shown.update, args=(400,))
        thread.start()
        thread.join()
    assert told == [({"rate": 50.0}, 400, True)]


def test_counted_goes_on_where_a_series_begins_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The rates that `bench` tries each count from 1: 2 queries, then 3 more."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with counted("server", "queries") as tick:
        for done in (1, 2, 1, 3):
            tick(done)
    assert caplog.messages[-1].startswith("server: 5 queries, in ")
