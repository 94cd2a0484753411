"""The tables of rounds: verdicts with their numbers, and churn by kind."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from harness.data_engine.round_states import Moves, Outcome, RoundState, Scores
from harness.report.engine import tables as page
from harness.report.engine_rounds import tables
from tests.harness.report.test_engine import REPORT

GOOD = Outcome(
    promoted=True, images=30, before=Scores(90.0, 50.0, 64.25), after=Scores(91.5, 60.0, 72.5), gain=(8.25, 3.0, 12.5),
    churn={"region": Moves(100, 110, 15, 5, 8), "text": Moves(7, 7, 0, 0, 0)},
)  # fmt: skip
BAD = msgspec.structs.replace(GOOD, promoted=False, gain=(-1.0, None, None))
SETTINGS = {"model": "florence2-nano", "folds": 2}
STATES = [
    RoundState(1, 0, SETTINGS, "a", {}, GOOD),
    RoundState(2, 1, SETTINGS, "b", {}, BAD),
    RoundState(3, 1, SETTINGS, "c"),
]


def test_rounds_say_whether_they_were_promoted_and_with_which_gain() -> None:
    rounds, _ = tables(STATES)
    assert [row[:4] for row in rounds.rows] == [
        ["1", "0", "florence2-nano", "promoted"], ["2", "1", "florence2-nano", "not promoted"],
        ["3", "1", "florence2-nano", "not finished"],
    ]  # fmt: skip
    assert rounds.rows[0][4:] == [
        "30", "64.2", "72.5", "+8.25 [+3.00, +12.50]", "90.0", "91.5", "50.0", "60.0",
    ]  # fmt: skip
    assert rounds.rows[1][7] == "-1.00"
    assert all(len(row) == len(rounds.head) for row in rounds.rows)


def test_churn_is_by_round_and_kind() -> None:
    _, churn = tables(STATES)
    # 15 + 5 + 8 of the 100 that were kept and the 15 that came
    assert churn.rows[0] == ["1", "region", "100", "110", "15", "5", "8", "24.3"]
    assert [row[:2] for row in churn.rows] == [["1", "region"], ["1", "text"], ["2", "region"], ["2", "text"]]


def test_page_shows_rounds_where_there_are_some() -> None:
    assert tables([]) == []
    keys = [table.key for table in page(replace(REPORT, rounds=STATES))]
    assert keys[-2:] == ["rounds", "churn"]
    unfinished = [table.key for table in page(replace(REPORT, rounds=STATES[2:]))]
    assert unfinished[-1] == "rounds"
