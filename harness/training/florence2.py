"""Florence-2 as a `Learner`: its checkpoint, prompts and answers, network at the recipe's resolution, and saving."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.core import Kind, Question, Sample
from harness.errors import CheckpointError, UsageError
from harness.florence2 import weights
from harness.florence2.config import Config
from harness.florence2.files import is_adapter
from harness.florence2.model import Florence2
from harness.florence2.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, find_preprocess
from harness.florence2.tokenizer import find_tokenizer
from harness.training import network
from harness.training.history import TrainingRun, history_of
from harness.training.loop import Batches
from harness.training.recipe import Recipe
from harness.training.stores import Examples, examples_of
from harness.training.teaching import save, teach_all

MIN_PROMPT_TOKENS = 16
log = logging.getLogger(__name__)


class Florence2Learner:
    """The checkpoint in the folder `start`; `base` is the folder that supplies what it lacks."""

    kinds: frozenset[Kind] | None = None

    def __init__(self, recipe: Recipe, start: Path, base: Path | None = None) -> None:
        """CheckpointError for a checkpoint that cannot be trained here."""
        self.recipe, self.start = recipe, start
        starting = weights.load(start, base=base)
        self.model, self.sha256 = starting.model, starting.sha256
        self.tokenizer, taken = find_tokenizer(start, starting.model.config.text.vocab, base)
        self.preprocess, assumed = find_preprocess(start, base=base)
        self.notes = (*starting.notes, *taken, *assumed)
        for note in self.notes:
            log.warning("%s", note)
        if (self.preprocess.mean, self.preprocess.std) != (IMAGENET_MEAN, IMAGENET_STD):
            raise CheckpointError(
                f"{start} normalises images by {self.preprocess.mean} and {self.preprocess.std}; "
                f"training supports only ImageNet's {IMAGENET_MEAN} and {IMAGENET_STD}"
            )
        self.language = self.tokenizer.backend.to_str()
        self.ids = self.tokenizer.size
        self.origin: tuple[object, ...] = (self.language, self.preprocess)
        self.before = history_of(start) or (history_of(base) if is_adapter(start) else None)

    def check(self, finished: Path) -> None:
        """CheckpointError for a damaged checkpoint."""
        weights.load(finished)

    def begin(self, questions: Mapping[str, Question]) -> None:
        """Replaces the network by a trainable one at the recipe's resolution; see `resized`."""
        self.model = resized(self.model, self.recipe, self.start, self.preprocess)

    @property
    def limits(self) -> tuple[int, int]:
        """The positions that an image leaves for a prompt, and the recipe's limit of an answer."""
        config = self.model.config
        return prompt_tokens(config), min(self.recipe.answer_limit, config.text.positions)

    def examples(self, sample: Sample[Any], root: Path) -> Examples:
        """See `stores.examples_of`."""
        return examples_of(sample, self.tokenizer, root)

    @property
    def resizing(self) -> Preprocess:
        """Squares of the network's image size."""
        side = self.model.config.image_size
        return replace(self.preprocess, height=side, width=side)

    def joined(self, pixels: list[Any]) -> Any:
        """(B, side, side, 3) uint8."""
        return torch.stack(pixels)

    def train(self, batches: Batches, out: Path, identity: str, device: str) -> None:
        """See `teaching.teach_all`."""
        self.model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = teach_all(self.recipe, self.model, batches, self.tokenizer.first_bin, out, identity)

    def save(self, folder: Path, run: TrainingRun) -> Path:
        """See `teaching.save`."""
        return save(self.model, self.tokenizer, folder, self.before, run)


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
