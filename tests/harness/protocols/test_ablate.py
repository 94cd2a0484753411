"""Cells of studies: equal arms are one cell, identities, damaged records, and a cell that runs end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import DataError
from harness.florence2 import weights
from harness.florence2.config import NANO
from harness.protocols import ablate, studies
from harness.protocols.ablate import Cell, World
from harness.protocols.studies import STUDIES, Arm, Evaluation, Phase
from harness.training.targets import Targets
from tasks.miniature import small_world, training
from tests.harness.training.processes import rows_of

WORLD = World("small", small_world.small_scene, small_world.FIRST_TRAINING_SEED)


def test_equal_arms_of_all_studies_are_one_cell_with_all_evaluations() -> None:
    plain = {name: Cell(STUDIES[name].arms[arm], 0).identity for name, arm in (
        ("prompts", "own"), ("init", "V"), ("resolution", "high"), ("scale", "small, all"),
        ("decoding", "all tasks"), ("locations", "smooth to sharp"))}  # fmt: skip
    assert len(set(plain.values())) == 1
    cell = ablate.cells_of(STUDIES["scale"], [0])["small, all", 0]
    assert set(cell.arm.evaluations) == {
        *("", "paraphrase", "at x0.5", "at x0.75", "at x1", "at x1.25"),
        *("2 beams", "3 beams", "5 beams", "repetition allowed", "3 beams, length 0", "3 beams, length 2"),
    }
    identities = {c.identity for study in STUDIES.values() for c in ablate.cells_of(study, [0, 1, 2]).values()}
    assert len(identities) == 3 * (sum(len(study.arms) for study in STUDIES.values()) - 5)


def test_identity_of_cell_depends_on_training_alone() -> None:
    arm = STUDIES["prompts"].arms["own"]
    same = Cell(replace(arm, about="another description", evaluations={}), 0)
    assert same.identity == Cell(arm, 0).identity
    for other in (
        Cell(arm, 1),
        Cell(replace(arm, tower="masked"), 0),
        Cell(replace(arm, form="generic"), 0),
        Cell(replace(arm, optimiser="muon"), 0),
        Cell(replace(arm, rate_factor=2.0), 0),
        Cell(replace(arm, phase_precision="float32"), 0),
        Cell(replace(arm, widths=(0.0, 0.0)), 0),
        Cell(replace(arm, targets=Targets(bins=100)), 0),
        Cell(replace(arm, phases=(Phase(steps=7),)), 0),
    ):
        assert other.identity != Cell(arm, 0).identity


def test_cell_with_optimiser_and_rate_trains_by_them() -> None:
    arm = STUDIES["optimiser"].arms["muon x0.5"]
    plan = studies.plan_of(arm.phases[0], arm, 3)
    assert (plan.optimiser, plan.rate, plan.seed, plan.precision) == ("muon", 1e-3, 3, "float32")


def test_identities_of_recorded_cells_are_those_of_their_time() -> None:
    """Otherwise the committed records would be run again; those of `prompts` were withdrawn."""
    recorded = {path.stem for path in (Path(__file__).parents[3] / "results/ablations/small").iterdir()}
    for study in ("granularity", "init", "resolution", "scale"):
        assert {cell.identity for cell in ablate.cells_of(STUDIES[study], [0, 1, 2]).values()} <= recorded


def test_read_record_without_all_evaluations_is_none(tmp_path: Path) -> None:
    cell = Cell(Arm(about="", evaluations={"": Evaluation(), "32": Evaluation(side=32)}), 0)
    assert ablate.read_record(tmp_path, "small", cell) is None
    path = ablate.record_path(tmp_path, "small", cell)
    path.parent.mkdir(parents=True)
    numbers = {task: {"value": 1.0} for task in studies.METRICS}
    path.write_text(json.dumps({"evaluations": {"": numbers}}))
    assert ablate.read_record(tmp_path, "small", cell) is None
    path.write_text(json.dumps({"evaluations": {"": numbers, "32": numbers, "48": numbers}}))
    assert ablate.read_record(tmp_path, "small", cell) is not None


@pytest.mark.parametrize("value", ["null", "NaN", '"5"'])
def test_read_record_with_damaged_value_raises(value: str, tmp_path: Path) -> None:
    cell = Cell(Arm(about=""), 0)
    path = ablate.record_path(tmp_path, "small", cell)
    path.parent.mkdir(parents=True)
    numbers = ", ".join(f'"{task}": {{"value": {value}}}' for task in studies.METRICS)
    path.write_text(f'{{"evaluations": {{"": {{{numbers}}}}}}}')
    with pytest.raises(DataError, match=rf"{cell.identity}\.json is damaged: some values are not finite numbers"):
        ablate.read_record(tmp_path, "small", cell)
    path.write_text("{")
    with pytest.raises(DataError, match="delete it to run the cell again"):
        ablate.read_record(tmp_path, "small", cell)


@pytest.mark.slow
@pytest.mark.parametrize(("study", "arm"), [("granularity", "image+region+pixel"), ("init", "V+L")])
def test_cells_of_the_full_world_have_scenes_for_every_phase(
    study: str, arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind of a slot has a scene there, and the image sizes fit the network."""
    monkeypatch.setattr(ablate, "PRETRAINING", replace(ablate.PRETRAINING, steps=1, batch=2, warmup=1))
    monkeypatch.setattr(ablate, "SCENES", 12)
    monkeypatch.setattr(ablate, "plan_of", lambda *of: replace(studies.plan_of(*of), steps=3, batch=2))
    full = replace(studies.full(STUDIES[study].arms[arm]), scenes=12)
    world = World("full", training.every_scene, training.FIRST_TRAINING_SEED)
    folder = tmp_path / "cell"
    model, _ = ablate.train_cell(Cell(full, 0), world, tmp_path, folder, "cpu")
    assert model.config == replace(NANO, image_size=128)


