"""Pre-training on tasks' training splits, such as those of an engine folder: the paper's stages.

Without a checkpoint to start from, weights are random and the tokenizer is learned from the first samples.  The paper
starts from trained towers (arXiv:2311.06242v1, section 6.1: DaViT by UniCL, and BART); give such a checkpoint as the
start to do so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from harness.core import Sample, Source, Text
from harness.errors import DataError, UsageError
from harness.florence2 import weights
from harness.florence2.locations import items
from harness.florence2.model import Florence2
from harness.florence2.prompts import prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.start import initialise
from harness.protocols.finetune import Taught, finetune
from harness.training.recipe import Recipe
from harness.training.teaching import put_in_place
from harness.training.vocabulary import learn

SAMPLES = 20_000  # that a tokenizer is learned from
log = logging.getLogger(__name__)


def pretrain(
    recipe: Recipe, tasks: Mapping[str, Taught], root: Path, out: Path, *, start: Path | None = None, **options: Any
) -> Path:
    """The checkpoint folder after the recipe's steps; `options` are those of `finetune`, and errors are its errors.

    `start` is a checkpoint folder of the recipe's size.  Without it, `out/start` keeps the random one.  An interrupted
    run resumes.
    """
    return finetune(recipe, tasks, root, start or random_start(recipe, tasks, root, out / "start"), out, **options)


def random_start(recipe: Recipe, tasks: Mapping[str, Taught], root: Path, folder: Path) -> Path:
    """A checkpoint folder with random weights of the recipe's seed, and a tokenizer learned from the tasks' texts.

    A folder that is there is reused.  UsageError for a recipe without a network size.
    """
    config = recipe.config
    if config is None:
        raise UsageError(f"recipe {recipe.name!r} starts from a checkpoint: give --start FOLDER")
    if folder.is_dir():
        return folder
    log.warning("no --start was given: training starts from random weights, with a tokenizer learned from the data")

    def write(partial: Path) -> None:
        samples = (
            sample
            for taught in tasks.values()
            for split in taught.splits
            for sample in taught.task.load(Source(root, split))
        )
        texts = [text for sample in islice(samples, SAMPLES) for text in texts_of(sample)]
        tokenizer = learn(texts, config.text.vocab - 1)
        model = Florence2(config)
        initialise(model, tokenizer.first_bin, torch.Generator().manual_seed(recipe.plan.seed))
        partial.mkdir(parents=True)
        weights.save(model, partial)
        tokenizer.backend.save(str(partial / "tokenizer.json"))

    folder.parent.mkdir(parents=True, exist_ok=True)
    return put_in_place(folder, write)


def texts_of(sample: Sample[Any]) -> Iterator[str]:
    """The words of a sample's prompts and of its answer, without location tokens."""
    question, target = sample.question, sample.target
    try:
        for prompt in prompts_of(question, size=question.size):
            yield "".join(piece.text for piece in items(prompt) if piece.bin is None)
    except DataError:
        return  # a region outside its image: training reports it
    if isinstance(target, Text):
        yield from target.texts
    elif target is not None and question.size is not None and question.kind in ("detect", "regions", "ocr_regions"):
        yield "".join(piece.text for piece in items(write_answer(question, target, question.size)) if piece.bin is None)
