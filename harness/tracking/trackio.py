"""Trackio, Hugging Face's local tracker: TRACKIO_DIR names its folder, TRACKIO_SPACE_ID a Space to send runs to.

Trackio needs Pillow below 13, so constraints.txt of this project does not hold it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from harness.tracking.events import PROJECT, Fact, Status


class Trackio:
    """One run.  What Trackio prints goes to stderr, because stdout is for results."""

    def __init__(self, name: str, facts: Mapping[str, Fact], folder: Path) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            self._run = trackio.init(project=PROJECT, name=name, config=dict(facts), embed=False)

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def artifact(self, path: Path) -> None:
        with redirect_stdout(sys.stderr):
            self._run.log_artifact(str(path), type="record")

    def finish(self, status: Status) -> None:
        import trackio

        with redirect_stdout(sys.stderr):
            trackio.finish()  # not `self._run.finish()`, after which Trackio finishes the run again at the exit
