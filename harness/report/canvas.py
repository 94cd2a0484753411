"""What figures of runs are drawn on: a panel a task, a colour a model, and every number kept for a table.

Which runs a figure shows is decided here as well: one stands for all of the same, and of a task's splits it is that
which most models have.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import Run
from harness.report.breakdown import Breakdown
from harness.report.ours import standing_for
from harness.report.speed import COLOURS
from harness.report.text import MINIATURE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKS = "os^Dv*P"
LINES = ("-", "--", "-.", ":")
ACROSS = 3  # panels
COLUMNS = ("data", "figure", "task", "model", "name", "value", "low", "high", "n")
STYLE: dict[Any, Any] = {"svg.hashsalt": "figures", "svg.fonttype": "path", "font.size": 8, "axes.spines.top": False,
         "axes.spines.right": False, "text.parse_math": False}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Told:
    """A run and what it gets wrong."""

    run: Run
    parts: Breakdown
    model: str = ""  # as figures name it


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure as the page shows it: files without a suffix have an .svg and a .png."""

    file: str
    title: str
    says: str


@dataclass(frozen=True, slots=True)
class Line:
    """One number of a figure, for the table."""

    data: str
    figure: str
    task: str
    model: str
    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int


class Canvas:
    """Where a data set's figures go, and the colour of every model in all of them."""

    def __init__(self, data: str, folder: Path, models: Iterable[str]) -> None:
        self.data, self.folder = data, folder
        self.models = {name: place for place, name in enumerate(sorted(set(models)))}
        self.drawn: list[Drawn] = []
        self.lines: list[Line] = []

    def style(self, model: str) -> dict[str, Any]:
        """A model's colour and line, for matplotlib."""
        place = self.models[model]
        return {"color": COLOURS[place % len(COLOURS)], "linestyle": LINES[place // len(COLOURS) % len(LINES)]}

    def mark(self, model: str) -> str:
        """A model's marker."""
        return MARKS[self.models[model] % len(MARKS)]

    def line(self, figure: str, task: str, model: str, name: str, numbers: Sequence[float | None], n: int) -> None:
        """Keeps a number for the table: its value, or that and both ends of its interval."""
        value, low, high = (*numbers, None, None)[:3]
        self.lines.append(Line(self.data, figure, task, model, name, value, low, high, n))

    def panels(
        self, name: str, title: str, says: str, tasks: Sequence[str], draw: Callable[[Axes, str], None], height: float
    ) -> None:
        """A figure of a panel for every task, saved."""
        from matplotlib.figure import Figure

        across = min(ACROSS, len(tasks))
        down = math.ceil(len(tasks) / across)
        figure = Figure(figsize=(max(4.2, 3.2 * across), 0.7 + height * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
        for task, panel in zip(tasks, axes, strict=False):
            draw(panel, task)
            panel.set_title(task, fontsize=9)
        for panel in axes[len(tasks) :]:
            panel.remove()
        handles: dict[str, Any] = {}
        for panel in axes[: len(tasks)]:
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        if handles:
            figure.legend(
                handles.values(),
                handles.keys(),
                loc="outside lower center",
                ncols=2 if across == 1 else 4,
                frameon=False,
            )
        apart = MINIATURE.replace(": ", ":\n") if self.data == "miniature" else self.data
        figure.suptitle(f"{title}\n{apart}", fontsize=8)
        self._save(figure, f"{_safe(self.data)}-{name}")
        self.drawn.append(Drawn(f"{_safe(self.data)}-{name}", f"{title}, {self.data}", says))

    def _save(self, figure: Figure, name: str) -> None:
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(self.folder / f"{name}.png", dpi=110, metadata={"Software": None})


def of_one_split(told: Sequence[Told]) -> list[Told]:
    """The runs of each task's split that most models have; of several such, the first by name."""
    models: dict[str, dict[str, set[str]]] = {}
    for one in told:
        models.setdefault(one.run.spec.task, {}).setdefault(one.run.spec.split, set()).add(one.model)
    chosen = {task: min(splits, key=lambda split: (-len(splits[split]), split)) for task, splits in models.items()}
    return [one for one in told if chosen[one.run.spec.task] == one.run.spec.split]


def one_each(told: Sequence[Told]) -> list[Told]:
    """One run of each model, protocol, task and split: that which stands for them (`ours.standing_for`); a model of
    which there are several protocols is told with each."""
    several: dict[tuple[str, ...], list[Told]] = {}
    protocols: dict[str, set[str]] = {}
    for one in told:
        spec = one.run.spec
        several.setdefault((spec.data, spec.task, spec.split, spec.model, spec.protocol), []).append(one)
        protocols.setdefault(spec.model, set()).add(spec.protocol)
    found = []
    for some in several.values():
        run = standing_for([one.run for one in some])
        chosen = next(one for one in some if one.run is run)
        spec = run.spec
        name = f"{spec.model}, {spec.protocol.replace('_', '-')}" if len(protocols[spec.model]) > 1 else spec.model
        found.append(replace(chosen, model=f" {name}" if name.startswith("_") else name))  # matplotlib hides those
    return found


def as_csv(lines: Sequence[Line]) -> str:
    """One line a number, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow(["" if one is None else one for one in (getattr(line, name) for name in COLUMNS)])
    return out.getvalue()


def _safe(name: str) -> str:
    return "".join(sign if sign.isalnum() or sign in "-_" else "_" for sign in name)
