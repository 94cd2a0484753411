"""The zero-shot protocol: the training data of a checkpoint, from its own training history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Task
from harness.training.history import history_of


@dataclass(frozen=True, slots=True)
class Seen:
    """The training data of a checkpoint, with respect to one task.

    Another task may share images, or annotations, with this task.
    """

    known: bool  # False for a checkpoint without a training history
    splits: tuple[str, ...] = ()  # splits of this task, oldest run first
    others: tuple[str, ...] = ()  # names of the other tasks

    def said(self) -> str:
        """A description for run records."""
        if not self.known:
            return "unknown: the checkpoint says nothing of its training"
        others = f"; also on {', '.join(self.others)}" if self.others else ""
        return (
            f"trained on this task's {', '.join(self.splits)}{others}"
            if self.splits
            else f"not trained on this task{others}"
        )


def seen(task: Task[Any], folder: Path | None, base: Path | None = None) -> Seen:
    """The training data of the checkpoint in `folder`, with respect to `task`.

    For an adapter without a history of its own, `base` is the folder of its base model.  If that was trained on the
    task, so were the merged weights; if not, the adapter may have been.

    CheckpointError for a damaged training history.
    """
    history = history_of(folder)
    if history is None:
        before = seen(task, base) if base is not None else None
        return before if before is not None and before.splits else Seen(False)
    splits = [split for run in history for split in run["tasks"].get(task.name, {}).get("splits", ())]
    others = dict.fromkeys(name for run in history for name in run["tasks"] if name != task.name)
    return Seen(True, tuple(dict.fromkeys(splits)), tuple(others))
