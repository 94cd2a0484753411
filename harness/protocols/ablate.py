"""Runs the cells of a study: a cell is an arm with a seed.

An interrupted cell resumes, and the record of a finished cell is reused.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.errors import DataError
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import FORMS, name_of
from harness.florence2.start import initialise
from harness.florence2.tokenizer import Tokenizer
from harness.protocols.studies import METRICS, SIGMA, STUDIES, UNCHANGED, Arm, Evaluation, Study, plan_of
from harness.training.data import Pack, SceneSource, cached_pack, digest, pack, scene_batches
from harness.training.denoising import mask_of
from harness.training.pretraining import pretrain_text, pretrain_tower
from harness.training.recipe import Drawing, Plan, Recipe, described
from harness.training.states import replace_file
from harness.training.targets import Changed
from harness.training.teaching import save, teach_all
from harness.training.vocabulary import tokenizer_of

VERSION = 1  # raise it when the result of a cell changes
PRETRAINING = Plan(steps=200, batch=32, rate=2e-3, warmup=50, precision="bfloat16", save_every=200)
ANSWER_LIMIT = 100
SCENES = max(arm.scenes for study in STUDIES.values() for arm in study.arms.values())  # in the pack that all arms share
# (checkpoint folder, evaluation, scratch folder) to the headline of each task: {task: {"metric": ..., "value": ...}}
Evaluate = Callable[[Path, Evaluation, Path], Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class World:
    """A source of training scenes, with the seed of the first scene."""

    name: str
    source: SceneSource
    first_seed: int


@dataclass(frozen=True, slots=True)
class Cell:
    """An arm with a seed.  Cells with the same `identity` are trained once."""

    arm: Arm
    seed: int

    @property
    def identity(self) -> str:
        """A digest of the training settings, without the description and the evaluations of the arm."""
        trained = replace(self.arm, about="", evaluations={})
        plans = [described(plan_of(phase, self.arm, self.seed)) for phase in self.arm.phases]
        settings = [VERSION, described(trained), plans, described(PRETRAINING), SIGMA, ANSWER_LIMIT, SCENES, self.seed]
        forms = [name_of(kind, self.arm.form) for kind, known in FORMS.items() if self.arm.form in known]
        return digest(*settings, *([forms] if forms else []))


def cells_of(
    study: Study, seeds: Sequence[int], change: Callable[[Arm], Arm] = lambda arm: arm
) -> dict[tuple[str, int], Cell]:
    """The cells of a study by (arm, seed), ordered by seed and then by arm.

    A cell has the evaluations of all arms, in all studies, that are trained in the same way.  `change` is applied to
    every arm.
    """
    arms = [change(arm) for other in STUDIES.values() for arm in other.arms.values()]
    cells = {}
    for seed in seeds:
        for name, arm in study.arms.items():
            cell = Cell(change(arm), seed)
            same = [other for other in arms if Cell(other, seed).identity == cell.identity]
            evaluations = {key: value for other in same for key, value in other.evaluations.items()}
            cells[name, seed] = Cell(replace(cell.arm, evaluations=evaluations), seed)
    return cells


def record_path(results: Path, world: str, cell: Cell) -> Path:
    """The file of a cell's record."""
    return results / "ablations" / world / f"{cell.identity}.json"


def read_record(results: Path, world: str, cell: Cell) -> dict[str, Any] | None:
    """The record of a finished cell; None for a cell without a record, or with evaluations missing.

    DataError for a damaged record.
    """
    path = record_path(results, world, cell)
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        evaluations = record["evaluations"]
        numbers = [by_task[task]["value"] for by_task in evaluations.values() for task in METRICS]
        finite = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); delete it to run the cell again") from error
    if not finite:
        raise DataError(f"{path} is damaged: some values are not finite numbers; delete it to run the cell again")
    return record if cell.arm.evaluations.keys() <= evaluations.keys() else None


