"""The runs of a gate: each is queried once, in a folder that is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cluster.ray_cluster import Spread, connected
from harness.errors import DataError
from harness.gates import runs
from harness.gates.promises import MEMORY, Promise
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


def test_runs_on_a_cluster_are_those_of_one_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model that workers cannot build, and a promise of one process's memory, run here; the log says so."""
    pytest.importorskip("ray")
    spread = Spread(workers=1)
    kept, told, large = (
        Promise(name=name, task="vizwiz", model=model, limit=3, metric=metric)
        for name, model, metric in (("a", "whole-image", ""), ("b", "oracle", ""), ("c", "whole-image", MEMORY))
    )
    with connected(spread):
        on_workers = runs.Runs(tmp_path / "ray", spread)
        found = {promise.name: on_workers.run(promise, TASKS["vizwiz"])[1] for promise in (kept, told, large)}
    for promise in (kept, told):
        alone = runs.Runs(tmp_path / "alone").run(promise, TASKS["vizwiz"])[1]
        assert found[promise.name].metrics == alone.metrics
    executors = {name: "executor" in run.provenance["model"] for name, run in found.items()}
    assert executors == {"a": True, "b": False, "c": False}
    said = [record.message for record in caplog.records if "runs in this process" in record.message]
    assert said == [
        "b runs in this process: --executor ray: oracle is built from a task's samples; run it in one process",
        "c runs in this process: peak memory is that of one process",
    ]
