"""One page of runs: the table beside the published figures, a plot of the headlines, and a gallery for each run.

Everything is generated from records, answers and annotations; the page needs no network.
"""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Row, Run, Task
from harness.metrics import tide
from harness.published import Figure, names_of_our_models
from harness.report import figures, gallery
from harness.report.breakdown import Breakdown, breakdown
from harness.report.canvas import Drawn, Told
from harness.report.tables import template
from harness.report.text import MINIATURE, cell, number, title

log = logging.getLogger(__name__)
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
Published = Callable[[str, str, str], Sequence[Figure]]  # task, split, metric


@dataclass(frozen=True, slots=True)
class Shown:
    """A run with what its gallery is made of: no rows where its data is not at hand."""

    run: Run
    task: Task[Any] | None
    rows: Sequence[Row[Any]]
    root: Path

    @property
    def parts(self) -> Breakdown:
        """What the run gets wrong; nothing where there are no rows."""
        return breakdown(self.task, self.rows, self.run.spec.seed) if self.task is not None else Breakdown()


@dataclass(frozen=True, slots=True)
class Section:
    """A run on the page."""

    run: Run
    title: str
    about: str
    seen: str
    metrics: Sequence[tuple[str, str]]
    pictures: Sequence[gallery.Picture]


def write(
    shown: Sequence[Shown], published: Published, folder: Path, pictures: int, refresh: int | None = None
) -> Path:
    """`index.html`, `runs.csv`, `runs.md`, `headlines.svg`, `figures/` and `gallery/<id>/`; the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [one.run for one in shown]
    parts = [one.parts for one in shown]
    sections = [_section(one, theirs, folder, pictures) for one, theirs in zip(shown, parts, strict=True)]
    drawn = figures.write(list(map(Told, runs, parts)), folder / "figures")
    (folder / "runs.csv").write_text(runs_csv(runs), encoding="utf-8")
    (folder / "runs.md").write_text(runs_markdown(runs, published), encoding="utf-8")
    plot = _plot(runs, folder / "headlines.svg")
    path = folder / "index.html"
    path.write_text(rendered(runs, sections, published, plot, drawn, others(folder), refresh), encoding="utf-8")
    return path


def stale(runs: Sequence[Run], folder: Path) -> list[str]:
    """Galleries in a report's folder that are of none of these runs."""
    return sorted({path.name for path in (folder / "gallery").glob("*/")} - {run.id for run in runs})


def others(folder: Path) -> list[tuple[str, str]]:
    """Figures that other commands have put beside the page, and the page that each is from."""
    found = []
    for room in ("speed", "studies"):
        for path in sorted((folder / room).glob("*.svg")):
            tables = [path.with_suffix(".md"), path.with_name("speed.md")]
            told = next((table.name for table in tables if table.is_file()), path.name)
            found.append((f"{room}/{path.name}", f"{room}/{told}"))
    return found


def rendered(
    runs: Sequence[Run],
    sections: Sequence[Section],
    published: Published,
    plot: str,
    drawn: Sequence[Drawn] = (),
    beside: Sequence[tuple[str, str]] = (),
    refresh: int | None = None,
) -> str:
    """The page's HTML; with `refresh`, browsers load it again every so many seconds."""
    return template("page.html").render(
        miniature=[run for run in runs if run.spec.data == "miniature"],
        real=[(run, _beside(run, published)) for run in runs if run.spec.data != "miniature"],
        published=_published_tables(runs, published),
        sections=sections,
        plot=plot,
        figures=drawn,
        others=beside,
        number=number,
        warning=MINIATURE,
        refresh=refresh,
        outcomes=gallery.OUTCOMES,
        kinds=tide.KINDS,
        tasks=sorted({section.run.spec.task for section in sections if section.pictures}),
    )


