"""The number of requests at once: it grows with answers, halves at overloads, and waits for Retry-After."""

from __future__ import annotations

import threading
import time

import pytest

from baselines.endpoint.pace import LONGEST_WAIT, START, Pace, back_off


def test_one_more_request_is_allowed_after_each_round_of_answers() -> None:
    pace = Pace(32)
    assert pace.room == START == 4
    for _ in range(5):  # 4 + 1/4 + 1/4.25 + 1/4.49 + 1/4.71 + 1/4.92 = 5.12
        pace.answered()
    assert pace.room == 5


def test_most_is_never_exceeded_and_one_is_always_allowed() -> None:
    pace = Pace(3)
    for _ in range(100):
        pace.answered()
    assert pace.room == 3 == pace.highest
    for _ in range(100):
        pace.overloaded(time.monotonic())
    assert pace.room == 1 and pace.overloads == 100


def test_requests_of_one_overload_halve_once() -> None:
    pace = Pace(64, allowed=16.0)
    pace.allowed = 16.0
    before = time.monotonic()
    for _ in range(16):  # all 16 requests that were under way are refused
        pace.overloaded(before)
    assert pace.room == 8
    pace.overloaded(time.monotonic())
    assert pace.room == 4


def test_wait_lasts_until_retry_after_or_stop() -> None:
    pace = Pace(4)
    pace.overloaded(time.monotonic(), wait=0.2)
    start = time.monotonic()
    pace.wait(threading.Event())
    assert 0.15 < time.monotonic() - start < 5
    pace.overloaded(time.monotonic(), wait=1e9)
    stop = threading.Event()
    stop.set()
    pace.wait(stop)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("attempt", "longest"), [(1, 2.0), (2, 4.0), (3, 8.0), (50, LONGEST_WAIT)])
def test_back_off_doubles_with_jitter_up_to_a_minute(attempt: int, longest: float) -> None:
    waits = [back_off(attempt, 2.0) for _ in range(200)]
    assert longest * 0.1 <= min(waits) and max(waits) <= longest
    assert max(waits) - min(waits) > longest / 4