def run_cell(
    cell: Cell,
    world: World,
    runs: Path,
    results: Path,
    evaluate: Evaluate,
    provenance: Mapping[str, Any],
    *,
    device: str,
) -> dict[str, Any]:
    """Trains and evaluates a cell, unless it has a record; the record.

    Training states, packs and checkpoints go to `runs`, records to `results`.  `provenance` is stored in the record.
    """
    finished = read_record(results, world.name, cell)
    if finished is not None:
        return finished
    folder = runs / world.name / cell.identity
    clock = time.monotonic()
    checkpoint = folder / "checkpoint"
    if not checkpoint.is_dir():
        model, tokenizer = train_cell(cell, world, runs / world.name, folder, device)
        trained = described(replace(cell.arm, about="", evaluations={}))
        run = {"identity": cell.identity, "recipe": trained, "from": None, "tasks": {}}
        save(model, tokenizer, checkpoint, None, run)
    evaluations = {
        name: evaluate(checkpoint, replace(evaluation, form=evaluation.form or cell.arm.form), folder)
        for name, evaluation in cell.arm.evaluations.items()
    }
    record = {
        "identity": cell.identity,
        "world": world.name,
        "seed": cell.seed,
        "arm": described(replace(cell.arm, about="", evaluations={})),
        "images": sum(phase.steps for phase in cell.arm.phases) * plan_of(cell.arm.phases[0], cell.arm, 0).batch,
        "seconds": round(time.monotonic() - clock, 1),
        "evaluations": evaluations,
        "provenance": provenance,
    }
    return write_record(results, world.name, cell, record)


def write_record(results: Path, world: str, cell: Cell, record: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the record of a cell in one step; the record as it is read again."""
    path, text = record_path(results, world, cell), json.dumps(record, indent=1, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda partial: partial.write_text(text))
    written: dict[str, Any] = json.loads(text)
    return written


def train_cell(cell: Cell, world: World, shared: Path, folder: Path, device: str) -> tuple[Florence2, Tokenizer]:
    """The trained model of an arm, and its tokenizer: pre-training of the parts, then the phases.

    Training states go to `folder`, packs and the tokenizer to `shared`.
    """
    arm, seed = cell.arm, cell.seed
    shared.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(arm.config.text.vocab, [world.source], world.first_seed, shared, None)
    first = arm.phases[0]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # initialises the heads that pre-training discards
    model = Florence2(replace(arm.config, image_size=first.side))
    initialise(model, tokenizer.first_bin, generator)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    scenes = _pack(arm, world, tokenizer, shared, first.side).head(arm.scenes)
    plan = replace(PRETRAINING, seed=seed)
    if arm.text == "denoising":
        pretrain_text(model, mask_of(tokenizer), scenes, plan, folder, identity=cell.identity)
    if arm.tower != "scratch":
        pretrain_tower(model, arm.tower, scenes, plan, folder, identity=cell.identity)
    for number, phase in enumerate(arm.phases):
        resized = Florence2(replace(arm.config, image_size=phase.side))
        resized.load_state_dict(model.state_dict())
        resized.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        data = Drawing(scenes=arm.scenes, slots=phase.slots)
        recipe = Recipe(
            name=f"phase {number}",
            about="",
            config=resized.config,
            plan=plan_of(phase, arm, seed),
            data=data,
            sigma=arm.widths,
            answer_limit=ANSWER_LIMIT,
            freeze=("vision",) if arm.frozen_tower else (),
        )
        batches = scene_batches(recipe, data, _pack(arm, world, tokenizer, shared, phase.side).head(arm.scenes))
        out = folder / f"phase{number}"
        model = teach_all(recipe, resized, batches, tokenizer.first_bin, out, cell.identity)
    return model, tokenizer


def _pack(arm: Arm, world: World, tokenizer: Tokenizer, shared: Path, side: int) -> Pack:
    """The world's scenes at `side` pixels with the arm's form of prompts; rendered once for all cells."""
    scenes = max(SCENES, arm.scenes)
    forms = {kind: arm.form for kind, known in FORMS.items() if arm.form in known}
    changed = [] if arm.targets == UNCHANGED else [arm.targets]
    name = digest(world.name, scenes, side, forms, ANSWER_LIMIT, tokenizer.backend.to_str(), *changed)
    seeds = range(world.first_seed, world.first_seed + scenes)

    def make() -> Pack:
        preprocess = Preprocess(side, side)
        source = Changed(world.source, arm.targets)
        return pack(source, seeds, tokenizer, preprocess, answer_limit=ANSWER_LIMIT, workers=1, forms=forms)

    return cached_pack(shared / f"scenes-{name}.npz", make)