@pytest.mark.slow
def test_run_cell_trains_once_and_evaluates_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate, "PRETRAINING", replace(ablate.PRETRAINING, steps=2, batch=4))
    monkeypatch.setattr(ablate, "SCENES", 12)
    monkeypatch.setattr(ablate, "plan_of", lambda *of: replace(studies.plan_of(*of), batch=4))
    arm = Arm(
        about="", scenes=8, tower="contrastive", text="denoising", frozen_tower=True,
        phases=(Phase(steps=2, side=32), Phase(steps=2)), evaluations={"": Evaluation(), "32": Evaluation(side=32)},
    )  # fmt: skip
    calls: list[tuple[str, int | None]] = []

    def evaluate(checkpoint: Path, evaluation: Evaluation, scratch: Path) -> Mapping[str, Mapping[str, Any]]:
        calls.append((weights.load(checkpoint).sha256, evaluation.side))
        return {task: {"metric": metric, "value": 1.0} for task, metric in studies.METRICS.items()}

    def run(cell: Cell) -> dict[str, Any]:
        return ablate.run_cell(cell, WORLD, tmp_path / "runs", tmp_path / "results", evaluate, {}, device="cpu")

    record = run(Cell(arm, 0))
    assert [side for _, side in calls] == [None, 32]
    assert run(Cell(arm, 0)) == record
    assert len(calls) == 2  # the record was reused
    more = run(Cell(replace(arm, evaluations={**arm.evaluations, "48": Evaluation(side=48)}), 0))
    assert more["evaluations"].keys() == {"", "32", "48"}
    assert len({sha for sha, _ in calls}) == 1  # the checkpoint was reused
    assert run(Cell(arm, 1))["identity"] != record["identity"]
    first, second = (
        rows_of(tmp_path / f"runs/small/{cell.identity}/phase0/training.csv") for cell in (Cell(arm, 0), Cell(arm, 1))
    )
    assert first != second
