"""Which runs pair: two runs, two models, or two folders of results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import harness
from harness.errors import DataError, UsageError
from harness.evaluation.comparing import compare_each, paired, runs_of


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on two tasks, and one of them on a third."""
    out = tmp_path_factory.mktemp("kept") / "results"
    for model, tasks in (("oracle", ("vizwiz", "textvqa", "refcoco")), ("whole-image", ("vizwiz", "textvqa"))):
        for task in tasks:
            harness.evaluate(task, model, data="miniature", limit=3, out=out)
    return out


def test_models_and_folders_pair_by_task_split_and_data(kept: Path) -> None:
    oracle, floor = runs_of("oracle", kept), runs_of("whole-image", kept)
    tasks = sorted(one[1].spec.task for one, _ in paired(oracle, floor, "a", "b"))
    assert tasks == ["textvqa", "vizwiz"]
    folder = kept / "miniature/vizwiz"
    with pytest.raises(UsageError, match="has several runs of vizwiz val"):
        paired(runs_of(str(folder), kept), oracle, "a", "b")


def test_two_runs_pair_whatever_they_are_of_and_are_then_refused(kept: Path) -> None:
    of = {run.spec.task: run.id for _, run in runs_of("oracle", kept)}
    with pytest.raises(DataError, match="refcoco"):
        list(compare_each(of["refcoco"], of["vizwiz"], out=kept))


def test_nothing_in_common_and_nothing_there(kept: Path, tmp_path: Path) -> None:
    one, other = runs_of(str(kept / "miniature/refcoco"), kept), runs_of("whole-image", kept)
    with pytest.raises(UsageError, match="a and b have no task, split and data in common"):
        paired(one, other, "a", "b")
    with pytest.raises(UsageError, match="an empty name; give a run"):
        runs_of(" ", kept)
    with pytest.raises(UsageError, match="no finished runs in the folder"):
        runs_of(str(tmp_path), kept)


def test_record_without_answers_is_left_out_of_a_models_runs_where_there_are_others(kept: Path, tmp_path: Path) -> None:
    results = Path(shutil.copytree(kept, tmp_path / "results"))
    answers = sorted((results / "miniature/vizwiz").rglob("oracle/**/answers.jsonl"))
    answers[0].unlink()
    assert sorted(run.spec.task for _, run in runs_of("oracle", results)) == ["refcoco", "textvqa"]
    folder = str(answers[0].parent)
    with pytest.raises(DataError, match="is a record without its answers"):
        list(compare_each(folder, folder, out=results))
