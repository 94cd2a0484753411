"""What a checkpoint was trained on: `training.json` beside its weights, every run behind it, oldest first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "training.json"
Run = Mapping[str, Any]  # `identity`, `recipe`, `from` (a sha256), and `tasks`: name to splits, sha256 and counts


def history_of(folder: Path | None) -> list[Run] | None:
    """Every training run behind a checkpoint; None where it says nothing."""
    if folder is None or not (folder / NAME).is_file():
        return None
    runs: list[Run] = json.loads((folder / NAME).read_text())["runs"]
    return runs


def write_history(folder: Path, before: list[Run] | None, run: Run) -> None:
    """Adds a run to those behind the checkpoint that it began from."""
    (folder / NAME).write_text(json.dumps({"runs": [*(before or []), run]}, indent=1) + "\n")
