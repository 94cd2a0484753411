"""From a recipe to a checkpoint folder: pre-training on drawn scenes."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from harness.errors import ResourceError, UsageError
from harness.florence2 import weights
from harness.florence2.config import Config
from harness.florence2.locations import items
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.start import initialise
from harness.florence2.tokenizer import Tokenizer
from harness.training import network
from harness.training.data import Pack, SceneSource, cached_pack, digest, drawn, drawn_regions, pack
from harness.training.history import Run, history_of, write_history
from harness.training.lessons import Lesson, RegionLesson
from harness.training.loop import Batches, fit
from harness.training.parallel import Ranks, barrier
from harness.training.recipes import Drawing, Recipe
from harness.training.vision import RegionHeads
from harness.training.vocabulary import learn

VOCABULARY_SCENES = 400


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
    """Draws, tokenises, trains and saves; resumes where it was stopped.  The folder of the finished checkpoint.

    `start` is a checkpoint folder to begin from, with its tokenizer; without it a tokenizer is learned from the first
    scenes, and from those of `vocabulary`: words that are to come, as BART's knows more English than any data set has.
    UsageError where it is of another size than the recipe's.
    """
    data, config = drawing_of(recipe)
    before = history_of(start)
    begin = _begun(recipe, config, start) if start else None
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(
        config.text.vocab, [one for one in (source, vocabulary) if one is not None], first_seed, out, start
    )
    seeds = range(first_seed, first_seed + data.scenes)
    side = config.image_size
    first = source(first_seed).samples  # other questions, another pack
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
    identity = digest(asdict(recipe), name, source_sha)
    model = train(recipe, packed, tokenizer.first_bin, out, identity, start=begin, device=device)
    run = {"identity": identity, "recipe": asdict(recipe), "from": source_sha, "tasks": {}}
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
    """The weights at the recipe's end, averaged where it says so; resumes from what is in `out`."""
    data, config = drawing_of(recipe)
    generator = torch.Generator().manual_seed(recipe.plan.seed)
    model = start or Florence2(config)
    if start is None:
        initialise(model, first_bin, generator)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    heads = None
    if data.vision is not None:
        classes = tuple(int(packed.regions[..., 4 + v].max()) + 1 for v in range(packed.regions.shape[-1] - 4))
        heads = RegionHeads(model.vision, config.vision.dims[-1], classes)
        nn.init.xavier_uniform_(heads.head.weight, generator=generator)
        nn.init.zeros_(heads.head.bias)
        heads.to(device)
        lesson = RegionLesson(heads, config.image_size)
        fit(lesson, drawn_regions(data.vision, packed), data.vision, out, name="vision", identity=identity)
    return teach_all(recipe, model, drawn(recipe, data, packed), first_bin, out, identity, heads=heads)


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


def drawing_of(recipe: Recipe) -> tuple[Drawing, Config]:
    """What a recipe for drawn scenes draws, and its size; UsageError for another recipe."""
    if not isinstance(recipe.data, Drawing) or recipe.config is None:
        raise UsageError(f"recipe {recipe.name!r} is for `finetune`: it reads tasks' training splits")
    return recipe.data, recipe.config


def _begun(recipe: Recipe, config: Config, folder: Path) -> Florence2:
    """The checkpoint's weights in a network of the recipe's size and resolution."""
    found = weights.load(folder).model
    if replace(found.config, image_size=config.image_size) != config:
        raise UsageError(f"{folder} is of another size than recipe {recipe.name!r} trains")
    return network.fresh(found, config, folder)


def tokenizer_of(
    vocabulary: int, sources: Sequence[SceneSource], first_seed: int, out: Path, given: Path | None
) -> Tokenizer:
    kept, partial = out / "tokenizer.json", out / f"tokenizer.{os.getpid()}.partial"
    if given is not None:
        return Tokenizer.load(given)
    if not kept.is_file():
        texts: list[str] = []
        for seed in range(first_seed, first_seed + VOCABULARY_SCENES):
            for sample in (sample for source in sources for sample in source(seed).samples):
                for prompt in prompts_of(sample.question):
                    texts.append("".join(piece.text for piece in items(prompt) if piece.bin is None))
                if sample.question.size is not None and sample.target is not None and sample.question.kind != "segment":
                    texts.append(write_answer(sample.question, sample.target, sample.question.size).partition("<")[0])
        learn(texts, vocabulary - 1).backend.save(str(partial))
        partial.replace(kept)
    return Tokenizer.load(out)
