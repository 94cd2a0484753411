"""The runs of a gate: each is queried once, in a folder that is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.gates import runs
from harness.gates.promises import Promise
from tasks import TASKS


def test_run_folder_is_removed_unless_named(tmp_path: Path) -> None:
    with runs.run_folder(tmp_path / "named") as named:
        named.mkdir()
    with runs.run_folder(None) as temporary:
        assert temporary.is_dir()
    assert named.is_dir() and not temporary.exists()


def test_two_promises_about_one_run_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queried_limits = []
    evaluate_each = runs.evaluate_each
    monkeypatch.setattr(
        runs, "evaluate_each", lambda request: queried_limits.append(request.limit) or evaluate_each(request)
    )
    gate_runs = runs.Runs(tmp_path)
    first, same, fewer = (
        Promise(name=name, task="vizwiz", model="oracle", limit=limit) for name, limit in (("a", 3), ("b", 3), ("c", 2))
    )
    assert gate_runs.run(first, TASKS["vizwiz"])[1] is gate_runs.run(same, TASKS["vizwiz"])[1]
    assert gate_runs.run(fewer, TASKS["vizwiz"])[1].counts["images"] == 2
    assert queried_limits == [3, 2]


def test_run_with_failed_questions_is_a_data_error(tmp_path: Path, miniature: Path) -> None:
    root = tmp_path / "root"
    (root / "vizwiz/val").mkdir(parents=True)
    (root / "vizwiz/Annotations").symlink_to(miniature / "vizwiz/Annotations")
    (root / "vizwiz/val/other.jpg").write_bytes(b"")
    promise = Promise(name="a", task="vizwiz", model="florence2-nano", limit=1, data=str(root))
    with pytest.raises(DataError, match=r"1 questions failed, the first: .* is not there"):
        runs.Runs(tmp_path / "r").run(promise, TASKS["vizwiz"])
