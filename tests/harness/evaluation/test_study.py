"""The tables of studies, written from records; and cells on a cluster, which are those of this machine."""

from __future__ import annotations

import csv
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import progress, tracking
from harness.cluster.ray_cluster import Spread
from harness.evaluation import study
from harness.evaluation.study import render
from harness.protocols import ablate, studies
from harness.protocols.ablate import Cell, cells_of, record_path
from harness.protocols.studies import METRICS, STUDIES, Arm, Evaluation, Phase, Study
from tests.tracked import sent


def test_render_record_without_an_evaluation_shows_the_others_and_not_run(tmp_path: Path) -> None:
    """The records of `own` lack the evaluation `paraphrase`; `generic` has no record."""
    study = STUDIES["prompts"]
    for (arm, seed), cell in cells_of(study, range(3)).items():
        if arm == "own":
            path = record_path(tmp_path, "small", replace(cell, arm=replace(cell.arm, evaluations={})))
            path.parent.mkdir(parents=True, exist_ok=True)
            numbers = {task: {"metric": metric, "value": 10.0 + seed} for task, metric in METRICS.items()}
            path.write_text(json.dumps({"evaluations": {"": numbers}}))
    text = render(study, range(3), "small", tmp_path, tmp_path / "reports").read_text()
    assert "3 of 6 cells have a record" in text
    # Seeds give 10, 11, 12: standard deviation 1, and t(0.975, 2) / sqrt(3) = 4.3027 / 1.7321 = 2.48.
    assert f"| own | as trained | 3 |{' 11.0 [8.5, 13.5] |' * 4}" in text
    assert f"| own | paraphrase | 0 |{' not run |' * 4}" in text
    assert f"| generic | as trained | 0 |{' not run |' * 4}" in text
    rows = list(csv.DictReader((tmp_path / "reports/prompts.csv").read_text().splitlines()))
    assert [(row["arm"], row["task"]) for row in rows] == [("own", task) for task in METRICS]


def test_render_study_without_records_draws_nothing(tmp_path: Path) -> None:
    path = render(STUDIES["scale"], range(3), "small", tmp_path, tmp_path / "reports")
    assert "0 of 18 cells have a record" in path.read_text()
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["scale.csv", "scale.md"]


@pytest.mark.parametrize("name", STUDIES)
def test_render_committed_records_names_every_arm(name: str, tmp_path: Path) -> None:
    results = Path(__file__).parents[3] / "results"
    text = render(STUDIES[name], range(3), "small", results, tmp_path).read_text()
    for arm in STUDIES[name].arms:
        assert f"| {arm} | as trained |" in text


STEPS = (2, 3)  # of two arms, whose cells take seconds
TINY = Study(
    name="tiny", question="", against="0", says="",
    arms={
        str(steps): Arm(
            about="", scenes=8, tower="scratch", phases=(Phase(steps=steps, side=32),),
            evaluations={"32": Evaluation(side=32)},
        ) for steps in STEPS
    },
)  # fmt: skip
run_cell = study.run_cell  # the real one, since a test replaces it on the driver


def small_cell(
    cell: Cell, world: str, runs: Path, out: Path, device: str | None, command: list[str], threads: int
) -> dict[str, Any]:
    """`run_cell` with few scenes and small batches, whose folder of results is another one than the driver's."""
    ablate.SCENES = 12  # type: ignore[misc]
    ablate.plan_of = lambda *of: replace(studies.plan_of(*of), batch=4)  # type: ignore[attr-defined]
    try:
        return run_cell(cell, world, out.parent / "runs", out.parent / "elsewhere", "cpu", command, 1)
    finally:
        ablate.plan_of = studies.plan_of  # type: ignore[attr-defined]


@pytest.mark.slow
def test_cells_on_a_cluster_have_the_records_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where workers do not share the folder of results: the driver writes what they return."""
    pytest.importorskip("ray")
    monkeypatch.setattr(study, "run_cell", small_cell)
    records = {}
    for name, spread in (("here", None), ("cluster", Spread(workers=2))):
        out = tmp_path / name / "results"
        study.run_cells([TINY], None, range(1), "small", 1, "cpu", None, out, ["test"], spread)
        found = {arm: ablate.read_record(out, "small", cell) for (arm, _), cell in cells_of(TINY, range(1)).items()}
        records[name] = {arm: record["evaluations"] for arm, record in found.items() if record is not None}
    assert records["here"].keys() == TINY.arms.keys()
    assert records["cluster"] == records["here"]


def test_finished_cell_is_sent_to_the_trackers(tmp_path: Path) -> None:
    [cell, *_] = cells_of(TINY, [0]).values()
    numbers = {"refcoco_res": {"metric": "mIoU", "value": 12.5, "low": 10.0, "high": None, "n": 3, "seconds": 2.0}}
    record = {"seconds": 7.5, "evaluations": {"": numbers, "32": numbers}}
    ablate.write_record(tmp_path, "small", cell, record)
    with tracking.to(["tensorboard"], tmp_path / "tracking"):
        study._send("tiny: 2, seed 0", tmp_path, "small", cell, record)
    [run] = sent(tmp_path / "tracking/tensorboard")
    assert run.name == "tiny__2__seed_0" and f"cell: {cell.identity}" in run.texts["facts"]
    assert run.numbers == {  # TINY's first arm is trained for 2 steps
        "speed/seconds": [(2, 7.5)],
        "as_trained/refcoco_res_mIoU": [(2, 12.5)], "as_trained/refcoco_res_mIoU_low": [(2, 10.0)],
        "32/refcoco_res_mIoU": [(2, 12.5)], "32/refcoco_res_mIoU_low": [(2, 10.0)],
    }  # fmt: skip


def test_study_sends_each_of_its_cells_and_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cells that take no time, in processes of their own."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "FIRST", 0.0)
    monkeypatch.setattr(study, "run_cell", no_cell)
    with tracking.to(["tensorboard"], tmp_path / "tracking"):
        study.run_cells([TINY], None, range(1), "small", 1, "cpu", None, tmp_path, ["test"])
    assert [run.name for run in sent(tmp_path / "tracking/tensorboard")] == ["tiny__2__seed_0", "tiny__3__seed_0"]
    assert any(message.startswith("running: 1 of 2 cells (50 %), ") for message in caplog.messages)


def no_cell(cell: Cell, *_: Any) -> dict[str, Any]:
    """A record without a training."""
    numbers = {task: {"metric": metric, "value": 1.0} for task, metric in METRICS.items()}
    return {"seconds": 0.0, "evaluations": dict.fromkeys(cell.arm.evaluations, numbers)}
