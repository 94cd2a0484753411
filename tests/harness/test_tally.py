"""The counts and the headline of a run in progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core import Answer, Corpus, Row, Sample, Score, Source, Text
from harness.tally import Tally
from tests import toy

COUNTS = ("unparsable", "truncated", "failed")
SAMPLES = list(toy.load(Source(Path(), "val"), 12))


def answered(tally: Tally, right: Sequence[bool]) -> None:
    for sample, good in zip(SAMPLES, right, strict=False):
        text = sample.id if good else "?"
        tally.answered(sample, Answer((text,), Text((text,))))


def test_numbers_have_the_headline_of_the_answers_so_far() -> None:
    tally = Tally(toy.task(), SAMPLES)
    answered(tally, [True, True, False, True])
    numbers = tally.numbers()
    assert {name: numbers[name] for name in ("unparsable", "truncated", "failed")} == dict.fromkeys(COUNTS, 0)
    assert numbers["accuracy"] == 75.0  # 3 of 4, of the images 0 (2 of 3 right) and 1 (1 of 1)
    assert numbers["accuracy low"] == pytest.approx(200 / 3) and numbers["accuracy high"] == 100.0
    tally.answered(SAMPLES[4], Answer(("x",), None, truncated=True))
    tally.failed += 1
    numbers = tally.numbers()
    assert [numbers[name] for name in (*COUNTS, "accuracy")] == [1, 1, 1, 60.0]  # 3 of 5


def test_headline_that_is_slow_to_compute_has_no_interval() -> None:
    """Each look at the clock takes 0.01 s, so 200 resamples would take 2 s."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.01
        return now[0]

    tally = Tally(toy.task(), SAMPLES, clock)
    answered(tally, [True])
    assert tally.numbers()["accuracy"] == 100.0 and "accuracy low" not in tally.numbers()


def corpus(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    return [{} for _ in rows]


@pytest.mark.parametrize(
    ("task", "samples"),
    [
        (None, SAMPLES),
        (replace(toy.task(), corpus=Corpus(corpus)), SAMPLES),
        (toy.task(), [replace(SAMPLES[0], target=None), *SAMPLES[1:]]),
    ],
    ids=["no task", "scores of all samples together", "unpublished targets"],
)
def test_numbers_without_scores_are_the_counts(task: Any, samples: list[Sample[Text]]) -> None:
    tally = Tally(task, samples)
    answered(tally, [True])
    assert tally.numbers() == {"unparsable": 0, "truncated": 0, "failed": 0}


def test_numbers_before_the_first_answer_have_no_headline() -> None:
    assert "accuracy" not in Tally(toy.task(), SAMPLES).numbers()


def test_scoring_stops_at_its_budget_and_goes_on_in_the_next_report() -> None:
    """Each look at the clock takes 0.3 s, so a report of 1 s scores 3 of the 5 answers, and the next one the rest."""
    now = [0.0]

    def clock() -> float:
        now[0] += 0.3
        return now[0]

    tally = Tally(toy.task(), SAMPLES, clock)
    answered(tally, [True] * 5)
    assert "accuracy" not in tally.numbers()
    assert tally.numbers()["accuracy"] == 100.0


def test_task_that_raises_loses_the_headline_but_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    def broken(sample: Sample[Text], answer: Answer) -> Score:
        raise ZeroDivisionError("no objects")

    tally = Tally(replace(toy.task(), score=broken), SAMPLES)
    answered(tally, [True])
    assert tally.numbers() == tally.numbers() == {"unparsable": 0, "truncated": 0, "failed": 0}
    assert caplog.messages == ["no headline until the run ends: ZeroDivisionError: no objects"]
