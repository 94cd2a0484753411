"""Runs of a gate: each queried once, and none left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.gates import runs
from harness.gates.promises import Promise
from tasks import TASKS


def test_folder_of_runs_is_removed_unless_it_was_named(tmp_path: Path) -> None:
    with runs.run_folder(tmp_path / "named") as named:
        named.mkdir()
    with runs.run_folder(None) as made:
        assert made.is_dir()
    assert named.is_dir() and not made.exists()


def test_promises_about_one_run_query_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queried = []
    true = runs.evaluate_each
    monkeypatch.setattr(runs, "evaluate_each", lambda request: queried.append(request.limit) or true(request))
    made = runs.Runs(tmp_path)
    first, again, fewer = (
        Promise(name=name, task="vizwiz", model="oracle", limit=limit) for name, limit in (("a", 3), ("b", 3), ("c", 2))
    )
    assert made.run(first, TASKS["vizwiz"])[1] is made.run(again, TASKS["vizwiz"])[1]
    assert made.run(fewer, TASKS["vizwiz"])[1].counts["images"] == 2
    assert queried == [3, 2]


def test_run_with_failed_questions_is_no_reference(tmp_path: Path, miniature: Path) -> None:
    root = tmp_path / "root"
    (root / "vizwiz/val").mkdir(parents=True)
    (root / "vizwiz/Annotations").symlink_to(miniature / "vizwiz/Annotations")
    (root / "vizwiz/val/other.jpg").write_bytes(b"")
    promise = Promise(name="a", task="vizwiz", model="florence2-nano", limit=1, data=str(root))
    with pytest.raises(DataError, match=r"1 questions failed, the first: .* is not there"):
        runs.Runs(tmp_path / "r").run(promise, TASKS["vizwiz"])
