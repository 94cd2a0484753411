"""What a recipe is: everything that decides a training run, as values.

`stated` names the settings that the paper gives (arXiv:2311.06242v1, Table 15 and section 6.1); every other is ours, as
weight decay, augmentation, the mixing of tasks and all of joint fine-tuning are not published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from harness.core import Kind
from harness.errors import UsageError
from harness.florence2.config import Config

REFCOCO = ("refcoco", "refcoco_plus", "refcocog")
Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How weights are moved: AdamW under a warm-up and a cosine.  `batch` counts images, over all processes."""

    steps: int
    batch: int
    rate: float
    warmup: int = 0
    floor: float = 0.01  # where the cosine ends, as a share of `rate`
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    accumulate: int = 1  # parts that a batch is worked through in
    precision: Precision = "float32"
    average: float = 0.0  # decay of the weights' moving average, which is then what is saved; 0: none
    save_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """UsageError where it cannot be meant."""
        for name in ("steps", "batch", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: at least 1")
        for name in ("warmup", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < 2**63:
                raise UsageError(f"{name}={getattr(self, name)}: at least 0, and finite")
        if not (0 < self.rate < math.inf and 0 < self.clip < math.inf):
            raise UsageError(f"rate={self.rate}, clip={self.clip}: above 0, and finite")
        if not 0 <= self.floor <= 1:
            raise UsageError(f"floor={self.floor}: a share of the rate, from 0 to 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"betas={self.betas[0]}+{self.betas[1]}: two decays, from 0 up to but not 1")
        if not 0 <= self.average < 1:
            raise UsageError(f"average={self.average}: a decay, from 0 up to but not 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Scenes drawn from seeds, each asked one question a slot; before it, perhaps, region classification alone."""

    scenes: int
    slots: tuple[tuple[Kind, ...], ...]  # of several kinds in a slot, one is drawn each step
    few: int = 3  # only scenes of at most so many things ...
    few_until: float = 0.0  # ... up to this share of the steps
    regions: float = 0.0  # the weight of region classification's loss beside the tokens'
    vision: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """Tasks' training splits, drawn by weight; `questions` is the most that is asked of an image at once.

    No image that a task of `kept_out` is evaluated on is trained on, under whatever task: RefCOCO's, RefCOCO+'s and
    RefCOCOg's splits overlap one another's, and all are COCO's training images.
    """

    tasks: Mapping[str, float]  # name to weight, as a share of their sum
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # where not all training splits
    questions: int = 4
    kept_out: tuple[str, ...] = REFCOCO


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A run.  `config` None: the size of the checkpoint it starts from, at `image_size` pixels where that is given."""

    name: str
    about: str
    plan: Plan
    data: Drawing | Mixing
    config: Config | None = None
    image_size: int | None = None
    sigma: tuple[float, float] = (0.0, 0.0)  # bins that a location's target is softened over, at start and end
    answer_limit: int = 1024  # tokens; longer answers are left out
    freeze: tuple[str, ...] = ()  # parts by the beginning of their parameters' names: "vision", "vision.stages.0"
    lora: int = 0  # rank of low-rank adapters, trained in place of the weights; 0: none
    checkpointing: bool = False  # activations are computed again in the backward pass, not kept
    compile: bool = False
    stated: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """UsageError where it cannot be meant."""
        if self.lora < 0 or self.answer_limit < 1:
            raise UsageError(f"lora={self.lora}, answer_limit={self.answer_limit}: at least 0, at least 1")
        if self.image_size is not None and self.image_size < 32:
            raise UsageError(f"image_size={self.image_size}: at least 32 pixels, one cell of the last map")
        if isinstance(self.data, Drawing) and self.image_size is not None:
            raise UsageError(f"image_size={self.image_size}: recipe {self.name!r} trains at its config's own size")


OWN = ("image_size", "answer_limit", "freeze", "lora", "checkpointing", "compile")  # beside the plan


def changed(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """The recipe with settings of its plan or its own replaced, given as text: {"rate": "1e-5", "lora": "8"}.

    UsageError for a key that there is not, or a value that is not of its kind.
    """
    known = (*Plan.__dataclass_fields__, *OWN)
    for key, text in changes.items():
        if key not in known:
            raise UsageError(f"--set {key}={text}: recipes have no {key!r}; they have {', '.join(known)}")
        if key in OWN:
            value: Any = _parsed(key, text, getattr(recipe, key))
            recipe = replace(recipe, **{key: value})
        else:
            value = _parsed(key, text, getattr(recipe.plan, key))
            recipe = replace(recipe, plan=replace(recipe.plan, **{key: value}))
    return recipe


def _parsed(key: str, text: str, like: object) -> object:
    try:
        if key == "precision":
            return PRECISIONS[PRECISIONS.index(text)]
        if key == "freeze":
            return tuple(part for part in text.split("+") if part)
        if key == "betas":
            one, other = map(float, text.split("+"))
            return one, other
        if isinstance(like, bool):
            return {"true": True, "false": False}[text.lower()]
        return float(text) if isinstance(like, float) else int(text)
    except (ValueError, KeyError) as error:
        raise UsageError(f"--set {key}={text}: not a value for {key!r}, which is {like!r}") from error
