"""The benchmark of many runs: its copies are runs of their own, with the answers of the first."""

from __future__ import annotations

from pathlib import Path

from benchmarks import many_runs
from harness import runner, store
from harness.evaluation.plan import samples_of


def test_copies_are_unedited_runs_of_other_models_with_all_answers(miniature: Path, tmp_path: Path) -> None:
    first = many_runs.stored(tmp_path / "first", "refcoco,vizwiz", limit=2)
    many_runs.copied(first, 5, tmp_path / "results")
    runs = list(store.runs(tmp_path / "results"))
    assert sorted(run.spec.model for _, run in runs) == [
        "whole-image-00000", "whole-image-00000", "whole-image-00001", "whole-image-00001", "whole-image-00002",
    ]  # fmt: skip
    assert len({run.id for _, run in runs}) == 5
    for folder, run in runs:
        assert folder.path.name == run.id == store.run_id(run.spec) and not store.edited(run)
        samples = samples_of(run, None)[1]
        assert len(runner.kept_answers(samples, folder, run.spec.fingerprint)) == len(samples) > 0


def test_cost_of_a_command_has_its_time_and_memory(tmp_path: Path) -> None:
    cost = many_runs.cost(["ls", "--out", str(tmp_path)])
    assert cost.seconds > 0 and cost.processor > 0 and cost.memory > 5
