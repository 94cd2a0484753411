"""The trial finds the fastest number of threads, and other settings are refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.errors import UsageError
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import threads
from harness.florence2.fast.threads import RETRY, WAITING, WINDOW, BackOff
from tests.twins import twins


@pytest.fixture(autouse=True)
def restored_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("costs", "tried", "best"),
    [
        (
            {8: 4.0, 4: 3.0, 2: 2.0, 1: 5.0},
            [8, 4, 2, 1],
            2,
        ),  # halves down to one thread: no cost is clearly worse than the best
        ({8: 1.0, 4: 1.1, 2: 1.5}, [8, 4, 2], 8),  # two threads are clearly worse, so one is not tried
        ({6: 3.0, 3: 2.0, 1: 2.1}, [6, 3, 1], 3),
    ],
)
def test_trial_halves_the_threads_until_the_cost_is_clearly_worse_and_settle_takes_the_best(
    costs: dict[int, float], tried: list[int], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(threads, "MOST", max(costs))
    measured = threads.trial(lambda: costs[counts[-1]], max(costs))
    assert list(measured) == tried
    counts.clear()
    monkeypatch.setattr(threads, "_seconds_per_answer", lambda *_: costs[counts[-1]])
    threads.settle("auto", twins().ours, 96, Decoding())
    assert counts[-1] == best


def test_settle_by_a_real_trial_or_by_a_number_sets_the_threads() -> None:
    threads.settle("auto", twins().ours, 96, Decoding(beams=2, max_new_tokens=8))
    assert torch.get_num_threads() >= 1
    threads.settle("1", twins().ours, 96, Decoding())
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("setting", ["0", "-1", "two", "1.5", "", "99999999999"])
def test_setting_that_is_no_number_of_threads_is_a_usage_error(setting: str) -> None:
    with pytest.raises(UsageError, match=r"a whole number from 1 to .*, or auto"):
        threads.settle(setting, twins().ours, 96, Decoding())


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads that were set, 8 at first."""
    counts = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    return counts


def test_back_off_halves_waiting_threads_until_they_run(counts: list[int]) -> None:
    """With one busy core of eight, every product of eight threads takes the time of two eighths: four cores' work."""
    back_off = BackOff()
    back_off.record(WINDOW / 2, 0.0)
    assert counts == [8]  # half a window
    back_off.record(WINDOW / 2, 8 * WAITING * WINDOW)
    assert counts == [8]  # as many CPU seconds as the bound
    back_off.record(WINDOW, 4.0 * WINDOW)
    assert counts == [8, 4]
    back_off.record(WINDOW, 4.0 * WINDOW)
    assert counts == [8, 4]
    for _ in range(3):
        back_off.record(WINDOW, 0.3 * WINDOW)
    assert counts == [8, 4, 2, 1]  # a single thread stays
    back_off.end()
    assert counts[-1] == 8


def test_back_off_tries_all_threads_again_and_waits_twice_as_long_after_a_failure(counts: list[int]) -> None:
    back_off = BackOff()
    busy, idle = 0.5 * WINDOW, 8.0 * WINDOW
    waited = []
    for cpu in (busy, busy, busy, idle, busy):
        back_off.record(WINDOW, cpu)
        while counts[-1] > 1 and cpu == busy:
            back_off.record(WINDOW, cpu)
        waited.append(0)
        while counts[-1] < 8:
            back_off.record(WINDOW, cpu)
            waited[-1] += 1
    # Three trials fail, one each after 30, 60 and 120 seconds; the next succeeds, so the wait is 30 seconds again.
    assert [count * WINDOW for count in waited] == [RETRY, 2 * RETRY, 4 * RETRY, 0, RETRY]


def test_back_off_leaves_other_numbers_of_threads_alone(counts: list[int]) -> None:
    """One thread from the start; and no change at the end where none was made."""
    counts.append(1)
    back_off = BackOff()
    for _ in range(100):
        back_off.record(WINDOW, 0.1 * WINDOW)
    back_off.end()
    assert counts == [8, 1]
