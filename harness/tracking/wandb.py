"""Weights & Biases.  Its own variables choose the mode and the place: WANDB_MODE=offline, WANDB_PROJECT, WANDB_DIR.

The command line, the console, the code and the state of git are not sent, since they may hold what is private.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from harness.sinks import file_name
from harness.tracking.events import PROJECT, Fact, Status


class WandB:
    """One run."""

    def __init__(self, name: str, facts: Mapping[str, Fact], folder: Path) -> None:
        import wandb

        directory = os.environ.get("WANDB_DIR") or str(folder)
        Path(directory).mkdir(parents=True, exist_ok=True)
        self._wandb = wandb
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            name=name,
            dir=directory,
            config=dict(facts),
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, disable_code=True, x_disable_meta=True
            ),
        )

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def artifact(self, path: Path) -> None:
        artifact = self._wandb.Artifact(file_name(f"{self._run.id}-{path.name}"), type="record")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def finish(self, status: Status) -> None:
        self._run.summary["status"] = status
        self._run.finish(exit_code=0 if status == "finished" else 1)
