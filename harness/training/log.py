"""The training log of a run: a table (`name.csv`), its plot (`name.png`), and TensorBoard files where installed.

The rows go to the trackers of `--log-to` as well, and the table and the plot when the training ends.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from harness import sinks, tracking
from harness.training.recipe import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STEPS_PER_ROW = 20
PLOTS_PER_RUN = 25
LAST_COLUMNS = ("rate", "images/s", "seconds left")


class Log:
    """A table with a row every `STEPS_PER_ROW` steps: mean losses, learning rate, images per second, seconds left.

    The state of a log is the sums of its unfinished row, so a resumed run has the same means as an uninterrupted run.
    A log that is not `enabled` writes nothing.
    """

    def __init__(self, path: Path, plan: Plan, *, enabled: bool = True) -> None:
        self.path, self.plan, self.enabled = path, plan, enabled
        self.rows: list[dict[str, float]] = []
        self.sums: dict[str, tuple[float, int]] = {}
        self.since, self.clock = 0, time.monotonic()
        self.board: Any = None
        self.columns: list[str] = []

    def starting_at(self, step: int) -> Log:
        """This log, with the rows of an interrupted run at or after `step` dropped."""
        self.since, self.clock = step, time.monotonic()
        if self.enabled:
            self.rows = [row for row in read(self.path) if row["step"] < step]
            self._write()
            self.board = None if tracking.used("tensorboard") else _board(self.path.parent)
        return self

    def state_dict(self) -> dict[str, tuple[float, int]]:
        """The sum and the count of each loss in the unfinished row."""
        return dict(self.sums)

    def load_state_dict(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Restores the unfinished row."""
        self.sums = dict(state)

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self.enabled and len(self.rows) > 1:
            plot(self.rows, self.path.with_suffix(".png"))
        if self.enabled:
            tracking.artifact(self.path)
            tracking.artifact(self.path.with_suffix(".png"))
        if self.board is not None:
            self.board.close()

    def __call__(self, step: int, losses: Mapping[str, float], rate: float) -> None:
        """Adds a step: the loss of each kind, and the learning rate.  A kind may be the name of an outside task."""
        if not self.enabled:
            return
        for kind, value in losses.items():
            kind = sinks.csv_cell(sinks.line(kind))
            total, count = self.sums.get(kind, (0.0, 0))
            self.sums[kind] = total + value, count + 1
        if (step + 1) % STEPS_PER_ROW and step + 1 != self.plan.steps:
            return
        now = time.monotonic()
        speed = (step + 1 - self.since) * self.plan.batch / max(now - self.clock, 1e-9)
        self.since, self.clock = step + 1, now
        left = (self.plan.steps - step - 1) * self.plan.batch / speed
        means = {kind: total / count for kind, (total, count) in self.sums.items()}
        self.sums = {}
        self.rows.append({"step": step, **means, "rate": rate, "images/s": speed, "seconds left": left})
        self._write()
        tracking.log({name: value for name, value in self.rows[-1].items() if name != "step"}, step + 1)
        if self.board is not None:
            for name, value in self.rows[-1].items():
                self.board.add_scalar(name.replace(" ", "_"), value, step)
        if len(self.rows) % max(1, self.plan.steps // STEPS_PER_ROW // PLOTS_PER_RUN) == 0 and len(self.rows) > 1:
            plot(self.rows, self.path.with_suffix(".png"))

    def _write(self) -> None:
        """Appends the last row; rewrites the whole table if that row adds a column."""
        kinds = {name for row in self.rows for name in row} - {"step", "loss", *LAST_COLUMNS}
        columns = ["step", "loss", *sorted(kinds), *LAST_COLUMNS]
        rewrite = columns != self.columns
        self.columns = columns
        target = self.path.with_name(f"{self.path.name}.partial") if rewrite else self.path
        with target.open("w" if rewrite else "a", newline="") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            if rewrite:
                writer.writeheader()
            for row in self.rows if rewrite else self.rows[-1:]:
                writer.writerow({name: value if name == "step" else f"{value:.6g}" for name, value in row.items()})
        if rewrite:
            target.replace(self.path)


def read(path: Path) -> list[dict[str, float]]:
    """The rows of a log, without empty cells and damaged lines; an empty list where there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", errors="replace") as stream:
        lines = list(csv.DictReader(line.replace("\0", "") for line in stream))
    return [row for row in map(_numbers, lines) if row]


def _numbers(line: dict[str, str]) -> dict[str, float]:
    """The numbers of a line; an empty dictionary for a damaged line."""
    try:
        row = {name: int(value) if name == "step" else float(value) for name, value in line.items() if value}
    except (ValueError, TypeError):
        return {}
    return row if "step" in row else {}


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Writes an image of every loss curve and of the learning rate, by step, to `path`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"text.parse_math": False}):
        _plot(Figure(figsize=(8, 4.5), layout="constrained"), rows, path)


def _plot(figure: Figure, rows: list[dict[str, float]], path: Path) -> None:
    axes = figure.add_subplot()
    kinds = sorted({name for row in rows for name in row} - {"step", "right", *LAST_COLUMNS})
    for kind in kinds:
        points = [(row["step"], row[kind]) for row in rows if kind in row and math.isfinite(row[kind])]
        axes.plot(*zip(*points, strict=True), label=sinks.label(kind), linewidth=2 if kind == "loss" else 1)
    axes.set(xlabel="step", ylabel="loss (nats per token)", yscale="log")
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
