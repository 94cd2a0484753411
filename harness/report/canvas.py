"""The canvas of run figures: one panel per task, one colour per model, and every plotted number kept for a table.

This module also selects the runs to plot: one representative run per model, protocol, task and split, and of each task
the split that most models have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import Run
from harness.report.breakdown import Breakdown
from harness.report.ours import highest, representative
from harness.report.speed import COLOURS
from harness.report.text import MINIATURE
from harness.sinks import csv_text, file_name, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "os^Dv*P"
LINE_STYLES = ("-", "--", "-.", ":")
PANELS_IN_A_ROW = 3
MOST_RUNS = 40  # in a panel; with more, nobody can tell their colours apart, and an image has too many pixels to save
LEGEND_ROW = 0.2  # inches; two rows fit without them
COLUMNS = ("data", "figure", "task", "model", "name", "value", "low", "high", "n")
STYLE: dict[Any, Any] = {"svg.hashsalt": "figures", "svg.fonttype": "path", "font.size": 8, "axes.spines.top": False,
         "axes.spines.right": False, "text.parse_math": False}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AnalysedRun:
    """A run with its error analysis.  `model` is the label in legends."""

    run: Run
    parts: Breakdown
    model: str = ""


@dataclass(frozen=True, slots=True)
class FigureFile:
    """A figure as the page shows it.  `file` has no suffix: there is an .svg and a .png."""

    file: str
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class PlottedNumber:
    """One number of a figure: a line of `figures.csv`."""

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
    """Draws the figures of one data set; each model has the same colour in all of them.

    `figures` and `numbers` collect what was drawn.
    """

    def __init__(self, data: str, folder: Path, models: Iterable[str]) -> None:
        self.data, self.folder = data, folder
        self.models = {name: place for place, name in enumerate(sorted(set(models)))}
        self.figures: list[FigureFile] = []
        self.numbers: list[PlottedNumber] = []

    def style(self, model: str) -> dict[str, Any]:
        """The colour and line style of a model, as keyword arguments for matplotlib."""
        place = self.models[model]
        return {
            "color": COLOURS[place % len(COLOURS)],
            "linestyle": LINE_STYLES[place // len(COLOURS) % len(LINE_STYLES)],
        }

    def marker(self, model: str) -> str:
        """The marker of a model: another one for each model of the same colour."""
        place = self.models[model]
        return MARKERS[(place + place // len(COLOURS)) % len(MARKERS)]

    def keep(self, figure: str, task: str, model: str, name: str, numbers: Sequence[float | None], n: int) -> None:
        """Keeps a plotted number for the table; `numbers` is (value,) or (value, low, high)."""
        value, low, high = (*numbers, None, None)[:3]
        self.numbers.append(PlottedNumber(self.data, figure, task, model, name, value, low, high, n))

    def panels(
        self, name: str, title: str, caption: str, tasks: Sequence[str], draw: Callable[[Axes, str], None],
        height: float,
    ) -> None:  # fmt: skip
        """Draws and saves a figure with one panel per task and a common legend.

        `draw(axes, task)` fills a panel; `height` is the height of a row of panels in inches.
        """
        from matplotlib.figure import Figure

        across = min(PANELS_IN_A_ROW, len(tasks))
        down = math.ceil(len(tasks) / across)
        figure = Figure(figsize=(max(4.2, 3.2 * across), 0.7 + height * down), layout="constrained")
        axes = figure.subplots(down, across, squeeze=False).flatten().tolist()
        for task, panel in zip(tasks, axes, strict=False):
            draw(panel, task)
            panel.set_title("\n".join(map(label, task.split("\n"))), fontsize=9)
        for panel in axes[len(tasks) :]:
            panel.remove()
        handles: dict[str, Any] = {}
        for panel in axes[: len(tasks)]:
            for handle, name_in_legend in zip(*panel.get_legend_handles_labels(), strict=True):
                handles.setdefault(name_in_legend, handle)
        columns = 2 if across == 1 else 4
        figure.set_figheight(figure.get_figheight() + LEGEND_ROW * max(0, math.ceil(len(handles) / columns) - 2))
        if handles:
            figure.legend(
                handles.values(),
                handles.keys(),
                loc="outside lower center",
                ncols=columns,
                frameon=False,
            )
        subtitle = MINIATURE.replace(": ", ":\n") if self.data == "miniature" else label(self.data)
        figure.suptitle(f"{title}\n{subtitle}", fontsize=8)
        self._save(figure, f"{file_name(self.data)}-{name}")
        self.figures.append(FigureFile(f"{file_name(self.data)}-{name}", f"{title}, {self.data}", caption))

    def _save(self, figure: Figure, name: str) -> None:
        figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
        figure.savefig(self.folder / f"{name}.png", dpi=110, metadata={"Software": None})


def on_common_split(runs: Sequence[AnalysedRun]) -> list[AnalysedRun]:
    """The runs on one split per task: the split with the most models, or the first by name if several tie."""
    models: dict[str, dict[str, set[str]]] = {}
    for analysed in runs:
        spec = analysed.run.spec
        models.setdefault(spec.task, {}).setdefault(spec.split, set()).add(analysed.model)
    chosen = {task: min(splits, key=lambda split: (-len(splits[split]), split)) for task, splits in models.items()}
    return [analysed for analysed in runs if chosen[analysed.run.spec.task] == analysed.run.spec.split]


def representative_runs(runs: Sequence[AnalysedRun]) -> list[AnalysedRun]:
    """The representative run (`ours.representative`) of each data set, task, split, model and protocol.

    Of each data set, task and split at most `MOST_RUNS`, those with the highest headlines.  The label of a
    model with several protocols includes the protocol.
    """
    several: dict[tuple[str, ...], list[AnalysedRun]] = {}
    protocols: dict[str, set[str]] = {}
    for analysed in runs:
        spec = analysed.run.spec
        several.setdefault((spec.data, spec.task, spec.split, spec.model, spec.protocol), []).append(analysed)
        protocols.setdefault(spec.model, set()).add(spec.protocol)
    result = []
    for group in several.values():
        run = representative([analysed.run for analysed in group])
        chosen = next(analysed for analysed in group if analysed.run is run)
        spec = run.spec
        name = f"{spec.model}, {spec.protocol.replace('_', '-')}" if len(protocols[spec.model]) > 1 else spec.model
        result.append(replace(chosen, model=label(name)))
    drawn = {id(run) for run in highest([analysed.run for analysed in result], MOST_RUNS)}
    return [analysed for analysed in result if id(analysed.run) in drawn]


def as_csv(numbers: Sequence[PlottedNumber]) -> str:
    """The CSV of plotted numbers, one line each, unrounded; a missing value is an empty cell."""
    rows = [[getattr(plotted, name) for name in COLUMNS] for plotted in numbers]
    return csv_text([COLUMNS, *(["" if value is None else value for value in row] for row in rows)])
