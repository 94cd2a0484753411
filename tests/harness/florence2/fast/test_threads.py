"""The count of threads that is quickest is found, and what is no count is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from harness.errors import UsageError
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import threads
from tests.twins import twins


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("costs", "tried", "best"),
    [
        ({8: 4.0, 4: 3.0, 2: 2.0, 1: 5.0}, [8, 4, 2, 1], 2),  # fewer and fewer, while it gets no worse
        ({8: 1.0, 4: 1.1, 2: 1.5}, [8, 4, 2], 8),  # two are clearly worse: one is not tried
        ({6: 3.0, 3: 2.0, 1: 2.1}, [6, 3, 1], 3),
    ],
)
def test_from_the_most_down_until_it_is_worse(
    costs: dict[int, float], tried: list[int], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setattr(threads, "MOST", max(costs))
    found = threads.trial(lambda: costs[counts[-1]], max(costs))
    assert list(found) == tried
    counts.clear()
    monkeypatch.setattr(threads, "_an_answer", lambda *_: costs[counts[-1]])
    threads.settle("auto", twins().ours, 96, Decoding())
    assert counts[-1] == best


def test_a_typical_answer_is_timed_for_real() -> None:
    threads.settle("auto", twins().ours, 96, Decoding(beams=2, max_new_tokens=8))
    assert torch.get_num_threads() >= 1
    threads.settle("1", twins().ours, 96, Decoding())
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "1.5", "", "99999999999"])
def test_what_is_no_count_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match=r"a whole number from 1 to .*, or auto"):
        threads.settle(wanted, twins().ours, 96, Decoding())
