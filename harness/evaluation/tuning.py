"""Training by name: from a recipe, and a model and tasks for fine-tuning, to a checkpoint folder."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import baselines
import tasks
from baselines import Entry
from harness.core import Task
from harness.data import manifest
from harness.errors import UsageError
from harness.evaluation.engine_task import engine_data, no_engine
from harness.evaluation.plan import MINIATURE, data_root, own_of
from tasks import fld

if TYPE_CHECKING:
    from harness.evaluation.request import Request
    from harness.protocols.finetune import Taught
    from harness.training.recipe import Recipe

RUNS = Path("runs")
log = logging.getLogger(__name__)


def fine_tuned(request: Request, entry: Entry, requested: Sequence[Task[Any]]) -> Path:
    """The checkpoint folder of a request's model, fine-tuned on the training splits of `requested`, its tasks.

    Trains, resumes, or finds the finished checkpoint.  UsageError where no task has a training split.
    """
    named = request.task if isinstance(request.task, str) else request.task.name
    trainable = [task.name for task in requested if task.train_splits]
    if not trainable:
        raise UsageError(f"--protocol fine_tuned: {named} has no training split; --protocol zero_shot trains nothing")
    return tuned(entry, task=None if named == "all" else ",".join(trainable), data=request.data, device=request.device)


def tuned(
    model: str | Entry,
    *,
    task: str | None,
    recipe: str | None = None,
    weights: str | None = None,
    split: str | None = None,
    data: str | None = None,
    changes: dict[str, str] | None = None,
    workers: int | None = None,
    device: str | None = None,
    to: Path | None = None,
    skip_bad_images: float | None = None,
) -> Path:
    """The checkpoint folder of a model after fine-tuning: trains, resumes, or finds the finished checkpoint.

    `task` and `split` name training data (None: all of the recipe's tasks, or of a user's own data set; all of their
    training splits).  `weights`
    is the checkpoint to start from (None: the model's own).  `changes` are settings of the recipe as text.  `workers`
    are processes that read images (None: 4 on a GPU, else none).  `to` is the folder of the training (None: under RUNS,
    named after the model, the recipe and a digest of the data).  `skip_bad_images` is the largest share of the training
    images that may be skipped because they cannot be read (None: the first ends the training).

    UsageError for a model that cannot be fine-tuned here, and for options that contradict each other.
    """
    from baselines.florence2 import choose_device
    from harness.protocols import finetune as protocol
    from harness.training import recipes
    from harness.training.parallel import process_group
    from harness.training.recipe import RivalRecipe, changed
    from tasks import miniature

    _refuse_empty({
        "--task": task, "--recipe": recipe, "--weights": weights, "--split": split,
        "--to": None if to is None else str(to),
    })  # fmt: skip
    entry = baselines.find(model) if isinstance(model, str) else model
    if entry.checkpoint is None:
        names = ", ".join(name for name, other in baselines.MODELS.items() if other.checkpoint is not None)
        raise UsageError(f"{entry.name} cannot be fine-tuned here; there are {names}")
    start = entry.checkpoint(weights)
    base = entry.base(start) if entry.base is not None else None
    changed_recipe = changed(recipes.find(recipe or entry.recipe), changes or {})
    if isinstance(changed_recipe, RivalRecipe) is not (entry.teach is not None):
        fitting = ", ".join(
            name for name, each in recipes.RECIPES.items() if isinstance(each, RivalRecipe) is (entry.teach is not None)
        )
        raise UsageError(f"recipe {changed_recipe.name!r} is not for {entry.name}; there are {fitting}")
    mixing = protocol.mixing_of(changed_recipe)
    engine = engine_data(data)
    own = own_of(data) if engine is None else None
    if engine is not None:
        requested = engine.trainable(task)
    elif own is not None:
        requested = own.trainable(task)
    else:
        if fld.NAME in (task or ",".join(mixing.tasks)).split(","):
            raise no_engine(data)
        requested = tasks.select(task or ",".join(mixing.tasks))
    taught = protocol.choose(changed_recipe, requested, split)
    if engine is not None:
        taught = {name: replace(each, about=engine.about) for name, each in taught.items()}
        data_name, root, evaluation_root = str(engine.path.resolve()), engine.root, engine.benchmarks
    else:
        data_name, evaluation_root = data_root(data, entry.name, embedded=entry.embedded)
        root = miniature.ensure_training() if data_name == MINIATURE else evaluation_root
    if task is None:
        taught = _with_data(taught, root)
    kept_out = [kept for name in mixing.kept_out for kept in tasks.select(name)]
    if engine is not None:
        kept_out = engine.guards(kept_out)
    if own is not None:
        own.warn_of_changes()
        kept_out = list(own.tasks.values())
    identity = (sorted(taught), split, data_name, weights, sorted((changes or {}).items()))
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    out = to or RUNS / f"{entry.name}-{changed_recipe.name}-{digest}"
    with process_group(choose_device(device)) as own_device:
        if workers is None:
            workers = 4 if own_device.startswith("cuda") else 0
        learner = entry.teach(weights, changed_recipe, own_device) if entry.teach is not None else None
        if engine is not None and learner is not None:  # an engine's questions are of many kinds
            task_of_model = fld.of(engine.path, engine.root, learner.kinds)
            taught = {name: replace(each, task=task_of_model) for name, each in taught.items()}
        return protocol.finetune(
            changed_recipe, taught, root, start, out,
            base=base, learner=learner, guards=kept_out, guarded=evaluation_root,
            device=own_device, workers=workers, skip=skip_bad_images,
        )  # fmt: skip


def pretrained(
    recipe: str | Recipe,
    *,
    start: Path | None = None,
    data: str | None = None,
    changes: dict[str, str] | None = None,
    device: str | None = None,
    to: Path | None = None,
) -> Path:
    """The checkpoint folder of a pre-training: trains, resumes, or finds the finished checkpoint.

    A recipe draws its own scenes, or is taught `data`, an engine folder.  `start` is a checkpoint folder to start from
    (None: random weights).  `changes` are settings of the recipe as text.  `to` is the folder of the training (None:
    under RUNS, named after the recipe).

    UsageError for a recipe that neither draws scenes nor is taught an engine, for data that it does not use, and for a
    setting that it does not have.
    """
    from baselines.florence2 import choose_device
    from harness.training import recipes
    from harness.training.parallel import process_group
    from harness.training.recipe import Mixing, Recipe, changed
    from harness.training.scenes import teach
    from tasks.miniature.pretraining import FIRST_PRETRAINING_SEED, pretraining_scene
    from tasks.miniature.training import every_scene

    changed_recipe = changed(recipes.find(recipe) if isinstance(recipe, str) else recipe, changes or {})
    if isinstance(changed_recipe, Recipe) and isinstance(changed_recipe.data, Mixing):
        return _pretrained_on_engine(changed_recipe, start, data, device, to)
    if data is not None:
        raise UsageError(f"--data {data}: the recipe {changed_recipe.name!r} draws its own scenes")
    with process_group(choose_device(device)) as own_device:
        return teach(
            changed_recipe,
            pretraining_scene,
            FIRST_PRETRAINING_SEED,
            to or RUNS / changed_recipe.name,
            start=start,
            vocabulary=every_scene,
            device=own_device,
        )


def _pretrained_on_engine(
    recipe: Recipe, start: Path | None, data: str | None, device: str | None, to: Path | None
) -> Path:
    """The checkpoint of a recipe of the paper's pre-training, taught an engine folder."""
    from baselines.florence2 import choose_device
    from harness.protocols import finetune as protocol
    from harness.protocols.pretrain import pretrain
    from harness.training.parallel import process_group

    mixing = protocol.mixing_of(recipe)
    if set(mixing.tasks) != {fld.NAME}:
        raise UsageError(f"recipe {recipe.name!r} is for `finetune`: it reads tasks' training splits")
    engine = engine_data(data)
    if engine is None:
        raise no_engine(data)
    taught = protocol.choose(recipe, engine.trainable(None))
    taught = {name: replace(each, about=engine.about) for name, each in taught.items()}
    kept_out = engine.guards([kept for name in mixing.kept_out for kept in tasks.select(name)])
    with process_group(choose_device(device)) as own_device:
        return pretrain(
            recipe, taught, engine.root, to or RUNS / f"{recipe.name}-{engine.path.resolve().name}", start=start,
            guards=kept_out, guarded=engine.benchmarks, device=own_device,
            workers=4 if own_device.startswith("cuda") else 0,
        )  # fmt: skip


def _refuse_empty(options: Mapping[str, str | None]) -> None:
    """UsageError for an option that is given but empty."""
    for option, value in options.items():
        if value is not None and not value.strip(" ."):
            raise UsageError(f"{option} is empty")


def _with_data(taught: dict[str, Taught], root: Path) -> dict[str, Taught]:
    """The tasks of a recipe whose training files are under the root; the others are logged and left out."""
    missing = [name for name, each in taught.items() if manifest.missing(each.task, root, each.splits)]
    if not missing or len(missing) == len(taught):
        return taught
    log.warning("left out: %s have no training files; see `data check`", ", ".join(missing))
    return {name: each for name, each in taught.items() if name not in missing}
