"""How a model is named and made: an Entry says what it is, a Setting how it is to be run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Model, Sample
from harness.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every model is given; None leaves the choice to the model.

    `samples` are for the oracles, which answer with the targets; no other model may look at them.
    """

    root: Path
    samples: Sequence[Sample[Any]] = ()
    weights: str | None = None
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    beams: int | None = None
    max_new_tokens: int | None = None
    resolution: int | None = None
    prompt: str | None = None
    threads: str | None = None
    fast_resize: bool = False

    def refuse_options(self, model: str) -> None:
        """UsageError where something is chosen for a network, and the model is none."""
        options = (
            "weights", "device", "dtype", "batch_size", "beams", "max_new_tokens", "resolution", "prompt", "threads",
        )  # fmt: skip
        given = [f"--{name.replace('_', '-')}" for name in options if getattr(self, name) is not None]
        if given or self.fast_resize:
            raise UsageError(f"{', '.join(given) or '--fast-resize'}: {model} is no network, and takes no such option")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model by name.  `build` loads it; `at_hand` says, without loading, where its weights are ('' if nowhere)."""

    about: str
    build: Callable[[Setting], Model]
    at_hand: Callable[[], str]
    parameters: str = "-"
    repo: str = "-"
    revision: str = "-"
    embedded: bool = False  # made for the embedded benchmark, which is its data where none is given
    sees_targets: bool = False  # an oracle: built anew for each task, from its samples
    protocol: str = "zero_shot"  # the protocol its published figures are under
