"""The fine-tuned protocol: trains a checkpoint by a recipe on tasks' training splits.

The new checkpoint has a training history beside its weights (`training.json`): the history of the starting checkpoint,
then this run.  Every later evaluation therefore knows the training data of the weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.core import Source, Task
from harness.data import manifest
from harness.errors import CheckpointError, UsageError
from harness.florence2 import weights
from harness.florence2.config import Config
from harness.florence2.files import is_adapter
from harness.florence2.model import Florence2
from harness.florence2.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, find_preprocess
from harness.florence2.tokenizer import Tokenizer, find_tokenizer
from harness.images import image_key
from harness.sinks import file_name
from harness.training import network, skipping
from harness.training.data import digest
from harness.training.history import history_of
from harness.training.mixture import Mixture, mixture_batches
from harness.training.parallel import Ranks, barrier
from harness.training.recipe import Mixing, Recipe
from harness.training.skipping import SkippedImages
from harness.training.stores import FORMAT_VERSION, Store, open_store, write_store
from harness.training.teaching import save, teach_all

MIN_PROMPT_TOKENS = 16
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taught:
    """A task with its training splits that are used."""

    task: Task[Any]
    splits: tuple[str, ...]


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
    guards: Sequence[Task[Any]] = (),
    guarded: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
    skip: float | None = None,
) -> Path:
    """Fine-tunes the checkpoint `start` on the tasks' training splits under `root`; the folder of the new checkpoint.

    An interrupted run resumes from the training state in `out`; a finished checkpoint in `out` is reused.

    `base` is the folder that supplies what `start` lacks (see `baselines.Entry`).

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
    starting = weights.load(start, base=base)
    data = {
        name: {
            "splits": list(taught.splits),
            "sha256": manifest.digest(
                [file for split in taught.splits for file in manifest.annotation_files(taught.task, root, split)]
            ),
        }
        for name, taught in tasks.items()
    }
    tokenizer, taken = find_tokenizer(start, starting.model.config.text.vocab, base)
    preprocess, assumed = find_preprocess(start, base=base)
    notes = (*starting.notes, *taken, *assumed)
    for note in notes:
        log.warning("%s", note)
    if (preprocess.mean, preprocess.std) != (IMAGENET_MEAN, IMAGENET_STD):
        raise CheckpointError(
            f"{start} normalises images by {preprocess.mean} and {preprocess.std}; "
            f"training supports only ImageNet's {IMAGENET_MEAN} and {IMAGENET_STD}"
        )
    kept_out = evaluated_images(guards, guarded or root)
    vocabulary = tokenizer.backend.to_str()
    identity = digest(asdict(recipe), starting.sha256, data, vocabulary, preprocess, sorted(kept_out))
    before = history_of(start) or (history_of(base) if is_adapter(start) else None)
    if _is_finished(finished, identity, start):
        return finished
    model = resized(starting.model, recipe, start, preprocess)
    stores = {
        name: _store(
            recipe, taught, tokenizer, root, out / "data" / file_name(name), kept_out, model.config, skip is not None
        )
        for name, taught in tasks.items()
    }
    mixture = Mixture(stores, {name: mixing.tasks.get(name, 1.0) for name in tasks}, recipe.plan.seed)
    side = model.config.image_size
    skipped = None
    if skip is not None:
        images = {image for store in stores.values() for image in (*store.references, *store.skipped)}
        skipped = SkippedImages(out / f"skipped-{Ranks.current().rank}.json", int(skip * len(images)))
        for store in stores.values():
            for image, reason in store.skipped.items():
                skipped.add(image, reason)
    squared = replace(preprocess, height=side, width=side)
    batches = mixture_batches(recipe, mixture, root, squared, workers=workers, skipped=skipped)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = teach_all(recipe, model, batches, tokenizer.first_bin, out, identity)
    barrier()  # every process has written its skipped images
    every = {image for path in out.glob("skipped-*.json") for image in skipping.read(path)} if skip is not None else ()
    run = {
        "identity": identity,
        "recipe": asdict(recipe),
        "from": starting.sha256,
        "kept_out": len(kept_out),
        **({"notes": list(notes)} if notes else {}),
        "tasks": {name: {**data[name], "units": stores[name].units, "samples": stores[name].samples} for name in tasks},
        **({"skipped images": {"count": len(every), "first": sorted(every)[:10]}} if every else {}),
    }
    return save(trained, tokenizer, finished, before, run)


