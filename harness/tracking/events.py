"""The events that a tracker receives, and the trackers by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

Status = Literal["finished", "failed", "interrupted"]
Fact = str | int | float | bool | None


class Tracker(Protocol):
    """One run in one tracker.  The run starts when the object is made: `Tracker(name, facts, folder)`.

    `folder` is where local files go, unless the tracker's own environment variables name another place.
    """

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers at a step, under names that `plain` made."""
        ...

    def artifact(self, path: Path) -> None:
        """A file, which is copied."""
        ...

    def finish(self, status: Status) -> None:
        """The end of the run."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A tracker: the `module.Class` that implements it, the package that it needs, and how to install that."""

    implementation: str
    package: str
    install: str


TRACKERS = {
    "tensorboard": Kind("tensorboard.TensorBoard", "tensorboard", "pip install 'florence2-harness[tensorboard]'"),
    "wandb": Kind("wandb.WandB", "wandb", "pip install 'florence2-harness[wandb]'"),
    "mlflow": Kind("mlflow.MLflow", "mlflow", "pip install 'florence2-harness[mlflow]'"),
    "trackio": Kind("trackio.Trackio", "trackio", "pip install trackio, in an environment with Pillow below 13"),
}
PROJECT = "florence2-harness"  # the project or experiment of all runs


def plain(name: str) -> str:
    """A name that every tracker takes: letters, digits and - _ . / only, so "Acc@0.5 low" is "Acc_0.5_low"."""
    return re.sub(r"[^\w./-]", "_", name)
