"""Rounds of a data engine, from names to `harness.protocols.rounds`: `harness.engine.refine`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import baselines
import tasks
from baselines import Entry, Setting
from harness.core import Kind, Model
from harness.data_engine.annotate import Specialist, annotate
from harness.data_engine.calibration import Object
from harness.data_engine.cross_fitting import fold_of
from harness.data_engine.questions import OF_IMAGES
from harness.data_engine.records import ImageRow, digest
from harness.data_engine.round_states import RoundState
from harness.data_engine.shards import Engine
from harness.errors import UsageError
from harness.evaluation.calibrating import truth_of
from harness.evaluation.engine_data import root_of
from harness.evaluation.engine_task import engine_data
from tasks import fld

if TYPE_CHECKING:
    from harness.protocols.rounds import Parts, Settings
    from harness.training.learner import Learner
    from harness.training.recipe import Recipe

REGIONS: tuple[Kind, ...] = ("detect", "find", "propose", "regions")  # kinds whose answers are combined by witness
FOLDS = 10


def refine(
    to: str | Path,
    *,
    rounds: int = 1,
    model: str | Entry | None = None,
    weights: str | None = None,
    teaching: str | Recipe | None = None,
    changes: Mapping[str, str] | None = None,
    taught: Sequence[str] = (),
    kinds: Sequence[str] = (),
    folds: int = FOLDS,
    truth: str | None = None,
    data: str | Path | None = None,
    precision: float = 0.9,
    device: str | None = None,
    batch_size: int | None = None,
) -> list[RoundState]:
    """Makes the rounds of an engine up to the number `rounds`, and returns their states; see `protocols.rounds`.

    `model` is taught from its own weights or from `weights` (None: the recipe's start), by the recipe `teaching` (None:
    the model's) with `changes` of its settings.  `taught` are the kinds of questions that it is taught (none: all that
    the engine keeps); `kinds` those that it is asked (none: the kinds of regions that the engine's recipe asks).
    `truth` is TASK:SPLIT as for `calibrate`, under the data root `data`; its images in the engine are the calibration
    set.

    The same call resumes; a finished round asks nothing.  UsageError for a model that was taught the calibration
    images, images that a benchmark evaluates, or this engine's; and as `protocols.rounds.refine`.
    """
    from harness.protocols import rounds as protocol

    engine = Engine.open(Path(to))
    work = Teaching.of(engine, model, weights, teaching, changes or {}, device, batch_size)
    objects = truth_of(truth, root_of(engine.data if data is None else data))
    there = {image.reference for image in engine.images() if not image.stage}
    objects = {reference: objects[reference] for reference in sorted(objects.keys() & there)}
    if len(objects) < 2:
        raise UsageError(
            f"{engine.path} has {len(objects)} images with truth, and a round is judged on them: give --truth "
            "TASK:SPLIT of which the folder has images"
        )
    _refuse_taught(work, engine, truth)
    settings = protocol.Settings(
        model=work.entry.name,
        start=work.learner().sha256,
        recipe=work.described(),
        taught=_kinds(taught, work, "--taught"),
        kinds=_kinds(kinds, work, "--kind") or _asked(engine, work),
        folds=folds,
        truth=f"{truth or 'embedded scenes'}, {len(objects)} images, {_digest(objects)}",
        precision=precision,
    )
    return protocol.refine(engine, rounds, settings, lambda: work.parts(settings, objects))


@dataclass
class Teaching:
    """The model that is taught, its start, and how."""

    engine: Engine
    root: Path
    entry: Entry
    weights: str | None
    start: Path
    recipe: Recipe
    device: str
    batch_size: int | None

    @classmethod
    def of(
        cls, engine: Engine, model: str | Entry | None, weights: str | None, teaching: str | Recipe | None,
        changes: Mapping[str, str], device: str | None, batch_size: int | None,
    ) -> Teaching:  # fmt: skip
        """UsageError for a model or a recipe that cannot be taught; CheckpointError if the start is missing."""
        from baselines.florence2 import choose_device
        from harness.protocols.finetune import mixing_of
        from harness.training import recipes
        from harness.training.recipe import RivalRecipe, changed

        named = model or engine.recipe.start
        if not named:
            raise UsageError(
                f"the recipe {engine.recipe.name} names no start: give --model, such as florence2-b, which each round "
                "teaches from its own weights"
            )
        entry = baselines.find(named) if isinstance(named, str) else named
        if entry.checkpoint is None:
            names = ", ".join(name for name, other in baselines.MODELS.items() if other.checkpoint is not None)
            raise UsageError(f"{entry.name} cannot be taught here; there are {names}")
        named_recipe = teaching or entry.recipe
        found = recipes.find(named_recipe) if isinstance(named_recipe, str) else named_recipe
        recipe = changed(found, changes)
        mixing_of(recipe)
        if isinstance(recipe, RivalRecipe) is not (entry.teach is not None):
            raise UsageError(f"--teaching {recipe.name} is not for {entry.name}; its own is {entry.recipe}")
        root = root_of(engine.data)
        start = entry.checkpoint(weights)
        return cls(engine, root, entry, weights, start, recipe, choose_device(device), batch_size)

    def learner(self) -> Learner:
        """The model at its start."""
        from harness.training.florence2 import Florence2Learner

        if self.entry.teach is not None:
            made: Learner = self.entry.teach(self.weights, self.recipe, self.device)
            return made
        return Florence2Learner(self.recipe, self.start, self._base)

    @property
    def _base(self) -> Path | None:
        return self.entry.base(self.start) if self.entry.base is not None else None

    def described(self) -> dict[str, Any]:
        """The settings of the teaching."""
        from harness.training.recipe import described

        return described(self.recipe)

    def parts(self, settings: Settings, truth: Mapping[str, Sequence[Object]]) -> Parts:
        """What a round works with."""
        from harness.protocols.rounds import Parts

        def teach(base: int, fold: int, folds: int, folder: Path) -> Path:
            return self.teach(base, fold, folds, folder, settings.taught)

        return Parts(teach, self.load, self.ask, truth)

    def teach(self, base: int, fold: int, folds: int, folder: Path, taught: Sequence[Kind]) -> Path:
        """The checkpoint that was taught what a round keeps, without the images of a fold; see `finetune`."""
        from harness.protocols.finetune import Taught, finetune, mixing_of

        def is_taught(image: ImageRow) -> bool:
            return folds == 1 or fold_of(image.sha256, folds) != fold

        learner = self.learner()
        known = learner.kinds
        kinds = frozenset(taught) or known
        if taught and known is not None:
            kinds = frozenset(taught) & known
        task = fld.of(self.engine.path, self.root, kinds, round_=base, images=is_taught)
        about = {
            "folder": self.engine.path.resolve().name,
            "recipe": self.engine.recipe.name,
            "images": self.engine.images_digest,
            "round": base,
            "kinds": sorted(kinds or ()),
            "left out": "nothing" if folds == 1 else f"fold {fold} of {folds}",
        }
        data = engine_data(str(self.engine.path))
        guards = [kept for name in mixing_of(self.recipe).kept_out for kept in tasks.select(name)]
        return finetune(
            self.recipe, {fld.NAME: Taught(task, (fld.TRAIN,), {"engine": about})}, self.root, self.start, folder,
            base=self._base, learner=learner if self.entry.teach is not None else None,
            guards=data.guards(guards) if data is not None else (),
            guarded=data.benchmarks if data is not None else None,
            device=self.device, workers=4 if self.device.startswith("cuda") else 0,
        )  # fmt: skip

    def load(self, checkpoint: Path) -> Model:
        """The taught model, ready to answer."""
        given = {"weights": str(checkpoint), "device": self.device, "batch_size": self.batch_size}
        taken = {name: value for name, value in given.items() if name in self.entry.uses}
        return self.entry.load(Setting(root=self.root, **taken))  # type: ignore[arg-type]

    def ask(self, specialist: Specialist) -> object:
        """Asks about all images what is not answered yet."""
        return annotate(self.engine, specialist, self.root)


def _kinds(named: Sequence[str], work: Teaching, option: str) -> tuple[Kind, ...]:
    """The kinds that an option names; UsageError for one that the model does not answer, or an engine does not ask."""
    can = work.entry.answers({})
    for kind in named:
        if kind not in can or (option == "--kind" and kind not in OF_IMAGES):
            known = sorted(can & set(OF_IMAGES)) if option == "--kind" else sorted(can)
            raise UsageError(f"{option} {kind}: {work.entry.name} can be given {', '.join(known)}")
    return tuple(dict.fromkeys(cast(Sequence[Kind], named)))


def _asked(engine: Engine, work: Teaching) -> tuple[Kind, ...]:
    """The kinds of regions that the recipe asks and the model answers; UsageError if there is none."""
    asked = tuple(kind for kind in REGIONS if engine.recipe.specialists.get(kind))
    if kinds := tuple(kind for kind in asked if kind in work.entry.answers({})):
        return kinds
    raise UsageError(
        f"the recipe {engine.recipe.name} asks {', '.join(asked) or 'no kind of regions'}, and {work.entry.name} "
        f"answers {', '.join(sorted(work.entry.answers({})))}: give another --model, or name a --kind"
    )


def _refuse_taught(work: Teaching, engine: Engine, truth: str | None) -> None:
    """UsageError for a start that was taught the calibration images, evaluation images, or this engine's images."""
    from harness.training.history import history_of

    for run in history_of(work.start) or ():
        for name, data in run["tasks"].items():
            splits = data["splits"]
            known = tasks.TASKS.get(name)
            if truth is not None and name == truth.partition(":")[0] and truth.partition(":")[2] in splits:
                raise UsageError(f"{work.start} was taught {truth}, which a round is judged on: give another --truth")
            evaluated = [s for s in splits if known is not None and s in (*known.splits, *known.hidden_splits)]
            if evaluated:
                raise UsageError(
                    f"{work.start} was taught {name} {evaluated[0]}, which is evaluated: give a start that was not"
                )
            if data.get("engine", {}).get("images") == engine.images_digest:
                raise UsageError(
                    f"{work.start} was taught the images of {engine.path}, and would confirm what it was taught: each "
                    "round begins from a start that was not"
                )


def _digest(objects: Mapping[str, Sequence[Object]]) -> str:
    return digest({name: [[label, list(box)] for label, box in of] for name, of in objects.items()})