def _is_finished(folder: Path, identity: str, start: Path) -> bool:
    """Whether `folder` holds the finished checkpoint of this run; UsageError if it holds something else."""
    if not folder.exists():
        return False
    history = history_of(folder)
    if folder.resolve() == start.resolve() or history is None or history[-1]["identity"] != identity:
        raise UsageError(f"{folder} holds something else, which would be lost: give another --to, or move the folder")
    weights.load(folder)  # raises CheckpointError for a damaged checkpoint
    return True


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


def resized(model: Florence2, recipe: Recipe, folder: Path, preprocess: Preprocess) -> Florence2:
    """A trainable copy of the network at the recipe's resolution, or at the checkpoint's if the recipe has none.

    `folder` is the checkpoint's folder, `preprocess` its preprocessing.  UsageError for a checkpoint of another size
    than the recipe's, for one with images that are not square, and for an image size that leaves fewer than
    MIN_PROMPT_TOKENS tokens for a prompt.
    """
    config = model.config
    if recipe.config is not None and replace(recipe.config, image_size=config.image_size) != config:
        raise UsageError(f"{folder} has another network size than recipe {recipe.name!r} trains")
    if recipe.image_size is None and preprocess.height != preprocess.width:
        stated = f"{preprocess.width}x{preprocess.height}"
        raise UsageError(f"{folder} has images of {stated} pixels; training is on squares: give --set image_size=...")
    side = preprocess.height if recipe.image_size is None else recipe.image_size
    config = replace(config, image_size=side)
    if prompt_tokens(config) < MIN_PROMPT_TOKENS:
        raise UsageError(
            f"{folder} has {config.text.positions} positions, and an image of {config.image_size} pixels takes "
            f"{config.image_tokens} of them: give a smaller image, --set image_size=..."
        )
    return network.trainable_copy(model, config, folder)


def prompt_tokens(config: Config) -> int:
    """The number of encoder positions that an image leaves for the tokens of a prompt."""
    return config.text.positions - config.image_tokens


def _store(
    recipe: Recipe,
    taught: Taught,
    tokenizer: Tokenizer,
    root: Path,
    folder: Path,
    kept_out: frozenset[str],
    config: Config,
    skip: bool,
) -> Store:
    """The store of a task, written by the first process and mapped by all processes.

    Without `skip`, a store that an earlier command wrote without some bad images is written again.
    """
    questions = mixing_of(recipe).questions
    for split in taught.splits:
        manifest.require(taught.task, root, split)
    files = [file for split in taught.splits for file in manifest.annotation_files(taught.task, root, split)]
    limits = prompt_tokens(config), min(recipe.answer_limit, config.text.positions)  # of prompts and of answers
    origin = manifest.digest(files), tokenizer.backend.to_str(), questions, limits, FORMAT_VERSION, taught.task.version
    folder = folder.with_name(f"{folder.name}-{digest(*origin, sorted(kept_out))}")
    store = open_store(folder)
    if store is not None and store.skipped and not skip:
        barrier()  # every process has opened the store that is replaced next
        store = None
    if store is None and Ranks.current().rank == 0:
        needs = manifest.needs(taught.task, taught.splits)
        samples = (
            sample
            for split in taught.splits
            for sample in manifest.within(root, taught.task.load(Source(root, split)), needs)
            if not sample.excluded and image_key(sample.question.image_name) not in kept_out
        )
        store = write_store(
            folder,
            samples,
            tokenizer,
            root,
            questions=questions,
            limits=limits,
            name=taught.task.name,
            skip=skip,
        )
    barrier()
    return store or Store.load(folder)
