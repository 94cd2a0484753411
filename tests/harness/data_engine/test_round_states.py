"""The file of a round: what is written is read again, and damage is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data_engine.round_states import Moves, Outcome, RoundState, Scores, read_state, write_state
from harness.errors import DataError

STATE = RoundState(
    2, 1, {"model": "m", "folds": 2}, "abc", {"combine": {"strict": {"one": 0.5}}},
    Outcome(
        True, 9, Scores(90.0, 50.0, 64.3), Scores(91.0, 55.0, 68.6), (4.3, None, 5.0), {"region": Moves(9, 9, 1, 1, 0)}
    ),
)  # fmt: skip


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_state(tmp_path / "round2", STATE)
    assert read_state(tmp_path / "round2") == STATE
    assert [path.name for path in (tmp_path / "round2").iterdir()] == ["round.json"]


def test_round_without_a_file_has_no_state(tmp_path: Path) -> None:
    assert read_state(tmp_path / "round0") is None


@pytest.mark.parametrize("text", ["{", '{"round": "two"}'])
def test_damaged_file_is_one_line_with_the_way_out(tmp_path: Path, text: str) -> None:
    (tmp_path / "round.json").write_text(text)
    with pytest.raises(DataError, match=r"round\.json cannot be read: .*; restore it, or delete .* to make the round"):
        read_state(tmp_path)
