"""Recipes: all the settings of a training run, as values.

`Recipe.stated` names the settings that the paper gives (arXiv:2311.06242v1, Table 15 and section 6.1).  The other
settings are ours: the paper does not give weight decay, augmentation, mixture weights or joint fine-tuning.

A run's identity is a digest of its recipe's fields and their values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from harness.core import Kind
from harness.errors import UsageError
from harness.florence2.config import Config

REFCOCO = ("refcoco", "refcoco_plus", "refcocog")
Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16")
Optimiser = Literal["adamw", "muon"]
OPTIMISERS: tuple[Optimiser, ...] = ("adamw", "muon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The optimisation of a run: an optimiser (`harness.training.optimiser`), a linear warm-up, a cosine schedule."""

    steps: int
    batch: int  # images per step, over all processes
    rate: float  # peak learning rate
    warmup: int = 0  # steps
    floor: float = 0.01  # last learning rate of the cosine schedule, as a share of `rate`
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0  # maximum norm of the gradient
    accumulate: int = 1  # parts of a batch, for gradient accumulation
    precision: Precision = "float32"
    average: float = 0.0  # decay of the moving average of the weights, which is then saved; 0: no average
    save_every: int = 100  # steps between saved training states
    seed: int = 0
    optimiser: Optimiser = "adamw"

    def __post_init__(self) -> None:
        """UsageError for a value out of range."""
        for name in ("steps", "batch", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)}: at least 1")
        for name in ("warmup", "weight_decay", "seed"):
            if not 0 <= getattr(self, name) < 2**63:
                raise UsageError(f"{name}={getattr(self, name)}: at least 0, and finite")
        if not (0 < self.rate < math.inf and 0 < self.clip < math.inf):
            raise UsageError(f"rate={self.rate}, clip={self.clip}: above 0, and finite")
        if not 0 <= self.floor <= 1:
            raise UsageError(f"floor={self.floor}: a share of the learning rate, from 0 to 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"betas={self.betas[0]}+{self.betas[1]}: two decays, each at least 0 and below 1")
        if not 0 <= self.average < 1:
            raise UsageError(f"average={self.average}: a decay, at least 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Synthetic scenes as training data, with one question per slot about each scene."""

    scenes: int  # number of scenes; consecutive seeds
    slots: tuple[tuple[Kind, ...], ...]  # each step samples one kind per slot
    few: int = 3  # the most things in a scene ...
    few_until: float = 0.0  # ... during this share of the steps
    regions: float = 0.0  # weight of the region classification loss; the token loss has weight 1
    vision: Plan | None = None  # region classification of the vision tower alone, before the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing:
    """A mixture of tasks' training splits as training data.

    Evaluation images of the tasks in `kept_out` are excluded from the training data of every task: the splits of
    RefCOCO, RefCOCO+ and RefCOCOg overlap, and consist of COCO's training images.
    """

    tasks: Mapping[str, float]  # name to mixture weight, relative to the sum of the weights
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # for tasks that do not use all training splits
    questions: int = 4  # the most questions about one image in a batch
    finding: tuple[str, ...] = ()  # detection tasks whose categories are also asked for one by one, as `find` does
    kept_out: tuple[str, ...] = REFCOCO


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A training run.

    With `config` None, the network has the size of the starting checkpoint.  Images then have `image_size` pixels, or
    the checkpoint's number if `image_size` is None.
    """

    name: str
    about: str
    plan: Plan
    data: Drawing | Mixing
    config: Config | None = None
    image_size: int | None = None
    sigma: tuple[float, float] = (0.0, 0.0)  # width of a location token's target in bins, at the first and last step
    answer_limit: int = 1024  # tokens; longer answers are left out
    freeze: tuple[str, ...] = ()  # frozen parts, as prefixes of parameter names: "vision", "vision.stages.0"
    lora: int = 0  # rank of low-rank adapters, trained instead of the weights; 0: no adapters
    checkpointing: bool = False  # activation checkpointing: the backward pass computes activations again
    compile: bool = False
    stated: tuple[str, ...] = ()  # settings that the paper gives

    def __post_init__(self) -> None:
        """UsageError for a value out of range."""
        if self.lora < 0 or self.answer_limit < 1:
            raise UsageError(f"lora={self.lora}, answer_limit={self.answer_limit}: at least 0, at least 1")
        if self.image_size is not None and self.image_size < 32:
            raise UsageError(f"image_size={self.image_size}: at least 32 pixels, one cell of the last feature map")
        if isinstance(self.data, Drawing) and self.image_size is not None:
            raise UsageError(f"image_size={self.image_size}: recipe {self.name!r} trains at its config's own size")


@dataclass(frozen=True, slots=True, kw_only=True)
class RivalRecipe(Recipe):
    """A training run of a model that transformers loads, at its checkpoint's own image size.

    With `lora` above 0, low-rank adapters of the language model's linear maps are trained, and saved in PEFT's format;
    with 0, all weights that are not frozen.  An update is multiplied by `lora_alpha` / `lora`.
    """

    lora_alpha: int = 32
    lora_dropout: float = 0.0

    def __post_init__(self) -> None:
        """UsageError for a value out of range, and for a setting that only Florence-2 has."""
        Recipe.__post_init__(self)
        if self.lora_alpha < 1 or not 0 <= self.lora_dropout < 1:
            raise UsageError(
                f"lora_alpha={self.lora_alpha}, lora_dropout={self.lora_dropout}: at least 1, and a share below 1"
            )
        if self.config is not None or self.image_size is not None or self.compile or self.sigma != (0.0, 0.0):
            raise UsageError(f"recipe {self.name!r}: config, image_size, compile and sigma are settings of Florence-2")


LATER: tuple[tuple[str, object], ...] = (
    ("optimiser", "adamw"),
    ("rate_factor", 1.0),
    ("phase_precision", "bfloat16"),
    ("widths", (20.0, 8.0)),
    ("targets", {}),
    ("bins", 1000),
    ("order", "given"),
)


def described(value: Any) -> dict[str, Any]:
    """All settings of a recipe, a plan or an arm of a study, as digests and records have them.

    Settings that came later are left out at their defaults: runs from before there was a choice keep their identity.
    """
    return asdict(value, dict_factory=lambda pairs: {key: entry for key, entry in pairs if (key, entry) not in LATER})


RECIPE_KEYS = ("image_size", "answer_limit", "freeze", "lora", "checkpointing", "compile")
RIVAL_KEYS = ("answer_limit", "freeze", "lora", "lora_alpha", "lora_dropout", "checkpointing")


def changed(recipe: Recipe, changes: Mapping[str, str]) -> Recipe:
    """The recipe with changed settings, given as text: {"rate": "1e-5", "lora": "8"}.

    The keys are the fields of `Plan`, and RECIPE_KEYS or RIVAL_KEYS.

    UsageError for an unknown key or an invalid value.
    """
    own = RIVAL_KEYS if isinstance(recipe, RivalRecipe) else RECIPE_KEYS
    known = (*Plan.__dataclass_fields__, *own)
    for key, text in changes.items():
        if key not in known:
            raise UsageError(f"--set {key}={text}: recipes have no {key!r}; they have {', '.join(known)}")
        if key in own:
            value: Any = _parsed(key, text, getattr(recipe, key))
            recipe = replace(recipe, **{key: value})
        else:
            value = _parsed(key, text, getattr(recipe.plan, key))
            recipe = replace(recipe, plan=replace(recipe.plan, **{key: value}))
    return recipe


def _parsed(key: str, text: str, current: object) -> object:
    try:
        if key == "precision":
            return PRECISIONS[PRECISIONS.index(text)]
        if key == "optimiser":
            return OPTIMISERS[OPTIMISERS.index(text)]
        if key == "freeze":
            return tuple(part for part in text.split("+") if part)
        if key == "betas":
            first, second = map(float, text.split("+"))
            return first, second
        if isinstance(current, bool):
            return {"true": True, "false": False}[text.lower()]
        return float(text) if isinstance(current, float) else int(text)
    except (ValueError, KeyError) as error:
        choices = {"precision": PRECISIONS, "optimiser": OPTIMISERS}.get(key)
        known = f"there are {', '.join(choices)}" if choices else f"its value is {current!r}"
        raise UsageError(f"--set {key}={text}: not a value for {key!r}; {known}") from error
