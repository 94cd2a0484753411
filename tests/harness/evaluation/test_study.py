"""The tables of studies, written from records."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.evaluation.study import render
from harness.protocols.ablate import cells_of, record_path
from harness.protocols.studies import METRICS, STUDIES


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
