"""A run's curve: a table as it goes (`name.csv`), its picture (`name.png`), TensorBoard's files where there is one."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.training.recipe import Plan

EVERY = 20  # steps a row
PICTURES = 25  # a run
AFTER = ("rate", "images/s", "seconds left")


class Log:
    """One row every `EVERY` steps: the losses' means over them, the rate, images a second, seconds left.

    What a row that is not yet written holds is its state, so that the means of a run that was killed and goes on are
    those of one that was not.  Nothing is written where it is not `enabled`.
    """

    def __init__(self, path: Path, plan: Plan, *, enabled: bool = True) -> None:
        self.path, self.plan, self.enabled = path, plan, enabled
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, tuple[float, int]] = {}
        self.since, self.clock = 0, time.monotonic()
        self.board: Any = None
        self.columns: list[str] = []

    def going_on(self, start: int) -> Log:
        """From this step: rows at or past it, of a run that was killed, are dropped."""
        self.since, self.clock = start, time.monotonic()
        if self.enabled:
            self.rows = [row for row in read(self.path) if row["step"] < start]
            self._write()
            self.board = _board(self.path.parent)
        return self

    def state_dict(self) -> dict[str, tuple[float, int]]:
        """The sums of the row that is not yet written."""
        return dict(self.sums)

    def load_state_dict(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Takes them up again."""
        self.sums = dict(state)

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.enabled and len(self.rows) > 1:
            draw(self.rows, self.path.with_suffix(".png"))
        if self.board is not None:
            self.board.close()

    def __call__(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        """Adds a step."""
        if not self.enabled:
            return
        for kind, value in losses.items():
            total, count = self.sums.get(kind, (0.0, 0))
            self.sums[kind] = total + value, count + 1
        if (step + 1) % EVERY and step + 1 != self.plan.steps:
            return
        now = time.monotonic()
        speed = (step + 1 - self.since) * self.plan.batch / max(now - self.clock, 1e-9)
        self.since, self.clock = step + 1, now
        left = (self.plan.steps - step - 1) * self.plan.batch / speed
        means = {kind: total / count for kind, (total, count) in self.sums.items()}
        self.sums = {}
        self.rows.append({"step": step, **means, "rate": rate, "images/s": speed, "seconds left": left})
        self._write()
        if self.board is not None:
            for name, value in self.rows[-1].items():
                self.board.add_scalar(name.replace(" ", "_"), value, step)
        if len(self.rows) % max(1, self.plan.steps // EVERY // PICTURES) == 0 and len(self.rows) > 1:
            draw(self.rows, self.path.with_suffix(".png"))

    def _write(self) -> None:
        """The last row behind the others; the whole table anew where it has a column that they have not."""
        kinds = {name for row in self.rows for name in row} - {"step", "loss", *AFTER}
        columns = ["step", "loss", *sorted(kinds), *AFTER]
        again = columns != self.columns
        self.columns = columns
        target = self.path.with_name(f"{self.path.name}.partial") if again else self.path
        with target.open("w" if again else "a", newline="") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            if again:
                writer.writeheader()
            for row in self.rows if again else self.rows[-1:]:
                writer.writerow({name: value if name == "step" else f"{value:.6g}" for name, value in row.items()})
        if again:
            target.replace(self.path)


def read(path: Path) -> list[dict[str, float]]:
    """A log's rows; none where there is no such file.  Cells that are empty are left out."""
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as stream:
        lines = list(csv.DictReader(line.replace("\0", "") for line in stream))
    return [row for row in map(_numbers, lines) if row]


def _numbers(line: dict[str, str]) -> dict[str, float]:
    """A line's numbers; none where it is damaged."""
    try:
        found = {name: int(value) if name == "step" else float(value) for name, value in line.items() if value}
    except (ValueError, TypeError):
        return {}
    return found if "step" in found else {}


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """The curve of every loss and of the rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    kinds = sorted({name for row in rows for name in row} - {"step", "right", *AFTER})
    for kind in kinds:
        points = [(row["step"], row[kind]) for row in rows if kind in row and math.isfinite(row[kind])]
        axes.plot(*zip(*points, strict=True), label=kind, linewidth=2 if kind == "loss" else 1)
    axes.set(xlabel="step", ylabel="loss (nats a token)", yscale="log")
    rate = axes.twinx()
    rate.plot([row["step"] for row in rows], [row["rate"] for row in rows], color="grey", linestyle=":", linewidth=1)
    rate.set_ylabel("learning rate (dotted)")
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=110)


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))
