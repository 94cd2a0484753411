"""Asking: no request twice, budgets that hold, failures that are asked again, and runs that end."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.data_engine.asking import HOPELESS, LONGEST_REPLY, Budget, Tally, Unanswered, ask, forecast
from harness.data_engine.language import Request, Rewriting, rewrite
from harness.data_engine.records import Record
from harness.data_engine.replies import Replies
from harness.errors import ResourceError, UsageError
from tests.harness.data_engine.rows import record, region, text

SETTINGS = Rewriting(model="writer", max_tokens=100)
GOOD = "A dog is on the left side of the image, and a cat is on the right side."


@dataclass(frozen=True)
class Said:
    text: str
    truncated: bool = False
    refusal: str = ""
    generated: int = 0


def records(count: int) -> list[Record]:
    """Records of different images with the same two things."""
    made = record(text("A dog and a cat."), region((0, 0, 30, 30), "dog"), region((60, 0, 90, 30), "cat"))
    return [replace(made, image=replace(made.image, sha256=f"{n:064x}", reference=f"{n}.png")) for n in range(count)]


def distinct(count: int) -> list[Record]:
    """Records whose requests differ, by their brief text."""
    return [
        record(text(f"A dog and a cat number {n}."), region((0, 0, 30, 30), "dog"), region((60, 0, 90, 30), "cat"))
        for n in range(count)
    ]


class Writer:
    """Answers from a list in turn; the last answer for ever.  An exception is raised."""

    def __init__(self, *said: Any) -> None:
        self.said, self.bodies, self.lock = list(said), [], threading.Lock()  # type: ignore[var-annotated]

    def __call__(self, body: Mapping[str, Any]) -> Said:
        with self.lock:
            said = self.said[min(len(self.bodies), len(self.said) - 1)]
            self.bodies.append(body)
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Said) else Said(said)


def wrote(said: str) -> str:
    return json.dumps({"text": said, "uses": [], "left_out": []})


def digests(given: list[Record]) -> list[tuple[str, ...]]:
    return [tuple(annotation.id for annotation in each.annotations) for each in given]


def test_second_run_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    writer, given = Writer(wrote(GOOD)), distinct(20)
    with Replies(tmp_path / "r.sqlite") as replies:
        first = list(ask(given, SETTINGS, writer, replies, threads=4))
        assert len(writer.bodies) == len(replies) == 20
        second = list(ask(given, SETTINGS, Writer(AssertionError("asked")), replies, threads=4))
    assert digests(first) == digests(second) and first == second
    assert [each.image for each in first] == [each.image for each in given]
    assert all(len(each.annotations) == 4 for each in first)


def test_equal_requests_are_made_once_when_one_follows_the_other(tmp_path: Path) -> None:
    writer = Writer(wrote(GOOD))
    with Replies(tmp_path / "r.sqlite") as replies:
        assert all(len(each.annotations) == 4 for each in ask(records(5), SETTINGS, writer, replies, threads=1))
    assert len(writer.bodies) == 1


def test_budget_of_requests_is_hard_and_a_later_run_goes_on(tmp_path: Path) -> None:
    writer, tally = Writer(wrote(GOOD)), Tally()
    with Replies(tmp_path / "r.sqlite") as replies:
        done = list(ask(distinct(10), SETTINGS, writer, replies, budget=Budget(requests=4), tally=tally))
        assert (len(writer.bodies), len(done)) == (4, 10)
        assert tally.outcomes == {"accepted": 4, "budget": 6} and tally.images == 10
        assert sum(len(each.annotations) == 4 for each in done) == 4
        list(ask(distinct(10), SETTINGS, writer, replies))
    assert len(writer.bodies) == 10


def test_budget_of_tokens_is_never_exceeded(tmp_path: Path) -> None:
    """Each request takes its estimate and 100 for the reply; of a counted reply, the rest is free again."""
    step = rewrite(distinct(1)[0], SETTINGS, lambda key: None)
    assert isinstance(step, Request) and step.most_tokens == step.tokens + 100
    writer, budget = Writer(Said(wrote(GOOD), generated=40)), Budget(tokens=2 * step.most_tokens + 30)
    with Replies(tmp_path / "r.sqlite") as replies:
        list(ask(distinct(10), SETTINGS, writer, replies, budget=budget, threads=1))
    assert budget.tokens is not None
    assert len(writer.bodies) == budget.made == 2 and budget.spent == 2 * (step.tokens + 40) <= budget.tokens


def test_dry_run_asks_nothing_and_counts(tmp_path: Path) -> None:
    given = [*distinct(3), record(text("A dog."))]  # the last has no region
    with Replies(tmp_path / "r.sqlite") as replies:
        dry = forecast(given, SETTINGS, replies)
        assert (dry.images, dry.requests, dry.most_requests) == (4, 3, 6) and dry.tokens > 3 * 100
        # both tries of the first record and one of the second: one is left of the second, and both of the third
        list(ask(given, SETTINGS, Writer(wrote("Too short.")), replies, budget=Budget(requests=3), threads=1))
        half = forecast(given, SETTINGS, replies)
    assert (half.requests, half.most_requests) == (2, 3)


def test_request_without_a_reply_is_kept_apart_and_asked_again(tmp_path: Path) -> None:
    tally = Tally()
    with Replies(tmp_path / "r.sqlite") as replies:
        [after] = ask(records(1), SETTINGS, Writer(Unanswered("status 500")), replies, tally=tally)
        assert after == records(1)[0] and tally.outcomes == {"unanswered": 1}
        assert [reason for reason, _ in replies.failures().values()] == ["status 500"]
        [again] = ask(records(1), SETTINGS, Writer(wrote(GOOD)), replies)
        assert len(again.annotations) == 4 and replies.failures() == {}


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (Said("", refusal="I cannot"), "refused: I cannot"),
        (Said("x" * (LONGEST_REPLY + 1)), "a reply of 65,537 characters"),
    ],
)
def test_refusal_and_flood_are_no_replies(said: Said, reason: str, tmp_path: Path) -> None:
    with Replies(tmp_path / "r.sqlite") as replies:
        assert list(ask(records(1), SETTINGS, Writer(said), replies)) == records(1)
        assert [each for each, _ in replies.failures().values()] == [reason] and len(replies) == 0


def test_server_that_never_replies_ends_the_run(tmp_path: Path) -> None:
    writer = Writer(Unanswered("status 500"))
    with Replies(tmp_path / "r.sqlite") as replies:
        with pytest.raises(ResourceError, match=r"no reply to 1[67] requests; the last: status 500"):
            list(ask(distinct(200), SETTINGS, writer, replies, threads=2))
        assert len(writer.bodies) <= HOPELESS + 1  # the other thread's


def test_error_ends_the_run_and_replies_before_it_stay(tmp_path: Path) -> None:
    writer = Writer(wrote(GOOD), wrote(GOOD), UsageError("no such model"))
    with Replies(tmp_path / "r.sqlite") as replies:
        with pytest.raises(UsageError, match="no such model"):
            list(ask(distinct(20), SETTINGS, writer, replies, threads=1))
        assert len(replies) == 2


def test_refused_texts_are_counted_by_rule(tmp_path: Path) -> None:
    tally = Tally()
    with Replies(tmp_path / "r.sqlite") as replies:
        list(ask(records(1), SETTINGS, Writer(wrote(GOOD.replace("dog", "horse"))), replies, tally=tally))
    assert tally.outcomes == {"noun": 1}


def test_records_are_read_as_they_are_needed(tmp_path: Path) -> None:
    """With two threads, at most five records wait: memory does not grow with their number."""
    read = []

    def stream() -> Any:
        for each in distinct(50):
            read.append(each)
            yield each

    with Replies(tmp_path / "r.sqlite") as replies:
        source = ask(stream(), SETTINGS, Writer(wrote(GOOD)), replies, threads=2)
        next(source)
        assert len(read) <= 5
        source.close()
