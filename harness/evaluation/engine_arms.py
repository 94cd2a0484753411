"""The arms of the data engine's study, made: scenes, start, engines and teachings; see `protocols.engine_study`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import baselines
from baselines import Setting
from harness.core import Kind
from harness.data_engine.calibration import Object, calibrated, curve
from harness.data_engine.filtering import raw_records
from harness.data_engine.judging import Judged, gain
from harness.data_engine.recipes import Recipe, stage
from harness.data_engine.records import digest
from harness.data_engine.regions import Boxes as BoxesStage
from harness.data_engine.shards import Engine
from harness.evaluation import engine as python
from harness.evaluation import held_out
from harness.evaluation.held_out import objects_of
from harness.evaluation.refining import Teaching, refine
from harness.protocols import engine_study as study
from harness.protocols.engine_study import Cell, Sizes
from tasks.miniature import study_scenes as scenes
from tasks.miniature.engine_world import Truth, truths_of
from tasks.miniature.specialists import Noise, Simulated

if TYPE_CHECKING:
    from harness.training.recipe import Recipe as TrainingRecipe

STAGES = tuple(stage(name, {}) for name in ("sources", "boxes", "combine", "parents"))
DETECT: tuple[Kind, ...] = ("detect",)
DETAILED: tuple[Kind, ...] = ("detailed_caption",)
SPECIALIST = "detector"
SIDE = 128  # pixels


@dataclass(frozen=True)
class Work:
    """What a cell needs.  Everything is in `runs`, is made once, and resumes."""

    cell: Cell
    runs: Path
    device: str

    @property
    def sizes(self) -> Sizes:
        """The sizes of the study."""
        return self.cell.sizes

    @property
    def folder(self) -> Path:
        """The folder of the seed and these sizes."""
        return self.runs / f"sizes-{digest(asdict(self.sizes))[:8]}" / f"seed{self.cell.seed}"

    def make(self, cell: Cell) -> dict[str, Any]:
        """The scores of a cell's labels and of the model that was taught them."""
        if cell.arm.startswith("detailed"):
            return {"labels": {}, "model": held_out.detailed(self.detailed(cell.arm), self.unseen, self.device)}
        engine, round_, note = self.labels(cell.arm)
        labels = self.judged(engine, round_)
        checkpoint = self.student(cell.arm)
        scores = {"precision": labels.precision(), "recall": labels.recall(), "F1": labels.f1()}
        more: dict[str, Any] = {"note": note}
        if cell.arm not in (study.TRUTH, "raw", "filtered"):
            before = self.judged(self.once, 0)
            found = gain(before, labels)
            more["gain in F1 over filtered"] = [found.value, found.low, found.high]
        return {"labels": scores, "model": held_out.detection(checkpoint, self.unseen, self.device), **more}

    # ------------------------------------------------------------------------ scenes and the start

    @cached_property
    def root(self) -> Path:
        """The scenes to label, with the calibration set."""
        s = self.sizes
        folder = self.runs / f"scenes-{s.labelled}-{s.calibration}" / f"seed{self.cell.seed}"
        scenes.write(folder, scenes.LABELLED + scenes.APART * self.cell.seed, s.labelled + s.calibration, s.calibration)
        return folder

    @cached_property
    def unseen(self) -> Path:
        """The scenes that models are scored on, other ones for seeds to choose settings on."""
        part = int(self.cell.seed >= study.CHOOSING)
        folder = self.runs / f"scenes-held-out-{self.sizes.held_out}-{part}"
        scenes.write(folder, scenes.HELD_OUT + scenes.APART * part, self.sizes.held_out)
        return folder

    @cached_property
    def truths(self) -> Mapping[str, Truth]:
        """The truth of all scenes to label."""
        return scenes.every_truth(self.root)

    @cached_property
    def start(self) -> Path:
        """The start of all arms, made once: florence2-nano, taught boxes and texts of its pre-training's kind further.

        Its scenes have other seeds, and lack three categories: it stands for a model of public data.
        """
        from harness.training.nano import NANO_RECIPE
        from harness.training.recipe import Drawing
        from harness.training.scenes import teach
        from tasks.miniature.pretraining import pretraining_scene

        s = self.sizes
        plan = replace(
            NANO_RECIPE.plan, steps=s.warm_steps, rate=s.rate, batch=s.batch, warmup=min(100, s.warm_steps // 4),
            average=0.99, optimiser="muon",
        )  # fmt: skip
        data = Drawing(scenes=s.warm_scenes, slots=(("detect",), ("caption", "ground", "detect")))
        recipe = replace(NANO_RECIPE, name="engine-study start", plan=plan, data=data, sigma=(3.0, 2.0))
        folder = self.runs / f"start-{digest([s.warm_scenes, s.warm_steps, s.rate, s.batch])[:8]}"
        nano = Path(baselines.find("florence2-nano").at_hand())
        return teach(recipe, pretraining_scene, scenes.WARM, folder, start=nano, device=self.device)

    def teaching(self, steps: int | None = None) -> TrainingRecipe:
        """How every arm is taught."""
        from harness.training.recipe import Mixing, Plan
        from harness.training.recipe import Recipe as TrainingRecipe

        s = self.sizes
        steps = s.steps if steps is None else steps
        plan = Plan(
            steps=steps, batch=s.batch, rate=s.rate, warmup=min(50, steps // 4), precision="bfloat16", average=0.99,
            optimiser="muon", seed=self.cell.seed,
        )  # fmt: skip
        return TrainingRecipe(
            name="engine-study", about="", plan=plan, data=Mixing(tasks={"fld": 1.0}, kept_out=()), image_size=SIDE,
            sigma=(3.0, 2.0), answer_limit=140,
        )  # fmt: skip

    # ------------------------------------------------------------------------ labels

    def annotated(self, name: str, noise: Noise, stages: Sequence[Any] = STAGES) -> Engine:
        """An engine of the scenes with one simulated detector; its threshold is that of the best F1 in calibration."""
        folder = self.folder / f"noise{self.cell.level:g}" / name
        fresh = not (folder / "engine.json").exists()
        recipe = Recipe(name=name, stages=tuple(stages)) if fresh else None
        model = Simulated(self.truths, noise, SPECIALIST)
        engine = python.annotate(self.root, folder, recipe=recipe, specialists={"detect": model}).engine
        if stages and not engine.recipe.calibration:
            engine = engine.with_recipe(tuned(engine, self.calibration))
            python.filter(folder)
        return Engine.open(folder)

    @cached_property
    def calibration(self) -> dict[str, list[Object]]:
        """The objects of the calibration scenes."""
        return objects_of(truths_of(self.root))

    @property
    def noise(self) -> Noise:
        return Noise().scaled(self.cell.level)

    @cached_property
    def once(self) -> Engine:
        """Round 0, and round 1 without cross-fitting."""
        return self.refined(self.annotated("once", self.noise), rounds=1, folds=1)

    @cached_property
    def crossed(self) -> Engine:
        """Round 1 with cross-fitting."""
        return self.refined(self.annotated("crossed", self.noise), rounds=1, folds=self.sizes.folds)

    def refined(self, engine: Engine, rounds: int, folds: int) -> Engine:
        refine(
            engine.path, rounds=rounds, model=held_out.entry(), weights=str(self.start), teaching=self.teaching(),
            taught=DETECT,
            kinds=DETECT, folds=folds, device=self.device,
        )  # fmt: skip
        return Engine.open(engine.path)

    def labels(self, arm: str) -> tuple[Engine, int, str]:
        """The engine and the round whose labels an arm is about, and a note."""
        if arm == study.TRUTH:
            return self.annotated("truth", Noise().scaled(0.0), ()), 0, ""
        if arm == "raw":
            return self.annotated("raw", self.noise, ()), 0, ""
        if arm.startswith("filtered"):
            return self.once, 0, ""
        if arm == "replaced":
            return self.replaced, 0, ""
        if arm == "round 1, not cross-fitted":
            return self.once, 1, _promoted(self.once, 1)
        if arm == "round 1":
            return self.crossed, 1, _promoted(self.crossed, 1)
        engine = self.refined(self.crossed, rounds=2, folds=self.sizes.folds)
        if engine.state(2) is None:
            why = "was not promoted" if _promoted(engine, 1) else "changed almost nothing"
            return engine, engine.current, f"not made: round 1 {why}"
        return engine, 2, _promoted(engine, 2)

    @cached_property
    def replaced(self) -> Engine:
        """An engine of what the model that was taught round 0 says alone, at its threshold of the best F1."""
        folder = self.folder / f"noise{self.cell.level:g}" / "replaced"
        model = held_out.entry().load(Setting(root=self.root, weights=str(self.taught_filtered), device=self.device))
        recipe = None if (folder / "engine.json").exists() else Recipe(name="replaced", stages=STAGES)
        engine = python.annotate(self.root, folder, recipe=recipe, specialists={"detect": model}).engine
        if not engine.recipe.calibration:
            engine = engine.with_recipe(tuned(engine, self.calibration))
            python.filter(folder)
        return Engine.open(folder)

    def judged(self, engine: Engine, round_: int) -> Judged:
        """The kept regions of the scenes that no threshold was chosen on."""
        labelled = {name: of for name, of in objects_of(self.truths).items() if name not in self.calibration}
        return Judged.of(engine.records(round_), labelled)

    # ------------------------------------------------------------------------ models

    @property
    def taught_filtered(self) -> Path:
        """The model that was taught round 0: that of the round without cross-fitting."""
        return self.once.path / "round1" / "models" / "fold0" / "checkpoint"

    def student(self, arm: str) -> Path:
        """The checkpoint of the model that was taught an arm's labels."""
        if arm == "filtered":
            return self.taught_filtered
        engine, round_, _ = self.labels(arm)
        steps = 2 * self.sizes.steps if arm == "filtered, twice the steps" else self.sizes.steps
        return self.taught(engine, round_, self.folder / f"noise{self.cell.level:g}" / f"student {arm}", steps)

    def taught(
        self, engine: Engine, round_: int, folder: Path, steps: int, start: Path | None = None,
        kinds: tuple[Kind, ...] = DETECT,
    ) -> Path:  # fmt: skip
        """The checkpoint of a model that was taught what a round keeps, of all images."""
        teaching = Teaching.of(
            engine, held_out.entry(), str(start or self.start), self.teaching(steps), {}, self.device, None
        )
        return teaching.teach(round_, 0, 1, folder, kinds)

    def detailed(self, arm: str) -> Path:
        """The checkpoint of a model that was taught detailed texts of few scenes."""
        folder = self.folder / "detailed"
        teller = scenes.Teller(scenes.detailed_texts(self.root))
        recipe = None if (folder / "engine.json").exists() else Recipe(name="detailed")
        engine = python.annotate(
            self.root, folder, recipe=recipe, specialists={"detailed_caption": teller},
            limit=self.sizes.texts,
        ).engine  # fmt: skip
        if arm == "detailed, from the engine":
            start = self.student("round 1")
        else:
            start = self.start if arm == "detailed, from the start" else self.nothing()
        return self.taught(engine, 0, self.folder / arm, self.sizes.text_steps, start, DETAILED)

    def nothing(self) -> Path:
        """Random weights with the tokenizer of the start."""
        import torch

        from harness.florence2 import weights
        from harness.florence2.model import Florence2
        from harness.florence2.start import initialise
        from harness.florence2.tokenizer import Tokenizer
        from harness.training.teaching import put_in_place

        start, tokenizer = weights.load(self.start).model, Tokenizer.load(self.start)

        def write(partial: Path) -> None:
            model = Florence2(start.config)
            initialise(model, tokenizer.first_bin, torch.Generator().manual_seed(self.cell.seed))
            partial.mkdir(parents=True)
            weights.save(model, partial)
            shutil.copy(self.start / "tokenizer.json", partial)

        folder = self.folder / "nothing"
        return folder if folder.is_dir() else put_in_place(folder, write)


def tuned(engine: Engine, truth: Mapping[str, Sequence[Object]]) -> Recipe:
    """The recipe with the threshold of the best F1 of each origin alone, on images with truth."""
    records = [record for record in raw_records(engine) if record.image.reference in truth]
    boxes = next(each for each in engine.recipe.stages if isinstance(each, BoxesStage))
    curves = []
    for origin in engine.origins_of(0).values():
        if origin.kind == "specialist":
            found = curve(records, truth, origin, boxes, 0.9)
            f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(found.precision, found.recall, strict=True)]
            curves.append(replace(found, chosen=found.thresholds[int(np.argmax(f1))] if f1 else None))
    return calibrated(engine.recipe, curves)


def _promoted(engine: Engine, round_: int) -> str:
    """ "" for a promoted round, else that it was not."""
    state = engine.state(round_)
    return "" if state is not None and state.outcome is not None and state.outcome.promoted else "not promoted"
