"""The fine-tuned protocol: a checkpoint, taught by a recipe on tasks' training splits, is another checkpoint.

What it was taught is written beside its weights (`training.json`), behind what was said of the checkpoint that it began
from, so every later run knows which of a task's data it has seen.
"""

from __future__ import annotations

import logging
import re
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
from harness.florence2.model import Florence2
from harness.florence2.preprocess import IMAGENET_MEAN, IMAGENET_STD, read_preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.training import mixture, network
from harness.training.data import digest
from harness.training.history import history_of
from harness.training.parallel import Ranks, barrier
from harness.training.recipe import Mixing, Recipe
from harness.training.stores import FORM, Store, open_store, write_store
from harness.training.teaching import save, teach_all

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Taught:
    """A task with the training splits that are read of it."""

    task: Task[Any]
    splits: tuple[str, ...]


def choose(recipe: Recipe, tasks: Sequence[Task[Any]], split: str | None = None) -> dict[str, Taught]:
    """The tasks with their training splits.

    UsageError for one without a training split, and for an evaluation split: nothing is trained on those.
    """
    mixing = mixing_of(recipe)
    found = {}
    for task in tasks:
        if not task.train_splits:
            raise UsageError(f"{task.name} has no training split, so nothing can be fine-tuned on it")
        wanted = tuple(dict.fromkeys(split.split(","))) if split else mixing.splits.get(task.name, task.train_splits)
        for name in wanted:
            if name in task.splits:
                raise UsageError(
                    f"{task.name} {name} is for evaluation, and is not trained on; "
                    f"it trains on {', '.join(task.train_splits)}"
                )
            if name not in task.train_splits:
                raise UsageError(f"{task.name} has no training split {name!r}; it has {', '.join(task.train_splits)}")
        found[task.name] = Taught(task, wanted)
    return found


