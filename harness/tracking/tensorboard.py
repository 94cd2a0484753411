"""TensorBoard: event files below `tensorboard/` of the folder, one folder for each run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from harness.sinks import file_name
from harness.tracking.events import Fact, Status


class TensorBoard:
    """One run.  Facts and names of artifacts are texts; TensorBoard keeps no files."""

    def __init__(self, name: str, facts: Mapping[str, Fact], folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        started = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        self._writer = SummaryWriter(str(folder / "tensorboard" / f"{file_name(name)}-{started}"))
        self._text("facts", "\n".join(f"    {key}: {value}" for key, value in facts.items()))

    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def artifact(self, path: Path) -> None:
        self._text(f"artifacts/{path.name}", str(path))

    def finish(self, status: Status) -> None:
        self._text("status", status)
        self._writer.close()

    def _text(self, name: str, text: str) -> None:
        self._writer.add_text(name, text)
