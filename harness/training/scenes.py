"""Training on synthetic scenes: from a recipe to a checkpoint folder."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from harness.errors import UsageError
from harness.florence2 import weights
from harness.florence2.config import Config
from harness.florence2.fast.choose import trainable
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.start import initialise
from harness.training import network
from harness.training.data import Pack, SceneSource, cached_pack, digest, pack, region_batches, scene_batches
from harness.training.history import history_of
from harness.training.lessons import RegionLesson
from harness.training.loop import fit
from harness.training.recipe import Drawing, Recipe, described
from harness.training.teaching import save, teach_all
from harness.training.vision import RegionHeads
from harness.training.vocabulary import tokenizer_of


def teach(
    recipe: Recipe,
    source: SceneSource,
    first_seed: int,
    out: Path,
    *,
    start: Path | None = None,
    vocabulary: SceneSource | None = None,
    device: str = "cpu",
) -> Path:
    """Trains by a recipe on the scenes of `source`; the checkpoint folder.  An interrupted run resumes.

    `start` is a checkpoint folder, whose weights and tokenizer the run starts from.  Without `start`, the weights are
    random, and a tokenizer is learned from the first scenes of `source` and of `vocabulary`.  `vocabulary` has the
    words of later fine-tuning, as BART's tokenizer knows more words than any one data set has.

    UsageError for a recipe of another kind, and for a `start` of another size than the recipe's.
    """
    data, config = drawing_of(recipe)
    before = history_of(start)
    started = _load_start(recipe, config, start) if start else None
    out.mkdir(parents=True, exist_ok=True)
    sources = [source] if vocabulary is None else [source, vocabulary]
    tokenizer = tokenizer_of(config.text.vocab, sources, first_seed, out, start)
    seeds = range(first_seed, first_seed + data.scenes)
    side = config.image_size
    first = source(first_seed).samples  # part of the pack's name: other questions need another pack
    name = digest(seeds, side, recipe.answer_limit, tokenizer.backend.to_str(), first)
    packed = cached_pack(
        out / f"scenes-{name}.npz",
        lambda: pack(
            source,
            seeds,
            tokenizer,
            Preprocess(side, side),
            answer_limit=recipe.answer_limit,
            workers=os.cpu_count() or 1,
        ),
    )
    source_sha = weights.load(start).sha256 if start else None
    identity = digest(described(recipe), name, source_sha)
    model = train(recipe, packed, tokenizer.first_bin, out, identity, start=started, device=device)
    run = {"identity": identity, "recipe": described(recipe), "from": source_sha, "tasks": {}}
    return save(model, tokenizer, out / "checkpoint", before, run)


def train(
    recipe: Recipe,
    packed: Pack,
    first_bin: int,
    out: Path,
    identity: str,
    *,
    start: Florence2 | None = None,
    device: str = "cpu",
) -> Florence2:
    """The network after the last step, or its moving average if the plan has one.  Resumes from the states in `out`.

    `first_bin` is the id of the first location token; training starts from `start`, or from random weights.
    """
    data, config = drawing_of(recipe)
    generator = torch.Generator().manual_seed(recipe.plan.seed)
    model = start or Florence2(config)
    if start is None:
        initialise(model, first_bin, generator)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    heads = None
    if data.vision is not None:
        trainable(model, data.vision.precision)
        classes = tuple(int(packed.regions[..., 4 + v].max()) + 1 for v in range(packed.regions.shape[-1] - 4))
        heads = RegionHeads(model.vision, config.vision.dims[-1], classes)
        nn.init.xavier_uniform_(heads.head.weight, generator=generator)
        nn.init.zeros_(heads.head.bias)
        heads.to(device)
        lesson = RegionLesson(heads, config.image_size)
        fit(lesson, region_batches(data.vision, packed), data.vision, out, name="vision", identity=identity)
    return teach_all(recipe, model, scene_batches(recipe, data, packed), first_bin, out, identity, heads=heads)


def drawing_of(recipe: Recipe) -> tuple[Drawing, Config]:
    """The scenes and the network size of a recipe for `train`; UsageError for a recipe of another kind."""
    if not isinstance(recipe.data, Drawing) or recipe.config is None:
        raise UsageError(f"recipe {recipe.name!r} is for `finetune`: it reads tasks' training splits")
    return recipe.data, recipe.config


def _load_start(recipe: Recipe, config: Config, folder: Path) -> Florence2:
    """The checkpoint's weights in a network of the recipe's size and resolution."""
    model = weights.load(folder).model
    if replace(model.config, image_size=config.image_size) != config:
        raise UsageError(f"{folder} has another network size than recipe {recipe.name!r} trains")
    return network.trainable_copy(model, config, folder)
