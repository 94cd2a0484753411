"""Pre-training of the tower or of the text side alone, on a pack's pictures and captions, by the same loop."""

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
from harness.training.data import Pack, drawn
from harness.training.denoising import Denoising
from harness.training.lessons import Batch, Loss, pad
from harness.training.loop import fit
from harness.training.masked_autoencoder import MaskedAutoencoder
from harness.training.recipe import Drawing, Plan, Recipe

TEXTS: tuple[Kind, ...] = ("caption", "detailed_caption", "more_detailed_caption")


class TowerLesson(nn.Module):
    """A pre-training of the tower as the loop takes it: pictures, and captions where it compares them."""

    def __init__(self, taught: MaskedAutoencoder | Contrastive, side: int, seed: int) -> None:
        super().__init__()
        self.taught = taught
        self.seed = seed
        self.preprocess = Preprocess(side, side)

    def forward(self, batch: Batch) -> Loss:
        """The loss, under the name of the pre-training."""
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
    """Denoising as the loop takes it: the captions alone."""

    def __init__(self, taught: Denoising, seed: int) -> None:
        super().__init__()
        self.taught = taught
        self.seed = seed

    def forward(self, batch: Batch) -> Loss:
        """The loss of the batch's answers."""
        loss: Tensor = self.taught(batch.answers, np.random.default_rng((self.seed, 5, batch.step)))
        return batch.share * loss, {"text": batch.share * float(loss.detach())}


def pretrain_tower(
    model: Florence2, kind: Literal["masked", "contrastive"], pack: Pack, plan: Plan, out: Path, *, identity: str = ""
) -> None:
    """Teaches the model's tower in place; what is only for this is thrown away."""
    config = model.config
    trainable(model, plan.precision)
    taught: MaskedAutoencoder | Contrastive
    if kind == "masked":
        taught = MaskedAutoencoder(model.vision, config.vision)
    else:
        text = TextTower(nn.Embedding(config.text.vocab, config.text.width), Encoder(config.text))
        trainable(text.encoder.to(model.embedding.weight.device), plan.precision)
        nn.init.normal_(text.embedding.weight, std=config.text.width**-0.5)
        taught = Contrastive(model.vision, config.vision.dims[-1], text, config.text.width)
    lesson = TowerLesson(taught, config.image_size, plan.seed).to(model.embedding.weight.device)
    fit(lesson, drawn(_captions(config, plan), _DRAWING, pack), plan, out, name=kind, identity=identity)


def pretrain_text(model: Florence2, mask_id: int, pack: Pack, plan: Plan, out: Path, *, identity: str = "") -> None:
    """Teaches the model's embedding, encoder and decoder in place."""
    trainable(model, plan.precision)
    others = [*model.vision.parameters(), *model.fusion.parameters()]
    for parameter in others:
        parameter.requires_grad_(False)
    lesson = TextLesson(Denoising(model, mask_id), plan.seed)
    fit(lesson, drawn(_captions(model.config, plan), _DRAWING, pack), plan, out, name="denoising", identity=identity)
    for parameter in others:
        parameter.requires_grad_(True)


_DRAWING = Drawing(scenes=0, slots=(TEXTS,))


def _captions(config: Config, plan: Plan) -> Recipe:
    """A picture and one of its captions a place."""
    return Recipe(name="captions", about="", config=config, plan=replace(plan), data=_DRAWING)
