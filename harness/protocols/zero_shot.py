"""The model as it is; what its weights have seen of a task is read from what their checkpoint says of its training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Task

TRAINING = "training.json"  # beside a checkpoint's weights


@dataclass(frozen=True, slots=True)
class Seen:
    """A task's training data as a checkpoint was trained on it, oldest run first; `known` False: nothing is said."""

    known: bool
    splits: tuple[str, ...] = ()

    def said(self) -> str:
        """For records."""
        if not self.known:
            return "unknown: the checkpoint says nothing of its training"
        return f"trained on {', '.join(self.splits)}" if self.splits else "none of this task's data"


def seen(task: Task[Any], folder: Path | None) -> Seen:
    """What the checkpoint in `folder` was trained on of a task."""
    history = history_of(folder)
    if history is None:
        return Seen(False)
    splits = [split for run in history for split in run.get("tasks", {}).get(task.name, {}).get("splits", ())]
    return Seen(True, tuple(dict.fromkeys(splits)))


def history_of(folder: Path | None) -> list[Mapping[str, Any]] | None:
    """Every training run behind a checkpoint, oldest first; None where it says nothing."""
    if folder is None or not (folder / TRAINING).is_file():
        return None
    history: list[Mapping[str, Any]] = json.loads((folder / TRAINING).read_text())["runs"]
    return history
