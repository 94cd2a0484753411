"""The model as it is; what its weights have seen of a task is what their checkpoint says of its training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Task
from harness.training.history import history_of


@dataclass(frozen=True, slots=True)
class Seen:
    """The splits of a task that a checkpoint was trained on, oldest run first, and the other tasks it was trained on.

    `known` False: nothing is said.  Another task may have the same images, or annotations of them.
    """

    known: bool
    splits: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def said(self) -> str:
        """For records."""
        if not self.known:
            return "unknown: the checkpoint says nothing of its training"
        others = f"; also on {', '.join(self.others)}" if self.others else ""
        return (
            f"trained on this task's {', '.join(self.splits)}{others}"
            if self.splits
            else f"not trained on this task{others}"
        )


def seen(task: Task[Any], folder: Path | None) -> Seen:
    """What the checkpoint in `folder` was trained on of a task."""
    history = history_of(folder)
    if history is None:
        return Seen(False)
    splits = [split for run in history for split in run["tasks"].get(task.name, {}).get("splits", ())]
    others = dict.fromkeys(name for run in history for name in run["tasks"] if name != task.name)
    return Seen(True, tuple(dict.fromkeys(splits)), tuple(others))
