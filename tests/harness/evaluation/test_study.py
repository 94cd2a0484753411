"""The tables of studies, written from records; and cells on a cluster, which are those of this machine."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.cluster.ray_cluster import Spread
from harness.evaluation import study
from harness.evaluation.study import render
from harness.protocols import ablate, studies
from harness.protocols.ablate import Cell, cells_of, record_path
from harness.protocols.studies import METRICS, STUDIES, Arm, Evaluation, Phase, Study


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
