"""From scenes to a checkpoint folder: the nano recipe, end to end."""

from __future__ import annotations

import os
from pathlib import Path

from harness.florence2 import weights
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import prompt_of, write_answer
from harness.florence2.tokenizer import Tokenizer
from harness.training.data import SceneSource, cached_pack, digest, pack
from harness.training.loop import train
from harness.training.recipes import Recipe
from harness.training.vocabulary import learn

VOCABULARY_SCENES = 400


def teach(recipe: Recipe, source: SceneSource, first_seed: int, out: Path, *, vocabulary: Path | None = None) -> Path:
    """Draws, tokenises, trains and saves; resumes where it was stopped.  The folder of the finished checkpoint.

    `vocabulary` is a folder with a tokenizer to use; without it one is learned from the first scenes.
    """
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(recipe, source, first_seed, out, vocabulary)
    side = recipe.config.image_size
    seeds = range(first_seed, first_seed + recipe.scenes)
    name = digest(seeds, side, recipe.answer_limit, tokenizer.backend.to_str())
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
    model = train(recipe, packed, tokenizer.first_bin, out)
    finished = out / "checkpoint"
    weights.save(model, finished)
    tokenizer.backend.save(str(finished / "tokenizer.json"))
    return finished


def _tokenizer(recipe: Recipe, source: SceneSource, first_seed: int, out: Path, given: Path | None) -> Tokenizer:
    kept = out / "tokenizer.json"
    if given is not None:
        return Tokenizer.load(given)
    if not kept.is_file():
        texts = []
        for seed in range(first_seed, first_seed + VOCABULARY_SCENES):
            for sample in source(seed).samples:
                texts.append(prompt_of(sample.question))
                if sample.question.size is not None and sample.target is not None and sample.question.kind != "segment":
                    texts.append(
                        write_answer(sample.question.kind, sample.target, sample.question.size).partition("<")[0]
                    )
        learn(texts, recipe.config.text.vocab - 1).backend.save(str(kept))
    return Tokenizer.load(out)
