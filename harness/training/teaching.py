"""The phase in which a network learns to answer, and the checkpoint folder that comes of it."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError

from harness.errors import ResourceError
from harness.florence2 import weights
from harness.florence2.model import Florence2
from harness.florence2.tokenizer import Tokenizer
from harness.training import network
from harness.training.history import Run, write_history
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
    """The phase in which everything is answered; the trained network, averaged where the recipe says so, on the CPU."""
    network.prepare(model, recipe)
    kept = heads if isinstance(recipe.data, Drawing) and recipe.data.regions else None
    lesson = Lesson(model, first_bin, heads=kept, regions=recipe.data.regions if kept else 0.0)  # type: ignore[union-attr]
    average = None
    if recipe.plan.average:
        average = model, copy.deepcopy(model).requires_grad_(False)
    fit(lesson, batches, recipe.plan, out, identity=identity, average=average)
    return network.merged(average[1] if average else model, recipe)


def save(model: Florence2, tokenizer: Tokenizer, folder: Path, before: list[Run] | None, run: Run) -> Path:
    """A checkpoint folder in transformers' own layout, complete or not there; with what it was trained on."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values()):
        raise ResourceError(f"some trained weights are not finite, so {folder} is not written: lower the rate")
    partial = folder.with_name(f"{folder.name}.partial")
    if Ranks.current().rank == 0:
        shutil.rmtree(partial, ignore_errors=True)
        try:
            weights.save(model, partial)
            tokenizer.backend.save(str(partial / "tokenizer.json"))
            write_history(partial, before, run)
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise ResourceError(f"{folder} cannot be written: {error}; the training state is kept beside it") from error
    barrier()  # the others may read it next
    return folder