def runs_csv(runs: Sequence[Run]) -> str:
    """One line a metric of a run, unrounded."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        spec = run.spec
        unreadable = run.metrics["unreadable"].value if "unreadable" in run.metrics else ""
        for name, estimate in run.metrics.items():
            cells = (estimate.value, estimate.low, estimate.high, estimate.n, unreadable, run.status, run.id)
            asked = (spec.data, spec.task, spec.version, spec.split, spec.model, spec.protocol)
            writer.writerow([*asked, name, *cells])
    return out.getvalue()


def runs_markdown(runs: Sequence[Run], published: Published) -> str:
    """The table of headlines; a published figure stands beside a run only on the same data, split and protocol."""
    lines = ["| data | task | version | split | model | protocol | metric | value [95 % interval] | published | n |"]
    lines.append("|---|---|--:|---|---|---|---|--:|---|--:|")
    for run in runs:
        spec, estimate = run.spec, run.metrics.get(run.headline)
        beside = "not comparable" if spec.data == "miniature" else "; ".join(_beside(run, published)) or "–"
        asked = (spec.data, spec.task, str(spec.version), spec.split, spec.model, spec.protocol)
        cells = (*asked, run.headline, number(estimate), beside)
        lines.append(f"| {' | '.join(map(cell, cells))} | {estimate.n if estimate else 0} |")
    return "\n".join(lines) + f"\n\n{MINIATURE[0].upper()}{MINIATURE[1:]}.\n"


def _section(one: Shown, parts: Breakdown, folder: Path, pictures: int) -> Section:
    run, drawn = one.run, []
    if one.rows and pictures:
        drawn = gallery.write(one.rows, one.root, folder / "gallery" / run.id, pictures, parts.mistakes)
        lacking = [picture for picture in drawn if picture.lacking]
        if lacking:
            log.warning("%s: %d pictures are not drawn: %s", title(run), len(lacking), lacking[0].lacking)
    metrics = [(name, number(estimate)) for name, estimate in run.metrics.items()]
    about, seen = (one.task.about, one.task.seen_in_training) if one.task else ("", "")
    return Section(run, title(run), about, "" if run.spec.data == "miniature" else seen, metrics, drawn)


def _beside(run: Run, published: Published) -> list[str]:
    """Published figures of Florence-2 under the run's protocol."""
    names = names_of_our_models()
    found = published(run.spec.task, run.spec.split, run.headline)
    return [
        f"{figure.model} {figure.value:g} ({figure.source}, {figure.locator})"
        for figure in found
        if figure.model in names and figure.protocol == run.spec.protocol
    ]


def _published_tables(runs: Sequence[Run], published: Published) -> list[tuple[str, Sequence[Figure]]]:
    """What is published for every task, split and headline that has a run."""
    wanted = dict.fromkeys((run.spec.task, run.spec.split, run.headline) for run in runs)
    tables = ((f"{task} {split}, {metric}", published(task, split, metric)) for task, split, metric in wanted)
    return [(name, figures) for name, figures in tables if figures]


def _plot(runs: Sequence[Run], path: Path) -> str:
    """Headlines with their intervals, as SVG; '' where there is nothing to draw."""
    drawn = [run for run in runs if (found := run.metrics.get(run.headline)) is not None and found.value is not None]
    if not drawn:
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    with rc_context(
        {"svg.hashsalt": "headlines", "text.parse_math": False}
    ):  # else ids are drawn anew, and $ is markup
        canvas = Canvas(figsize=(8, 0.8 + 0.32 * len(drawn)), layout="constrained")
        axes = canvas.subplots()
        for place, run in enumerate(reversed(drawn)):
            estimate = run.metrics[run.headline]
            value = estimate.value or 0.0
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [place, place], color="#6e7781", linewidth=2, clip_on=False)
            axes.plot([value], [place], "o", color="#d6008c", clip_on=False)
        names = [f"{run.spec.task} {run.spec.split} · {run.spec.model} · {run.headline}" for run in reversed(drawn)]
        axes.set_yticks(range(len(drawn)), names)
        axes.set_xlim(0, max(100.0, axes.get_xlim()[1]))
        axes.set_xlabel("percent (CIDEr x 100), with 95 % intervals")
        axes.grid(axis="x", color="#d0d7de")
        axes.set_axisbelow(True)
        canvas.savefig(path, metadata={"Date": None})
    return path.name
