"""The report page: a table of runs with published figures, a plot of headlines, figures, and a gallery per run.

The page is generated from records, answers and annotations alone.  It loads nothing from a network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.core import Row, Run, Task
from harness.metrics import tide
from harness.published import Figure, published_names
from harness.report import costs, figures, gallery
from harness.report.breakdown import Breakdown, breakdown
from harness.report.canvas import AnalysedRun, FigureFile
from harness.report.joined import why_not
from harness.report.ours import highest
from harness.report.tables import template
from harness.report.text import MINIATURE, number, suspicion, title
from harness.sinks import cell, csv_text, label
from harness.store import edited

log = logging.getLogger(__name__)
PLOTTED = 200  # runs in the plot of headlines; of more, the highest of each task and split
COLUMNS = (
    "data",
    "task",
    "version",
    "split",
    "model",
    "protocol",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "unreadable",
    "status",
    "id",
)
Published = Callable[[str, str, str], Sequence[Figure]]  # (task, split, metric) to published figures


@dataclass(frozen=True)
class Shown:
    """A run with the data of its gallery.  `rows` is empty, and `task` may be None, if the data is not available."""

    run: Run
    task: Task[Any] | None
    rows: Sequence[Row[Any]]
    root: Path

    @cached_property
    def parts(self) -> Breakdown:
        """The error analysis of the run; empty without rows."""
        return breakdown(self.task, self.rows, self.run.spec.seed) if self.task is not None else Breakdown()


@dataclass(frozen=True, slots=True)
class Section:
    """The section of one run on the page."""

    run: Run
    title: str
    about: str  # the description of the task
    seen: str  # which images of the task were in the training data of published models
    metrics: Sequence[tuple[str, str]]  # name, value as shown
    images: Sequence[gallery.GalleryImage]
    warning: str = ""  # why the numbers cannot be trusted; "" if they can


def write(
    shown: Iterable[Shown], published: Published, folder: Path, pictures: int, refresh: int | None = None
) -> Path:
    """Writes `index.html`, tables (`runs`, `costs`), `headlines.svg`, `figures/` and `gallery/<id>/`; the page's path.

    Each run is taken once and released, so an iterator that reads runs holds the samples of one run at a time.
    `pictures` is the largest number of images per run.  `refresh` is the number of seconds after which a browser
    reloads the page; None for never.
    """
    folder.mkdir(parents=True, exist_ok=True)
    runs: list[Run] = []
    sections: list[Section] = []
    analysed: list[AnalysedRun] = []
    for item in shown:
        runs.append(item.run)
        sections.append(_section(item, item.parts, folder, pictures))
        analysed.append(AnalysedRun(item.run, replace(item.parts, mistakes={})))  # no figure shows single mistakes
    files = figures.write(analysed, folder / "figures")
    (folder / "runs.csv").write_text(runs_csv(runs), encoding="utf-8")
    (folder / "runs.md").write_text(runs_markdown(runs, published), encoding="utf-8")
    costs.write(runs, folder)
    plot = _plot(runs, folder / "headlines.svg")
    path = folder / "index.html"
    path.write_text(rendered(runs, sections, published, plot, files, others(folder), refresh), encoding="utf-8")
    return path


def stale(runs: Sequence[Run], folder: Path) -> list[str]:
    """The ids of galleries in a report's folder that belong to none of these runs."""
    return sorted({path.name for path in (folder / "gallery").glob("*/")} - {run.id for run in runs})


def others(folder: Path) -> list[tuple[str, str]]:
    """Figures that `bench` and `ablate` wrote next to the page: the path of each figure and of its table."""
    found = []
    for name in ("speed", "studies"):
        for path in sorted((folder / name).glob("*.svg")):
            tables = [path.with_suffix(".md"), path.with_name("speed.md")]
            table = next((table.name for table in tables if table.is_file()), path.name)
            found.append((f"{name}/{path.name}", f"{name}/{table}"))
    return found


def rendered(
    runs: Sequence[Run],
    sections: Sequence[Section],
    published: Published,
    plot: str,
    files: Sequence[FigureFile] = (),
    other_figures: Sequence[tuple[str, str]] = (),
    refresh: int | None = None,
) -> str:
    """The HTML of the page.  `plot` is the file name of the headline plot, or ""."""
    return template("page.html").render(
        miniature=[run for run in runs if run.spec.data == "miniature"],
        real=[(run, _published_numbers(run, published)) for run in runs if run.spec.data != "miniature"],
        published=_published_tables(runs, published),
        sections=sections,
        plot=plot,
        figures=files,
        other_figures=other_figures,
        number=number,
        warning=MINIATURE,
        refresh=refresh,
        outcomes=gallery.OUTCOMES,
        kinds=tide.KINDS,
        tasks=sorted({section.run.spec.task for section in sections if section.images}),
    )


