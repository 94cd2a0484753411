"""What a checkpoint was trained on: `training.json` beside its weights, every run behind it, oldest first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import CheckpointError

NAME = "training.json"
Run = Mapping[str, Any]  # `identity`, `recipe`, `from` (a sha256), and `tasks`: name to splits, sha256 and counts


def history_of(folder: Path | None) -> list[Run] | None:
    """Every training run behind a checkpoint; None where it says nothing, CheckpointError where that is damaged."""
    path = folder / NAME if folder is not None else None
    if path is None or not path.is_file():
        return None
    try:
        runs: list[Run] = json.loads(path.read_text())["runs"]
        sound = isinstance(runs, list) and runs and all(_is_run(run) for run in runs)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error!r}); delete it where its history does not matter") from error
    if not sound:
        raise CheckpointError(
            f"{path} is damaged: it holds no list of runs; delete it where its history does not matter"
        )
    return runs


def _is_run(run: object) -> bool:
    if not (isinstance(run, dict) and isinstance(run.get("identity"), str) and isinstance(run.get("tasks"), dict)):
        return False
    return all(
        isinstance(told, dict)
        and isinstance(told.get("splits"), list)
        and all(isinstance(split, str) for split in told["splits"])
        for told in run["tasks"].values()
    )


def write_history(folder: Path, before: list[Run] | None, run: Run) -> None:
    """Adds a run to those behind the checkpoint that it began from."""
    (folder / NAME).write_text(json.dumps({"runs": [*(before or []), run]}, indent=1) + "\n")
