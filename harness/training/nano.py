"""From scenes to a checkpoint folder: the nano recipe, end to end."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from harness.errors import UsageError
from harness.florence2 import weights
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import prompts_of, write_answer
from harness.florence2.tokenizer import Tokenizer
from harness.training.data import SceneSource, cached_pack, digest, pack
from harness.training.loop import train
from harness.training.recipes import Recipe
from harness.training.vocabulary import learn

VOCABULARY_SCENES = 400


def teach(recipe: Recipe, source: SceneSource, first_seed: int, out: Path, *, start: Path | None = None) -> Path:
    """Draws, tokenises, trains and saves; resumes where it was stopped.  The folder of the finished checkpoint.

    `start` is a checkpoint folder to begin from, with its tokenizer; without it a tokenizer is learned from the first
    scenes.  UsageError where it is of another size than the recipe's.
    """
    begin = _begun(recipe, start) if start else None
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(recipe, source, first_seed, out, start)
    side = recipe.config.image_size
    seeds = range(first_seed, first_seed + recipe.scenes)
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
    model = train(recipe, packed, tokenizer.first_bin, out, start=begin)
    finished = out / "checkpoint"
    weights.save(model, finished)
    tokenizer.backend.save(str(finished / "tokenizer.json"))
    return finished


def _begun(recipe: Recipe, folder: Path) -> Florence2:
    """The checkpoint's weights in a network of the recipe's size and resolution."""
    found = weights.load(folder).model
    if replace(found.config, image_size=recipe.config.image_size) != recipe.config:
        raise UsageError(f"{folder} is of another size than recipe {recipe.name!r} trains")
    model = Florence2(recipe.config)
    model.load_state_dict(found.state_dict())
    return model


def _tokenizer(recipe: Recipe, source: SceneSource, first_seed: int, out: Path, given: Path | None) -> Tokenizer:
    kept = out / "tokenizer.json"
    if given is not None:
        return Tokenizer.load(given)
    if not kept.is_file():
        texts: list[str] = []
        for seed in range(first_seed, first_seed + VOCABULARY_SCENES):
            for sample in source(seed).samples:
                texts.extend(prompts_of(sample.question))
                if sample.question.size is not None and sample.target is not None and sample.question.kind != "segment":
                    texts.append(write_answer(sample.question, sample.target, sample.question.size).partition("<")[0])
        learn(texts, recipe.config.text.vocab - 1).backend.save(str(kept))
    return Tokenizer.load(out)
