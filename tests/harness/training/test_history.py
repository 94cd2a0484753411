"""The training history of a checkpoint: written, read, and checked for damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import CheckpointError
from harness.training.history import NAME, history_of, write_history

FIRST = {"identity": "a", "recipe": {}, "from": None, "tasks": {}}
SECOND = {"identity": "b", "recipe": {}, "from": "0", "tasks": {"vqav2": {"splits": ["train"], "samples": 3}}}


def test_history_of_written_runs_is_oldest_first(tmp_path: Path) -> None:
    write_history(tmp_path, None, FIRST)
    assert history_of(tmp_path) == [FIRST]
    write_history(tmp_path, history_of(tmp_path), SECOND)
    assert history_of(tmp_path) == [FIRST, SECOND]


def test_history_of_checkpoint_without_file_is_none(tmp_path: Path) -> None:
    assert history_of(tmp_path) is None
    assert history_of(None) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("{}", "KeyError"),
        ("null", "TypeError"),
        ('{"runs": []}', "no list of runs"),
        ('{"runs": {"identity": "x"}}', "no list of runs"),
        ('{"runs": [{"identity": "x"}]}', "no list of runs"),
        ('{"runs": [{"identity": "x", "tasks": {"a": {"splits": "b"}}}]}', "no list of runs"),
        ('{"runs": [{"identity": "x", "tasks": {"a": {"splits": [1]}}}]}', "no list of runs"),
    ],
)
def test_history_of_damaged_file_raises(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(CheckpointError, match=rf"training\.json is damaged.*{reason}"):
        history_of(tmp_path)
