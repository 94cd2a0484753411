"""Pre-training of the vision tower alone or of the text layers alone, on the images and captions of a pack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from harness.core import Kind
from harness.florence2.bart import Encoder
from harness.florence2.config import Config
from harness.florence2.fast.choose import trainable
from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.training.contrastive import Contrastive, TextTower, labels_of
from harness.training.data import Pack, scene_batches
from harness.training.denoising import Denoising
from harness.training.lessons import Batch, Loss, pad
from harness.training.loop import fit
from harness.training.masked_autoencoder import MaskedAutoencoder
from harness.training.recipe import Drawing, Plan, Recipe

TEXTS: tuple[Kind, ...] = ("caption", "detailed_caption", "more_detailed_caption")


class TowerLesson(nn.Module):
    """The loss of a vision tower's pre-training on a batch.  Contrastive pre-training also uses the captions."""

    def __init__(self, taught: MaskedAutoencoder | Contrastive, side: int, seed: int) -> None:
        super().__init__()
        self.taught = taught  # its name is part of the keys of saved training states
        self.seed = seed
        self.preprocess = Preprocess(side, side)

    def forward(self, batch: Batch) -> Loss:
        """This batch's contribution to the loss of its step, logged as "tower"."""
        device = next(self.parameters()).device
        pixels = self.preprocess.normalise(batch.pixels.to(device, non_blocking=True))
        if isinstance(self.taught, Contrastive):
            tokens = pad(batch.answers).to(device)
            loss: Tensor = self.taught(pixels, tokens, labels_of(tokens).to(device))
        else:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + batch.step)
            loss = self.taught(pixels, generator)
        return batch.share * loss, {"tower": batch.share * float(loss.detach())}


class TextLesson(nn.Module):
    """The denoising loss on the captions of a batch."""

    def __init__(self, taught: Denoising, seed: int) -> None:
        super().__init__()
        self.taught = taught  # its name is part of the keys of saved training states
        self.seed = seed

    def forward(self, batch: Batch) -> Loss:
        """This batch's contribution to the loss of its step, logged as "text"."""
        loss: Tensor = self.taught(batch.answers, np.random.default_rng((self.seed, 5, batch.step)))
        return batch.share * loss, {"text": batch.share * float(loss.detach())}


def pretrain_tower(
    model: Florence2, kind: Literal["masked", "contrastive"], pack: Pack, plan: Plan, out: Path, *, identity: str = ""
) -> None:
    """Trains the model's vision tower in place; heads, projections and text encoder are discarded."""
    config = model.config
    trainable(model, plan.precision)
    module: MaskedAutoencoder | Contrastive
    if kind == "masked":
        module = MaskedAutoencoder(model.vision, config.vision)
    else:
        text = TextTower(nn.Embedding(config.text.vocab, config.text.width), Encoder(config.text))
        trainable(text.encoder.to(model.embedding.weight.device), plan.precision)
        nn.init.normal_(text.embedding.weight, std=config.text.width**-0.5)
        module = Contrastive(model.vision, config.vision.dims[-1], text, config.text.width)
    lesson = TowerLesson(module, config.image_size, plan.seed).to(model.embedding.weight.device)
    fit(lesson, scene_batches(_captions(config, plan), _DRAWING, pack), plan, out, name=kind, identity=identity)


def pretrain_text(model: Florence2, mask_id: int, pack: Pack, plan: Plan, out: Path, *, identity: str = "") -> None:
    """Trains the model's embedding, encoder and decoder in place.  `mask_id` is the id of the mask token."""
    trainable(model, plan.precision)
    frozen = [*model.vision.parameters(), *model.fusion.parameters()]
    for parameter in frozen:
        parameter.requires_grad_(False)
    lesson = TextLesson(Denoising(model, mask_id), plan.seed)
    fit(
        lesson,
        scene_batches(_captions(model.config, plan), _DRAWING, pack),
        plan,
        out,
        name="denoising",
        identity=identity,
    )
    for parameter in frozen:
        parameter.requires_grad_(True)


_DRAWING = Drawing(scenes=0, slots=(TEXTS,))


def _captions(config: Config, plan: Plan) -> Recipe:
    """A recipe for batches of images with one caption each."""
    return Recipe(name="captions", about="", config=config, plan=replace(plan), data=_DRAWING)