def runs_csv(runs: Sequence[Run]) -> str:
    """CSV with one line per run and metric, unrounded."""
    rows: list[Sequence[Any]] = [COLUMNS]
    for run in runs:
        spec = run.spec
        unreadable = run.metrics["unreadable"].value if "unreadable" in run.metrics else ""
        for name, estimate in run.metrics.items():
            cells = (estimate.value, estimate.low, estimate.high, estimate.n, unreadable, run.status, run.id)
            identity = (spec.data, spec.task, spec.version, spec.split, spec.model, spec.protocol)
            rows.append([*identity, name, *cells])
    return csv_text(rows)


def runs_markdown(runs: Sequence[Run], published: Published) -> str:
    """The Markdown table of headlines, each with the published figures of the same model, split and protocol.

    A cell without a figure says why no published figure is comparable.
    """
    lines = ["| data | task | version | split | model | protocol | metric | value [95 % interval] | published | n |"]
    lines.append("|---|---|--:|---|---|---|---|--:|---|--:|")
    for run in runs:
        spec, estimate = run.spec, run.metrics.get(run.headline)
        numbers = "not comparable" if spec.data == "miniature" else "; ".join(_published_numbers(run, published)) or "–"
        identity = (spec.data, spec.task, str(spec.version), spec.split, spec.model, spec.protocol)
        cells = (*identity, run.headline, number(estimate), numbers)
        lines.append(f"| {' | '.join(map(cell, cells))} | {estimate.n if estimate else 0} |")
    return "\n".join(lines) + f"\n\n{MINIATURE[0].upper()}{MINIATURE[1:]}.\n"


def _section(item: Shown, parts: Breakdown, folder: Path, pictures: int) -> Section:
    run, images = item.run, []
    if item.rows and pictures:
        images = gallery.write(item.rows, item.root, folder / "gallery" / run.id, pictures, parts.mistakes)
        problems = [image.problem for image in images if image.problem]
        if problems:
            log.warning("%s: %d images cannot be drawn; the first: %s", title(run), len(problems), problems[0])
    metrics = [(name, number(estimate)) for name, estimate in run.metrics.items()]
    about, seen = (item.task.about, item.task.seen_in_training) if item.task else ("", "")
    warning = "The record was edited: its numbers are not those that were scored" if edited(run) else suspicion(run)
    warning = str(run.provenance.get("contradicted", warning))
    return Section(run, title(run), about, "" if run.spec.data == "miniature" else seen, metrics, images, warning)


def _published_numbers(run: Run, published: Published) -> list[str]:
    """The published figures of the run's model, split, headline and protocol, with their sources; else why not."""
    matching = published(run.spec.task, run.spec.split, run.headline)
    if matching and (reason := why_not(run)):
        return [f"not compared: {reason}"]
    names = published_names(run.spec.model, run.spec.protocol)
    return [
        f"{figure.model} {figure.value:g} ({figure.source}, {figure.locator})"
        for figure in matching
        if figure.model in names and figure.protocol == run.spec.protocol
    ]


def _published_tables(runs: Sequence[Run], published: Published) -> list[tuple[str, Sequence[Figure]]]:
    """The published figures of every task, split and headline that has a run, with a title each."""
    keys = dict.fromkeys((run.spec.task, run.spec.split, run.headline) for run in runs)
    tables = ((f"{task} {split}, {metric}", published(task, split, metric)) for task, split, metric in keys)
    return [(name, figures) for name, figures in tables if figures]


def _plot(runs: Sequence[Run], path: Path) -> str:
    """Writes an SVG of the headlines with their intervals; the file name, or "" if no run has a headline value."""
    drawn = [run for run in runs if (estimate := run.metrics.get(run.headline)) and estimate.value is not None]
    if not drawn:
        return ""
    if len(drawn) > PLOTTED:
        columns = {(run.spec.data, run.spec.task, run.spec.split) for run in drawn}
        drawn = highest(drawn, max(1, PLOTTED // len(columns)))
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    # A fixed hash salt makes the SVG ids reproducible; model names may contain $.
    with rc_context({"svg.hashsalt": "headlines", "text.parse_math": False}):
        canvas = Canvas(figsize=(8, 0.8 + 0.32 * len(drawn)), layout="constrained")
        axes = canvas.subplots()
        for place, run in enumerate(reversed(drawn)):
            estimate = run.metrics[run.headline]
            value = estimate.value or 0.0
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [place, place], color="#6e7781", linewidth=2, clip_on=False)
            axes.plot([value], [place], "o", color="#d6008c", clip_on=False)
        names = [
            label(f"{run.spec.task} {run.spec.split} · {run.spec.model} · {run.headline}", 80)
            for run in reversed(drawn)
        ]
        axes.set_yticks(range(len(drawn)), names)
        axes.set_xlim(0, max(100.0, axes.get_xlim()[1]))
        axes.set_xlabel("percent (CIDEr x 100), with 95 % intervals")
        axes.grid(axis="x", color="#d0d7de")
        axes.set_axisbelow(True)
        canvas.savefig(path, metadata={"Date": None})
    return path.name
