"""Training of the whole network on prompts and answers, and the folder of the trained checkpoint."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from harness.errors import ResourceError
from harness.florence2 import weights
from harness.florence2.model import Florence2
from harness.florence2.tokenizer import Tokenizer
from harness.training import network
from harness.training.history import TrainingRun, write_history
from harness.training.lessons import Lesson
from harness.training.loop import Batches, fit
from harness.training.parallel import Ranks, barrier
from harness.training.recipe import Drawing, Recipe
from harness.training.vision import RegionHeads


def teach_all(
    recipe: Recipe,
    model: Florence2,
    batches: Batches,
    first_bin: int,
    out: Path,
    identity: str,
    *,
    heads: RegionHeads | None = None,
) -> Florence2:
    """Trains `model` by the recipe; the trained network on the CPU, or its moving average if the plan has one.

    `first_bin` is the id of the first location token.  `heads` are used if the recipe gives their loss a weight.
    """
    network.prepare(model, recipe)
    regions = recipe.data.regions if isinstance(recipe.data, Drawing) and heads is not None else 0.0
    lesson = Lesson(model, first_bin, heads=heads if regions else None, regions=regions)
    average = None
    if recipe.plan.average:
        average = model, copy.deepcopy(model).requires_grad_(False)
    fit(lesson, batches, recipe.plan, out, identity=identity, average=average)
    return network.merged(average[1] if average else model, recipe)


def save(
    model: Florence2, tokenizer: Tokenizer, folder: Path, before: list[TrainingRun] | None, run: TrainingRun
) -> Path:
    """Writes a checkpoint folder in transformers' layout, with its training history; the folder.

    The folder is moved into place when it is complete.  ResourceError for weights that are not finite, and if writing
    fails.
    """

    def write(partial: Path) -> None:
        weights.save(model, partial)
        tokenizer.backend.save(str(partial / "tokenizer.json"))
        write_history(partial, before, run)

    refuse_not_finite(model.state_dict(), folder)
    return put_in_place(folder, write)


def refuse_not_finite(trained: Mapping[str, Tensor], folder: Path) -> None:
    """ResourceError for trained weights that are not finite; `folder` would have held them."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in trained.values()):
        raise ResourceError(f"some trained weights are not finite, so {folder} is not written: lower the learning rate")


def put_in_place(folder: Path, write: Callable[[Path], None]) -> Path:
    """Calls `write` on a new folder in the first process, and moves it to `folder` when it is complete; `folder`.

    ResourceError if writing fails: what was in `folder` stays.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    if Ranks.current().rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        try:
            write(partial)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ResourceError(
                f"{folder} cannot be written: {error}; the training state beside it is unchanged"
            ) from error
    barrier()  # other processes may read the folder next
    return folder
