"""Recipes: everything a training run is, as values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.core import Kind
from harness.florence2.config import NANO, Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A vision phase (region classification), then the whole network on every task at once."""

    name: str
    config: Config
    scenes: int  # training images drawn
    batch: int  # images a step
    slots: tuple[tuple[Kind, ...], ...]  # prompts an image gets a step; of several kinds in a slot, one is drawn
    vision_steps: int
    vision_batch: int
    vision_rate: float
    steps: int
    rate: float
    warmup: int
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    few: int = 3  # only scenes of at most so many things ...
    few_until: float = 0.15  # ... up to this share of the steps
    sigma: tuple[float, float] = (10.0, 3.0)  # of the softened bins, at the start and at the end
    average: float = 0.999  # decay of the weights' moving average, which is what is saved
    answer_limit: int = 80  # tokens
    regions: float = 0.0  # the weight of the vision phase's loss beside the tokens' afterwards; 0: it is over
    save_every: int = 100
    seed: int = 0


NANO_RECIPE = Recipe(
    name="nano",
    config=NANO,
    scenes=16_000,
    batch=32,
    slots=(("refer",), ("segment",), ("caption", "detect", "ground", "refer", "segment")),
    vision_steps=1_000,
    vision_batch=32,
    vision_rate=2e-3,
    steps=6_000,
    rate=1.5e-3,
    warmup=200,
)

NANO_TASKS_RECIPE = replace(
    NANO_RECIPE,
    name="nano-tasks",
    scenes=10_000,
    slots=(
        ("refer",),
        ("segment",),
        ("caption", "detailed_caption", "more_detailed_caption", "detect", "ground"),
        ("vqa", "find", "vqa", "find", "ocr", "ocr_regions"),
    ),
    vision_steps=0,
    steps=2_400,
    rate=1e-3,
    warmup=100,
    few_until=0.0,
    sigma=(3.0, 2.0),
    answer_limit=140,
    seed=1,
)

NANO_READING_RECIPE = replace(
    NANO_TASKS_RECIPE,
    name="nano-reading",
    slots=(
        ("refer", "segment"),
        ("caption", "detailed_caption", "more_detailed_caption", "detect", "ground", "ground", "ground"),
        ("ocr", "ocr_regions", "vqa", "vqa"),
        ("find",),
    ),
    vision_steps=1_200,
    regions=1.0,  # without it the tower forgets the letters before the decoder has learned to read them
    steps=2_000,
    seed=2,
)

NANO_OUTLINES_RECIPE = replace(
    NANO_READING_RECIPE,
    name="nano-outlines",
    slots=(
        ("segment",),
        ("segment", "refer", "ground", "ground"),
        ("caption", "detailed_caption", "more_detailed_caption", "detect", "find"),
        ("ocr", "ocr_regions", "vqa", "vqa"),
    ),
    vision_steps=0,
    regions=0.0,
    steps=600,
    rate=4e-4,
    warmup=50,
    seed=3,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (NANO_RECIPE, NANO_TASKS_RECIPE, NANO_READING_RECIPE, NANO_OUTLINES_RECIPE)  # each after the last
}