def finetune(
    recipe: Recipe,
    tasks: Mapping[str, Taught],
    root: Path,
    start: Path,
    out: Path,
    *,
    guards: Sequence[Task[Any]] = (),
    guarded: Path | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> Path:
    """The folder of the checkpoint that `start` becomes; resumes from what is in `out`, and reuses a finished one.

    No image that a task of `guards` is evaluated on, under the root `guarded` (else the same), is trained on.
    DataError where a training file is missing or holds nothing, UsageError where the checkpoint is of another size.
    """
    mixing = mixing_of(recipe)
    finished = out / "checkpoint"
    begun = weights.load(start)
    data = {
        name: {
            "splits": list(taught.splits),
            "sha256": manifest.digest(
                [file for split in taught.splits for file in manifest.annotation_files(taught.task, root, split)]
            ),
        }
        for name, taught in tasks.items()
    }
    tokenizer = Tokenizer.load(start)
    preprocess = read_preprocess(start)
    if (preprocess.mean, preprocess.std) != (IMAGENET_MEAN, IMAGENET_STD):
        raise CheckpointError(f"{start} normalises by {preprocess.mean} and {preprocess.std}; training, by ImageNet's")
    kept_out = evaluated(guards, guarded or root)
    vocabulary = tokenizer.backend.to_str()
    identity = digest(asdict(recipe), begun.sha256, data, vocabulary, preprocess, sorted(kept_out))
    before = history_of(start)
    if _is_finished(finished, identity, start):
        return finished
    model = resized(begun.model, recipe, start)
    if tokenizer.size > model.config.text.vocab:
        raise CheckpointError(
            f"{start}: the tokenizer has {tokenizer.size} ids, the embedding only {model.config.text.vocab} rows"
        )
    stores = {
        name: _store(recipe, taught, tokenizer, root, out / f"data/{name}", kept_out, model.config)
        for name, taught in tasks.items()
    }
    mixed = mixture.Mixture(stores, {name: mixing.tasks.get(name, 1.0) for name in tasks}, recipe.plan.seed)
    side = model.config.image_size
    batches = mixture.mixed(recipe, mixed, root, read_preprocess(start, side=side), workers=workers)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = teach_all(recipe, model, batches, tokenizer.first_bin, out, identity)
    run = {
        "identity": identity,
        "recipe": asdict(recipe),
        "from": begun.sha256,
        "kept_out": len(kept_out),
        "tasks": {name: {**data[name], "units": stores[name].units, "samples": stores[name].samples} for name in tasks},
    }
    return save(trained, tokenizer, finished, before, run)


def _is_finished(folder: Path, identity: str, start: Path) -> bool:
    """Whether this very run has ended here; UsageError where the folder holds something else."""
    if not folder.exists():
        return False
    history = history_of(folder)
    if folder.resolve() == start.resolve() or history is None or history[-1]["identity"] != identity:
        raise UsageError(f"{folder} holds something else, which would be lost: another --to, or move it away")
    weights.load(folder)  # CheckpointError where it was damaged since
    return True


def evaluated(guards: Sequence[Task[Any]], root: Path) -> frozenset[str]:
    """The images, by `image_key`, that these tasks are evaluated on, as far as the root has their annotations."""
    found: set[str] = set()
    for task in guards:
        for split in task.splits:
            if any(manifest.is_of_annotations(need) for need in manifest.missing(task, root, [split])):
                log.warning("%s %s is not under %s: its images are not kept out of training", task.name, split, root)
                continue
            found |= {image_key(sample.question.image_name) for sample in task.load(Source(root, split))}
    return frozenset(found)


def image_key(reference: str) -> str:
    """What an image is known by: COCO's number under whatever year it was published, else its path."""
    named = re.search(r"(\d{12})\.jpg$", reference)
    return f"coco {int(named[1])}" if named and "coco" in reference.lower() else reference


def mixing_of(recipe: Recipe) -> Mixing:
    """What a recipe for fine-tuning mixes; UsageError for another recipe."""
    if not isinstance(recipe.data, Mixing):
        raise UsageError(f"recipe {recipe.name!r} draws scenes of its own: it is for `train`, not `finetune`")
    return recipe.data


def resized(model: Florence2, recipe: Recipe, folder: Path) -> Florence2:
    """The network at the recipe's resolution, free to be trained; UsageError where the recipe is of another size."""
    config = model.config
    if recipe.config is not None and replace(recipe.config, image_size=config.image_size) != config:
        raise UsageError(f"{folder} is of another size than recipe {recipe.name!r} trains")
    wanted = replace(
        config, image_size=read_preprocess(folder).height if recipe.image_size is None else recipe.image_size
    )
    if room_for_words(wanted) < 16:
        raise UsageError(
            f"{folder} has {config.text.positions} positions, and an image of {wanted.image_size} pixels is "
            f"{wanted.image_tokens} tokens: --set image_size=... smaller"
        )
    return network.fresh(model, wanted, folder)


def room_for_words(config: Config) -> int:
    """How many tokens a prompt may have beside the image."""
    return config.text.positions - config.image_tokens


def _store(
    recipe: Recipe,
    taught: Taught,
    tokenizer: Tokenizer,
    root: Path,
    folder: Path,
    kept_out: frozenset[str],
    config: Config,
) -> Store:
    """The task's samples as ids, tokenised by the first process and then mapped by all."""
    questions = mixing_of(recipe).questions
    for split in taught.splits:
        manifest.require(taught.task, root, split)
    files = [file for split in taught.splits for file in manifest.annotation_files(taught.task, root, split)]
    limits = room_for_words(config), min(recipe.answer_limit, config.text.positions)  # of prompts and of answers
    made = manifest.digest(files), tokenizer.backend.to_str(), questions, limits, FORM, taught.task.version
    name = digest(*made, sorted(kept_out))
    folder = folder.with_name(f"{folder.name}-{name}")
    store = open_store(folder)
    if store is None and Ranks.current().rank == 0:
        samples = (
            sample
            for split in taught.splits
            for sample in taught.task.load(Source(root, split))
            if image_key(sample.question.image_name) not in kept_out
        )
        store = write_store(
            folder,
            samples,
            tokenizer,
            root,
            questions=questions,
            limits=limits,
            name=taught.task.name,
        )
    barrier()
    return store or Store.load(folder)
