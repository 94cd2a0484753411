"""How a model is named and built: an Entry says what the model is, a Setting and its own options how it runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from harness.core import Kind, Model, Sample
from harness.errors import UsageError

NAME = re.compile(r"[\w.+@-][\w .+@()-]{0,99}")
RESERVED = frozenset({
    "task", "model", "split", "data", "protocol", "limit", "seed", "export", "out", "fresh", "json", "name", "command",
    "annotations", "images", "caption_scorer", "meteor", "spice", "detection_scorer", "scoring", "options", "scenario",
    "level", "new_tokens", "against", "rate", "target", "stages", "to", "root", "samples", "weights", "device", "dtype",
    "batch_size",
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every model is given.  None leaves the choice to the model.

    `root` is the data root that image references are relative to; `samples` are for oracles, which answer with the
    targets: no other model may look at them.
    """

    root: Path = Path()
    samples: Sequence[Sample[Any]] = ()
    weights: str | None = None  # a checkpoint folder, or a hub repository (owner/name[@revision])
    device: str | None = None  # "cpu", "cuda", "cuda:1"
    dtype: str | None = None
    batch_size: int | None = None

    @property
    def given(self) -> list[str]:
        """The names of the settings that are not left to the model."""
        return [name for name in ("weights", "device", "dtype", "batch_size") if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True)
class NoOptions:
    """The options of a model that has none of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model by name, and what the harness may do with it.  Naming a model loads nothing.

    `build(setting, options)` gives the Model, where `options` is an instance of `options`, a frozen dataclass whose
    fields all have defaults: `run --model NAME --help` shows them, with the string below each field as its help.
    `uses` names the fields of Setting that the model takes; the others are refused.  `kinds` are the question kinds
    it answers (None: all of them).  The hooks are None where the model has no such ability:

    - `refuse(setting, options)` raises UsageError or ResourceError for a setting that cannot work, before any loading;
    - `at_hand()` says where the weights lie on this machine ("" if nowhere);
    - `checkpoint(weights)` gives the folder of the weights, fetched if need be: fine-tuning starts from it, and its
      `training.json` says what they were trained on;
    - `bench(setting, options, request)` gives what `bench` measures (see `harness.speed.systems`).
    """

    name: str
    about: str
    build: Callable[[Setting, Any], Model]
    options: type[Any] = NoOptions
    uses: frozenset[str] = frozenset()
    kinds: frozenset[Kind] | None = None
    refuse: Callable[[Setting, Any], None] | None = None
    at_hand: Callable[[], str] = lambda: "needs none"
    parameters: str = "-"
    repo: str = "-"
    revision: str = "-"
    embedded: bool = False  # made for the embedded benchmark, which is its data where none is given
    sees_targets: bool = False  # an oracle: built anew for each task, from its samples
    protocol: str = "zero_shot"  # the protocol of its published figures
    checkpoint: Callable[[str | None], Path] | None = None
    recipe: str = ""  # what `finetune` uses where none is named
    bench: Callable[[Setting, Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        """UsageError for a name or an options class that the command line cannot take."""
        if not NAME.fullmatch(self.name):
            raise UsageError(f"the model name {self.name[:60]!r}: up to 100 letters, digits, spaces and . _ + @ ( ) -")
        if not is_dataclass(self.options):
            raise UsageError(f"model {self.name}: options is {self.options!r}; a frozen dataclass is expected")
        names = {field.name for field in fields(self.options)}
        if clash := sorted(names & RESERVED):
            raise UsageError(f"model {self.name}: its option {clash[0]!r} has the name of an option of the harness")
        for field in fields(self.options):
            if field.default is MISSING and field.default_factory is MISSING:
                raise UsageError(f"model {self.name}: its option {field.name!r} has no default")

    def options_from(self, given: Mapping[str, Any]) -> Any:
        """An instance of `options`; UsageError, naming what there is, for one that the model does not have."""
        known = [field.name for field in fields(self.options)]
        for name in given:
            if name not in known:
                there = f"it has {', '.join(known)}" if known else "it has no options of its own"
                raise UsageError(f"model {self.name} has no option {name!r}; {there}")
        return self.options(**given)

    def load(self, setting: Setting, **options: Any) -> Model:
        """The model, ready to answer; UsageError for a setting or an option that it does not take."""
        chosen = self.options_from(options)
        self.check(setting, chosen)
        return self.build(setting, chosen)

    def check(self, setting: Setting, options: Any) -> None:
        """UsageError or ResourceError for a setting that the model cannot run by."""
        for name in ("weights", "device", "dtype"):
            value = getattr(setting, name)
            if value is not None and not value.strip():
                raise UsageError(f"--{name} is empty")
        refused = [f"--{name.replace('_', '-')}" for name in setting.given if name not in self.uses]
        if refused:
            raise UsageError(f"{', '.join(refused)}: model {self.name} takes no such setting")
        if self.refuse is not None:
            self.refuse(setting, options)
