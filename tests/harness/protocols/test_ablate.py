"""Studies: cells that are the same are one, what a cell is made of decides its identity, and one runs end to end."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import published
from harness.errors import UsageError
from harness.evaluation import study as command
from harness.florence2 import weights
from harness.florence2.config import NANO
from harness.protocols import ablate, studies
from harness.protocols.ablate import Cell, World
from harness.protocols.studies import STUDIES, Arm, Evaluation, Phase
from tasks.miniature import small_world

WORLD = World("small", small_world.small_scene, small_world.FIRST_TRAINING_SEED)
PUBLISHED = published.CSV.parent


def test_the_five_studies_have_what_they_are_held_against() -> None:
    assert list(STUDIES) == ["granularity", "prompts", "init", "resolution", "scale"]
    claims = {row["id"] for row in csv.DictReader((PUBLISHED / "claims.csv").read_text().splitlines())}
    for study in STUDIES.values():
        assert study.against in study.arms
        assert set(study.paper) <= set(study.arms)
        assert set(study.claims) <= claims
    with pytest.raises(UsageError, match="no study is called 'size'; there are granularity, prompts"):
        studies.find("size")


ROWS = {
    ("granularity", "image"): "Image-level model",
    ("granularity", "image+region"): "Image-Region model",
    ("granularity", "image+region+pixel"): "Image-Region-Pixel model",
    ("init", "L"): "Florence-2 Base: L Pre only (BART), no vision pre-training, unfrozen",
    ("init", "V"): "Florence-2 Base: V Pre only (UniCL), no language pre-training, unfrozen",
    ("init", "V+L"): "Florence-2 Base: V Pre + L Pre, unfrozen",
    ("init", "V+L frozen"): "Florence-2 Base: V Pre + L Pre, vision encoder FROZEN",
    ("scale", "small, 1 %"): "Florence-2 Base, 0.12M images",
    ("scale", "small, 10 %"): "Florence-2 Base, 0.36M images",
    ("scale", "small, all"): "Florence-2 Base, 12M images",
    ("scale", "larger, all"): "Florence-2 Large (ablation)",
}
COLUMNS = (
    ("COCO caption", "CIDEr"), ("COCO detection", "AP"), ("Flickr30k grounding", "R@1"), ("RefCOCO RES", "mIoU"),
)  # fmt: skip


def test_the_papers_figures_are_those_of_the_published_table() -> None:
    """Tables 10 to 12 and Figure 7, arm by arm and metric by metric, as `published.csv` has them."""
    lines = (PUBLISHED / "published.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["table"].startswith(("F7_", "T10_", "T11_", "T12_"))]
    known = {(row["model"], row["task"], row["metric"]): float(row["value"]) for row in rows}
    for (study, arm), model in ROWS.items():
        assert STUDIES[study].paper[arm] == tuple(known[model, *column] for column in COLUMNS)
    assert {(study.name, arm) for study in STUDIES.values() for arm in study.paper} == ROWS.keys()


def test_equal_arms_are_one_cell_and_are_asked_in_every_way_of_any_study() -> None:
    plain = {name: Cell(STUDIES[name].arms[arm], 0).identity for name, arm in (
        ("prompts", "own"), ("init", "V"), ("resolution", "high"), ("scale", "small, all"))}  # fmt: skip
    assert len(set(plain.values())) == 1
    cell = ablate.cells_of(STUDIES["scale"], [0])["small, all", 0]
    assert set(cell.arm.evaluations) == {"", "paraphrase", "at x0.5", "at x0.75", "at x1", "at x1.25"}
    everything = {c.identity for study in STUDIES.values() for c in ablate.cells_of(study, [0, 1, 2]).values()}
    assert len(everything) == 3 * (sum(len(study.arms) for study in STUDIES.values()) - 3)


def test_the_identity_is_what_is_trained() -> None:
    arm = STUDIES["prompts"].arms["own"]
    same = Cell(replace(arm, about="other words", evaluations={}), 0)
    assert same.identity == Cell(arm, 0).identity
    for other in (
        Cell(arm, 1),
        Cell(replace(arm, tower="masked"), 0),
        Cell(replace(arm, form="generic"), 0),
        Cell(replace(arm, phases=(Phase(steps=7),)), 0),
    ):
        assert other.identity != Cell(arm, 0).identity


def test_the_full_study_is_larger_in_everything() -> None:
    arm = STUDIES["resolution"].arms["low, then high"]
    full = studies.full(arm)
    assert [phase.side for phase in full.phases] == [64, 128]
    assert sum(phase.steps for phase in full.phases) == 4 * sum(phase.steps for phase in arm.phases)


@pytest.mark.slow
@pytest.mark.parametrize(("study", "arm"), [("granularity", "image+region+pixel"), ("init", "V+L")])
def test_cells_of_the_full_world_have_scenes_for_every_phase(
    study: str, arm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every kind that a slot names is asked of some scene there, and the sizes fit."""
    monkeypatch.setattr(ablate, "PRETRAINING", replace(ablate.PRETRAINING, steps=1, batch=2, warmup=1))
    monkeypatch.setattr(ablate, "SCENES", 12)
    monkeypatch.setattr(ablate, "plan_of", lambda phase, seed: replace(studies.plan_of(phase, seed), steps=3, batch=2))
    full = replace(studies.full(STUDIES[study].arms[arm]), scenes=12)
    folder = tmp_path / "cell"
    model, _ = ablate.train_cell(Cell(full, 0), command._world("full"), tmp_path, folder, "cpu")
    assert model.config == replace(NANO, image_size=128)


@pytest.mark.slow
def test_a_cell_is_trained_once_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablate, "PRETRAINING", replace(ablate.PRETRAINING, steps=2, batch=4))
    monkeypatch.setattr(ablate, "SCENES", 12)
    monkeypatch.setattr(ablate, "plan_of", lambda phase, seed: replace(studies.plan_of(phase, seed), batch=4))
    arm = Arm(
        about="", scenes=8, tower="contrastive", text="denoising", frozen_tower=True,
        phases=(Phase(steps=2, side=32), Phase(steps=2)), evaluations={"": Evaluation(), "32": Evaluation(side=32)},
    )  # fmt: skip
    asked: list[tuple[str, int | None]] = []

    def evaluate(checkpoint: Path, how: Evaluation, scratch: Path) -> Mapping[str, Mapping[str, Any]]:
        asked.append((weights.load(checkpoint).sha256, how.side))
        return {task: {"metric": metric, "value": 1.0} for task, metric in studies.METRICS.items()}

    def run(cell: Cell) -> dict[str, Any]:
        return ablate.run_cell(cell, WORLD, tmp_path / "runs", tmp_path / "results", evaluate, {}, device="cpu")

    record = run(Cell(arm, 0))
    assert [side for _, side in asked] == [None, 32]
    assert run(Cell(arm, 0)) == record
    assert len(asked) == 2  # nothing was asked again
    more = run(Cell(replace(arm, evaluations={**arm.evaluations, "48": Evaluation(side=48)}), 0))
    assert more["evaluations"].keys() == {"", "32", "48"}
    assert len({sha for sha, _ in asked}) == 1  # the checkpoint was there already
    assert run(Cell(arm, 1))["identity"] != record["identity"]
    one, two = (tmp_path / f"runs/small/{cell.identity}/phase0/training.csv" for cell in (Cell(arm, 0), Cell(arm, 1)))
    assert one.read_text() != two.read_text()
