"""The training history of a checkpoint: `training.json` beside the weights lists all its runs, oldest first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError

NAME = "training.json"
TrainingRun = Mapping[str, Any]  # `identity`, `recipe`, `from` (a sha256), and `tasks`: name to splits, sha256, counts


def history_of(folder: Path | None) -> list[TrainingRun] | None:
    """All training runs behind the checkpoint in `folder`, oldest first; None without a folder or a history file.

    CheckpointError for a damaged history file.
    """
    path = folder / NAME if folder is not None else None
    if path is None or not path.is_file():
        return None
    try:
        runs: list[TrainingRun] = json.loads(path.read_text())["runs"]
        valid = isinstance(runs, list) and runs and all(_is_run(run) for run in runs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error!r}); delete the file if its history does not matter"
        ) from error
    if not valid:
        raise CheckpointError(
            f"{path} is damaged: it holds no list of runs; delete the file if its history does not matter"
        )
    return runs


def _is_run(run: object) -> bool:
    if not (isinstance(run, dict) and isinstance(run.get("identity"), str) and isinstance(run.get("tasks"), dict)):
        return False
    return all(
        isinstance(task, dict)
        and isinstance(task.get("splits"), list)
        and all(isinstance(split, str) for split in task["splits"])
        for task in run["tasks"].values()
    )


def write_history(folder: Path, before: list[TrainingRun] | None, run: TrainingRun) -> None:
    """Writes the history file: the runs of the starting checkpoint (`before`), then `run`."""
    (folder / NAME).write_text(json.dumps({"runs": [*(before or []), run]}, indent=1) + "\n")
