"""Runs a study: every cell (an arm with a seed) once, kept as it ends, gone on with where it was stopped."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.errors import DataError
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import FORMS, name_of
from harness.florence2.start import initialise
from harness.florence2.tokenizer import Tokenizer
from harness.protocols.studies import METRICS, STUDIES, Arm, Evaluation, Study, plan_of
from harness.training.data import Pack, SceneSource, cached_pack, digest, drawn, pack
from harness.training.denoising import mask_of
from harness.training.pretraining import pretrain_text, pretrain_tower
from harness.training.recipe import Drawing, Plan, Recipe
from harness.training.states import replace_file
from harness.training.teaching import save, teach_all
from harness.training.vocabulary import tokenizer_of as learned

VERSION = 1  # raise it whenever a cell would come out differently
PRETRAINING = Plan(steps=200, batch=32, rate=2e-3, warmup=50, precision="bfloat16", save_every=200)
SIGMA = (20.0, 8.0)  # bins; the small world's objects are large
ANSWER_LIMIT = 100
SCENES = max(arm.scenes for study in STUDIES.values() for arm in study.arms.values())  # drawn for all arms together
Evaluate = Callable[
    [Path, Evaluation, Path], Mapping[str, Mapping[str, Any]]
]  # checkpoint, how, scratch: task to number


@dataclass(frozen=True, slots=True)
class World:
    """Where scenes to learn from come from."""

    name: str
    source: SceneSource
    first_seed: int


@dataclass(frozen=True, slots=True)
class Cell:
    """An arm with a seed.  `identity` is a digest of how it is trained; cells that share it are one."""

    arm: Arm
    seed: int

    @property
    def identity(self) -> str:
        """Twelve letters; what the arm is called and how it is asked afterwards do not enter."""
        trained = replace(self.arm, about="", evaluations={})
        plans = [asdict(plan_of(phase, self.seed)) for phase in self.arm.phases]
        made = [VERSION, asdict(trained), plans, asdict(PRETRAINING), SIGMA, ANSWER_LIMIT, SCENES, self.seed]
        forms = [name_of(kind, self.arm.form) for kind, known in FORMS.items() if self.arm.form in known]
        return digest(*made, *([forms] if forms else []))


def cells_of(
    study: Study, seeds: Sequence[int], change: Callable[[Arm], Arm] = lambda arm: arm
) -> dict[tuple[str, int], Cell]:
    """Every cell by arm and seed, seeds outermost, asked in every way that any study asks the same arm."""
    arms = [change(arm) for one in STUDIES.values() for arm in one.arms.values()]
    cells = {}
    for seed in seeds:
        for name, arm in study.arms.items():
            cell = Cell(change(arm), seed)
            same = [other for other in arms if Cell(other, seed).identity == cell.identity]
            asked = {key: value for other in same for key, value in other.evaluations.items()}
            cells[name, seed] = Cell(replace(cell.arm, evaluations=asked), seed)
    return cells


def record_path(results: Path, world: str, cell: Cell) -> Path:
    """Where a cell's record lies."""
    return results / "ablations" / world / f"{cell.identity}.json"


def read_record(results: Path, world: str, cell: Cell) -> dict[str, Any] | None:
    """A finished cell's record; None where there is none, or it was asked in fewer ways."""
    path = record_path(results, world, cell)
    if not path.is_file():
        return None
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        told = record["evaluations"]
        numbers = [asked[task]["value"] for asked in told.values() for task in METRICS]
        sound = all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error!r}); delete it to run the cell again") from error
    if not sound:
        raise DataError(f"{path} is damaged: some numbers are none; delete it to run the cell again")
    return record if cell.arm.evaluations.keys() <= told.keys() else None


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
    """Trains and asks a cell, or finds it done; its record."""
    before = read_record(results, world.name, cell)
    if before is not None:
        return before
    folder = runs / world.name / cell.identity
    clock = time.monotonic()
    checkpoint = folder / "checkpoint"
    if not checkpoint.is_dir():
        model, tokenizer = train_cell(cell, world, runs / world.name, folder, device)
        trained = asdict(replace(cell.arm, about="", evaluations={}))
        run = {"identity": cell.identity, "recipe": trained, "from": None, "tasks": {}}
        save(model, tokenizer, checkpoint, None, run)
    evaluations = {
        name: evaluate(checkpoint, replace(one, form=one.form or cell.arm.form), folder)
        for name, one in cell.arm.evaluations.items()
    }
    record = {
        "identity": cell.identity,
        "world": world.name,
        "seed": cell.seed,
        "arm": asdict(replace(cell.arm, about="", evaluations={})),
        "images": sum(phase.steps for phase in cell.arm.phases) * plan_of(cell.arm.phases[0], 0).batch,
        "seconds": round(time.monotonic() - clock, 1),
        "evaluations": evaluations,
        "provenance": provenance,
    }
    path, text = record_path(results, world.name, cell), json.dumps(record, indent=1, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda partial: partial.write_text(text))
    kept: dict[str, Any] = json.loads(text)
    return kept


def train_cell(cell: Cell, world: World, shared: Path, folder: Path, device: str) -> tuple[Florence2, Tokenizer]:
    """The arm's model: its parts pre-trained, then its phases; states are kept in `folder`, packs in `shared`."""
    arm, seed = cell.arm, cell.seed
    shared.mkdir(parents=True, exist_ok=True)
    tokenizer = learned(arm.config.text.vocab, [world.source], world.first_seed, shared, None)
    first = arm.phases[0]
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # heads that are thrown away
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
            plan=plan_of(phase, seed),
            data=data,
            sigma=SIGMA,
            answer_limit=ANSWER_LIMIT,
            freeze=("vision",) if arm.frozen_tower else (),
        )
        batches = drawn(recipe, data, _pack(arm, world, tokenizer, shared, phase.side).head(arm.scenes))
        out = folder / f"phase{number}"
        model = teach_all(recipe, resized, batches, tokenizer.first_bin, out, cell.identity)
    return model, tokenizer


def _pack(arm: Arm, world: World, tokenizer: Tokenizer, shared: Path, side: int) -> Pack:
    """The world's scenes at a resolution, in the arm's prompts; drawn once for all cells."""
    scenes = max(SCENES, arm.scenes)
    forms = {kind: arm.form for kind, known in FORMS.items() if arm.form in known}
    name = digest(world.name, scenes, side, forms, ANSWER_LIMIT, tokenizer.backend.to_str())
    seeds = range(world.first_seed, world.first_seed + scenes)

    def make() -> Pack:
        preprocess = Preprocess(side, side)
        return pack(world.source, seeds, tokenizer, preprocess, answer_limit=ANSWER_LIMIT, workers=1, forms=forms)

    return cached_pack(shared / f"scenes-{name}.npz", make)
