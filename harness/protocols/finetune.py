"""The fine-tuned protocol: trains a checkpoint by a recipe on tasks' training splits.

The new checkpoint has a training history beside its weights (`training.json`): the history of the starting checkpoint,
then this run.  Every later evaluation therefore knows the training data of the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core import Kind, Question, Source, Task
from harness.data import manifest
from harness.errors import UsageError
from harness.images import image_key
from harness.sinks import file_name
from harness.training import skipping
from harness.training.data import digest
from harness.training.florence2 import Florence2Learner
from harness.training.history import history_of
from harness.training.learner import Learner
from harness.training.mixture import Mixture, mixture_batches
from harness.training.parallel import Ranks, barrier
from harness.training.recipe import Mixing, Recipe, described
from harness.training.skipping import SkippedImages
from harness.training.stores import FORMAT_VERSION, Store, open_store, with_finding, write_examples

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taught:
    """A task with its training splits that are used; `about` is what the training history says of its data."""

    task: Task[Any]
    splits: tuple[str, ...]
    about: Mapping[str, Any] = field(default_factory=dict)


def choose(recipe: Recipe, tasks: Sequence[Task[Any]], split: str | None = None) -> dict[str, Taught]:
    """The tasks by name, with their training splits: `split` (comma-separated), else the recipe's, else all.

    UsageError for a task without a training split, for an evaluation split, and for an unknown split.
    """
    mixing = mixing_of(recipe)
    chosen = {}
    for task in tasks:
        if not task.train_splits:
            raise UsageError(f"{task.name} has no training split, so nothing can be fine-tuned on it")
        splits = tuple(dict.fromkeys(split.split(","))) if split else mixing.splits.get(task.name, task.train_splits)
        for name in splits:
            if name in (*task.splits, *task.hidden_splits):
                raise UsageError(
                    f"{task.name} {name} is for evaluation, and is not used for training; "
                    f"the training splits are {', '.join(task.train_splits)}"
                )
            if name not in task.train_splits:
                raise UsageError(f"{task.name} has no training split {name!r}; it has {', '.join(task.train_splits)}")
        chosen[task.name] = Taught(task, splits)
    return chosen


def finetune(
    recipe: Recipe,
    tasks: Mapping[str, Taught],
    root: Path,
    start: Path,
    out: Path,
    *,
    base: Path | None = None,
    learner: Learner | None = None,
    guards: Sequence[Task[Any]] = (),
    guarded: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    skip: float | None = None,
) -> Path:
    """Fine-tunes the checkpoint `start` on the tasks' training splits under `root`; the folder of the new checkpoint.

    An interrupted run resumes from the training state in `out`; a finished checkpoint in `out` is reused.

    `learner` is the model of `start`; without it, `start` is a Florence-2, and `base` the folder that supplies what it
    lacks (see `baselines.Entry`).

    Evaluation images of the tasks in `guards`, under the data root `guarded` (default: `root`), are not trained on.
    `workers` processes read images ahead; with 0, this process reads them.  `skip` is the largest share of the training
    images that is skipped because they cannot be read; with None, the first such image ends the training.  A training
    that ended so resumes with `skip`, since the images of its steps could all be read.

    DataError for a missing training file, or for one without a sample to train on.  UsageError for a checkpoint of
    another size than the recipe's, and for an `out` that holds something else.  CheckpointError for a checkpoint that
    cannot be trained here.
    """
    mixing = mixing_of(recipe)
    finished = out / "checkpoint"
    model: Learner = learner or Florence2Learner(recipe, start, base)
    first: Mapping[str, Question] = {}
    if model.kinds is not None:
        tasks, first = _taught_kinds(tasks, model.kinds, root)
    data = {
        name: {
            "splits": list(taught.splits),
            "sha256": manifest.digest(
                [file for split in taught.splits for file in manifest.annotation_files(taught.task, root, split)]
            ),
            **taught.about,
        }
        for name, taught in tasks.items()
    }
    kept_out = evaluated_images(guards, guarded or root)
    identity = digest(described(recipe), model.sha256, data, *model.origin, sorted(kept_out))
    if _is_finished(finished, identity, start, model):
        return finished
    model.begin(first)
    stores = {
        name: _store(recipe, taught, model, root, out / "data" / file_name(name), kept_out, skip is not None)
        for name, taught in tasks.items()
    }
    mixture = Mixture(stores, {name: mixing.tasks.get(name, 1.0) for name in tasks}, recipe.plan.seed)
    skipped = None
    if skip is not None:
        images = {image for store in stores.values() for image in (*store.references, *store.skipped)}
        skipped = SkippedImages(out / f"skipped-{Ranks.current().rank}.json", int(skip * len(images)))
        for store in stores.values():
            for image, reason in store.skipped.items():
                skipped.add(image, reason)
    batches = mixture_batches(
        recipe, mixture, root, model.resizing, workers=workers, skipped=skipped, joined=model.joined
    )
    model.train(batches, out, identity, device)
    barrier()  # every process has written its skipped images
    every = {image for path in out.glob("skipped-*.json") for image in skipping.read(path)} if skip is not None else ()
    run = {
        "identity": identity,
        "recipe": described(recipe),
        "from": model.sha256,
        "kept_out": len(kept_out),
        **({"notes": list(model.notes)} if model.notes else {}),
        "tasks": {name: {**data[name], "units": stores[name].units, "samples": stores[name].samples} for name in tasks},
        **({"skipped images": {"count": len(every), "first": sorted(every)[:10]}} if every else {}),
    }
    return model.save(finished, run)


def _is_finished(folder: Path, identity: str, start: Path, learner: Learner) -> bool:
    """Whether `folder` holds the finished checkpoint of this run; UsageError if it holds something else."""
    if not folder.exists():
        return False
    history = history_of(folder)
    if folder.resolve() == start.resolve() or history is None or history[-1]["identity"] != identity:
        raise UsageError(f"{folder} holds something else, which would be lost: give another --to, or move the folder")
    learner.check(folder)
    return True


def _taught_kinds(
    tasks: Mapping[str, Taught], kinds: frozenset[Kind], root: Path
) -> tuple[dict[str, Taught], dict[str, Question]]:
    """The tasks whose first training question is of these kinds, and that question; the others are logged and left out.

    UsageError if no task is left.
    """
    first: dict[str, Question] = {}
    for name, taught in tasks.items():
        for split in taught.splits:
            manifest.require(taught.task, root, split)
        samples = (sample for split in taught.splits for sample in taught.task.load(Source(root, split)))
        question = next((sample.question for sample in samples), None)
        if question is not None:
            first[name] = question
    others = {name: question.kind for name, question in first.items() if question.kind not in kinds}
    stated = ", ".join(f"{name} ({kind} questions)" for name, kind in others.items())
    can = f"this model can be taught {', '.join(sorted(kinds))} questions"
    if others.keys() == tasks.keys():
        raise UsageError(f"nothing to train on: {stated}; {can}")
    if others:
        log.warning("left out: %s; %s", stated, can)
    return {n: t for n, t in tasks.items() if n not in others}, {n: q for n, q in first.items() if n not in others}


def evaluated_images(guards: Sequence[Task[Any]], root: Path) -> frozenset[str]:
    """The evaluation images of the tasks in `guards`, as keys from `images.image_key`.

    A split without annotations under `root` is skipped, and a warning is logged.
    """
    keys: set[str] = set()
    for task in guards:
        for split in task.splits:
            if any(manifest.is_of_annotations(need) for need in manifest.missing(task, root, [split])):
                log.warning("%s %s is not under %s: its images are not excluded from training", task.name, split, root)
                continue
            keys |= {image_key(sample.question.image_name) for sample in task.load(Source(root, split))}
    return frozenset(keys)


def mixing_of(recipe: Recipe) -> Mixing:
    """The mixture of a recipe for `finetune`; UsageError for a recipe of another kind."""
    if not isinstance(recipe.data, Mixing):
        raise UsageError(f"recipe {recipe.name!r} draws scenes of its own: it is for `train`, not `finetune`")
    return recipe.data


def _store(
    recipe: Recipe,
    taught: Taught,
    learner: Learner,
    root: Path,
    folder: Path,
    kept_out: frozenset[str],
    skip: bool,
) -> Store:
    """The store of a task, written by the first process and mapped by all processes.

    Without `skip`, a store that an earlier command wrote without some bad images is written again.
    """
    mixing = mixing_of(recipe)
    questions, finding = mixing.questions, taught.task.name in mixing.finding
    for split in taught.splits:
        manifest.require(taught.task, root, split)
    files = [file for split in taught.splits for file in manifest.annotation_files(taught.task, root, split)]
    limits = learner.limits
    origin = manifest.digest(files), learner.language, questions, limits, FORMAT_VERSION, taught.task.version
    folder = folder.with_name(f"{folder.name}-{digest(*origin, sorted(kept_out), *['find'] * finding)}")
    store = open_store(folder)
    if store is not None and store.skipped and not skip:
        barrier()  # every process has opened the store that is replaced next
        store = None
    if store is None and Ranks.current().rank == 0:
        needs = manifest.needs(taught.task, taught.splits)
        samples = (
            sample
            for split in taught.splits
            for loaded in manifest.within(root, taught.task.load(Source(root, split)), needs)
            if not loaded.excluded and image_key(loaded.question.image_name) not in kept_out
            for sample in (with_finding(loaded) if finding else (loaded,))
        )
        store = write_examples(
            folder,
            samples,
            lambda sample: learner.examples(sample, root),
            ids=learner.ids,
            questions=questions,
            limits=limits,
            name=taught.task.name,
            skip=skip,
        )
    barrier()
    return store or Store.load(folder)
