"""Names and builds models: an Entry describes a model; a Setting and the model's own options say how it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from baselines.examples import Examples
from harness.core import Kind, Model, Sample, Task
from harness.errors import UsageError

GENERAL: frozenset[Kind] = frozenset(get_args(Kind)) - {"embed", "match"}  # these two must be declared by a model
NAME = re.compile(r"[\w.+@-][\w .+@()-]{0,99}")
RESERVED = frozenset({
    "task", "model", "split", "data", "protocol", "limit", "seed", "export", "out", "fresh", "json", "name", "command",
    "annotations", "images", "caption_scorer", "meteor", "spice", "detection_scorer", "scoring", "options", "scenario",
    "level", "new_tokens", "against", "rate", "target", "stages", "to", "root", "samples", "weights", "device", "dtype",
    "batch_size", "candidates", "top",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The part of a data set that is evaluated: a task, a split, and the digest of its annotations.

    `samples` are all samples of the split, with excluded ones and without a limit.  `training_root` returns the data
    root of the training splits; the embedded benchmark draws it on first use.
    """

    task: Task[Any]
    split: str
    data_hash: str
    samples: Sequence[Sample[Any]]
    training_root: Callable[[], Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The settings that all models share.  None leaves the choice to the model."""

    root: Path = Path()  # the data root, to which image references are relative
    samples: Sequence[Sample[Any]] = ()  # for oracles, which answer with the targets; no other model may use them
    part: Part | None = None  # for models that are built for each task; None outside an evaluation
    examples: Examples | None = None  # for models that take examples; None without
    weights: str | None = None  # a checkpoint folder, or a hub repository (owner/name[@revision])
    device: str | None = None  # "cpu", "cuda", "cuda:1"
    dtype: str | None = None
    batch_size: int | None = None

    @property
    def given(self) -> list[str]:
        """The names of the settings that are not None."""
        return [name for name in ("weights", "device", "dtype", "batch_size") if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a model without options."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model by name, and the functions by which the harness uses it.  Creating an Entry loads nothing.

    `options` is a frozen dataclass whose fields all have defaults.  `run --model NAME --help` shows its fields, with
    the string below each field as help.  `build(setting, options)` returns the Model for an instance of it.

    The following functions are None where the model does not support them:

    - `kinds_of(options)` returns the kinds of question that it answers, where they depend on the options.
    - `categories(weights)` returns the names of all categories that it can detect with these weights (None: its own).
      A task with another category is left out.
    - `shots(options)` returns how many examples of the task's training split precede each question.  Where that is
      not 0, the model is built again for each task, with `Setting.examples`.
    - `refuse(setting, options)` raises UsageError or ResourceError for a setting that cannot work, before any loading.
    - `at_hand()` returns the place of the weights on this machine, "" where they are not on it.
    - `checkpoint(weights)` returns the folder of the weights and downloads them if necessary.  Fine-tuning starts from
      it, and its file `training.json` states the training data.
    - `base(folder)` returns the folder that supplies what a checkpoint's folder lacks: the weights that an adapter is
      merged onto, or a tokenizer.  None if it lacks nothing.
    - `teach(weights, recipe, device)` returns the `harness.training.learner.Learner` of a model whose training is not
      Florence-2's.  It needs `checkpoint` too.
    - `bench(setting, options, request)` returns the subject of `bench` (see `harness.speed.systems`).
    """

    name: str
    about: str
    build: Callable[[Setting, Any], Model]
    options: type[Any] = NoOptions
    uses: frozenset[str] = frozenset()  # the fields of Setting that the model takes; others are refused
    kinds: frozenset[Kind] | None = None  # the kinds of question that it answers; None: all of GENERAL
    kinds_of: Callable[[Any], frozenset[Kind]] | None = None  # instead of `kinds`
    categories: Callable[[str | None], Collection[str]] | None = None
    shots: Callable[[Any], int] | None = None
    refuse: Callable[[Setting, Any], None] | None = None
    at_hand: Callable[[], str] = lambda: "needs none"
    parameters: str = "-"
    repo: str = "-"
    revision: str = "-"
    licence: str = ""  # of the weights; "" where it is not established
    embedded: bool = False  # the embedded benchmark is its default data
    per_task: bool = False  # built again for each task and split, with `Setting.part`
    sees_targets: bool = False  # an oracle: built again for each task, from the task's samples
    protocol: str = "zero_shot"  # of its published figures
    checkpoint: Callable[[str | None], Path] | None = None
    base: Callable[[Path], Path | None] | None = None
    recipe: str = ""  # the default recipe of `finetune`
    teach: Callable[[str | None, Any, str], Any] | None = None
    bench: Callable[[Setting, Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        """UsageError for a name or an options class that the command line cannot use."""
        if not NAME.fullmatch(self.name):
            allowed = "up to 100 letters, digits, spaces and . _ + @ ( ) -"
            raise UsageError(f"the model name {self.name[:60]!r} is not valid; allowed are {allowed}")
        if not is_dataclass(self.options):
            raise UsageError(f"model {self.name}: options is {self.options!r}; a frozen dataclass is expected")
        names = {field.name for field in fields(self.options)}
        if clash := sorted(names & RESERVED):
            raise UsageError(f"model {self.name}: its option {clash[0]!r} has the name of an option of the harness")
        for field in fields(self.options):
            if field.default is MISSING and field.default_factory is MISSING:
                raise UsageError(f"model {self.name}: its option {field.name!r} has no default")

    def options_from(self, values: Mapping[str, Any]) -> Any:
        """An instance of `options`; UsageError, with the existing options, for an unknown name."""
        known = [field.name for field in fields(self.options)]
        for name in values:
            if name not in known:
                existing = f"it has {', '.join(known)}" if known else "it has no options of its own"
                raise UsageError(f"model {self.name} has no option {name!r}; {existing}")
        return self.options(**values)

    def answers(self, options: Mapping[str, Any]) -> frozenset[Kind]:
        """The kinds of question that the model answers with these options."""
        if self.kinds_of is not None:
            return self.kinds_of(self.options_from(options))
        return GENERAL if self.kinds is None else self.kinds

    def shots_of(self, options: Mapping[str, Any]) -> int:
        """How many examples precede each question with these options; 0 for a model that takes none."""
        return self.shots(self.options_from(options)) if self.shots is not None else 0

    def load(self, setting: Setting, **options: Any) -> Model:
        """The model, ready to answer; UsageError or ResourceError for a setting or an option that it cannot use."""
        chosen = self.options_from(options)
        self.check(setting, chosen)
        return self.build(setting, chosen)

    def check(self, setting: Setting, options: Any) -> None:
        """UsageError or ResourceError for a setting or options that the model cannot use."""
        for name in ("weights", "device", "dtype"):
            value = getattr(setting, name)
            if value is not None and not value.strip():
                raise UsageError(f"--{name} is empty")
        refused = [f"--{name.replace('_', '-')}" for name in setting.given if name not in self.uses]
        if refused:
            raise UsageError(f"{', '.join(refused)}: model {self.name} takes no such setting")
        if self.refuse is not None:
            self.refuse(setting, options)
