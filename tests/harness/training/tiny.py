"""A recipe that trains in seconds, and the modules and batches that several tests train with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from harness.florence2.config import NANO, TextConfig
from harness.florence2.model import Florence2
from harness.florence2.start import initialise
from harness.training.lessons import Batch, Lesson
from harness.training.recipe import Drawing, Plan, Recipe
from tasks.miniature.render import rendered_scene
from tasks.miniature.training import MiniatureScene, regions_of, things_of

SMALL = replace(
    NANO,
    image_size=64,
    text=TextConfig(width=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32, positions=256, vocab=1400),
    vision=replace(NANO.vision, dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), groups=(1, 1, 2, 2)),
)
DRAWING = Drawing(
    scenes=24,
    slots=(("refer",), ("segment",), ("caption", "detect", "ground", "refer", "segment")),
    few=9,
    few_until=0.15,
    regions=0.5,
    vision=Plan(steps=3, batch=4, rate=2e-3, warmup=2, save_every=2),
)
TINY = Recipe(
    name="tiny",
    about="",
    config=SMALL,
    plan=Plan(steps=6, batch=4, rate=1.5e-3, warmup=2, average=0.999, save_every=2),
    data=DRAWING,
    sigma=(10.0, 3.0),
    answer_limit=80,
)


def training_scene(seed: int) -> MiniatureScene:
    """A scene with captions, detection, grounding, expressions and outlines, and no signs."""
    rendered = rendered_scene(seed)
    return MiniatureScene(rendered.image, tuple(regions_of(rendered, seed)), tuple(things_of(rendered)))


FIRST_BIN = 300


def small_model() -> Florence2:
    """A network of size SMALL with seeded random weights."""
    model = Florence2(SMALL)
    initialise(model, FIRST_BIN, torch.Generator().manual_seed(0))
    return model


def lesson_and_batch() -> tuple[Lesson, Batch]:
    """The loss of a small network, and a batch of three images with two prompts each, of three kinds."""
    draw = np.random.default_rng(0)
    lengths = [3, 9, 4, 20, 2, 7]
    batch = Batch(
        torch.from_numpy(draw.integers(0, 256, (3, 64, 64, 3), np.uint8)),
        torch.tensor([0, 0, 1, 1, 2, 2]),
        ["refer", "caption", "refer", "segment", "caption", "refer"],
        [draw.integers(4, 1300, length, np.int16) for length in reversed(lengths)],
        [draw.integers(4, 1300, length, np.int16) for length in lengths],
    )
    return Lesson(small_model(), FIRST_BIN), batch


class ScriptedLoss(nn.Module):
    """A module of one weight whose losses are given in advance."""

    def __init__(self, losses: Iterable[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.losses = iter(losses)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        value = next(self.losses)
        return self.weight.sum() * value, {"refer": value, "caption": 1.0}


def image_batches(start: int) -> Iterator[list[Batch]]:
    """A step of one image without prompts, many times."""
    image = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    for _ in range(start, 1000):
        yield [Batch(image, torch.zeros(0, dtype=torch.long), (), (), (), names=["cat.jpg"])]
