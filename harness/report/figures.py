"""Figures of runs: IoU curves, calibration, error types, scores by group, and accuracy versus speed.

Each data set has its own figures, with one panel per task (the split that most models have) and one colour per model.
Each model is represented by one run per task and protocol.  `figures.csv` holds every plotted number.  The same runs
give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from harness.metrics import tide
from harness.report import breakdown as analysis
from harness.report.breakdown import Breakdown
from harness.report.canvas import (
    STYLE,
    AnalysedRun,
    Canvas,
    FigureFile,
    PlottedNumber,
    as_csv,
    on_common_split,
    representative_runs,
)
from harness.sinks import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = np.linspace(0, 1, 201)  # IoUs at which the curves are drawn
GREY = "#888888"
WIDE = 20  # a timing that spans a larger ratio has a logarithmic axis
Draw = Callable[[Canvas, Sequence[AnalysedRun]], None]


def write(runs: Sequence[AnalysedRun], folder: Path) -> list[FigureFile]:
    """Writes every figure that has data (.svg and .png) and `figures.csv`; the figures, in display order."""
    folder.mkdir(parents=True, exist_ok=True)
    from matplotlib import rc_context

    files: list[FigureFile] = []
    numbers: list[PlottedNumber] = []
    with rc_context(STYLE):
        shown = representative_runs(runs)
        for data in sorted({analysed.run.spec.data for analysed in shown}):
            of_data = [analysed for analysed in shown if analysed.run.spec.data == data]
            canvas = Canvas(data, folder, (analysed.model for analysed in of_data))
            for draw in (_overlaps, _calibration, *_bar_charts(of_data), _throughput, _latency):
                draw(canvas, of_data)
            files += canvas.figures
            numbers += canvas.numbers
    (folder / "figures.csv").write_text(as_csv(numbers), encoding="utf-8")
    return files


def _by_task(
    runs: Sequence[AnalysedRun], values: Callable[[Breakdown], Sequence[Any]]
) -> dict[str, dict[str, Sequence[Any]]]:
    """The values of each run, by task and split, then by model; runs without values are left out."""
    result: dict[str, dict[str, Sequence[Any]]] = {}
    for analysed in on_common_split([analysed for analysed in runs if values(analysed.parts)]):
        result.setdefault(_panel(analysed), {})[analysed.model] = values(analysed.parts)
    return dict(sorted(result.items()))


def _panel(analysed: AnalysedRun) -> str:
    return f"{analysed.run.spec.task} {analysed.run.spec.split}"


# ---------------------------------------------------------------------------- IoU and calibration


def _overlaps(canvas: Canvas, runs: Sequence[AnalysedRun]) -> None:
    """The share of objects whose prediction reaches an IoU, over all IoUs."""
    by_task = _by_task(runs, lambda parts: parts.overlaps)
    if not by_task:
        return

    def draw(axes: Axes, task: str) -> None:
        for model, overlaps in sorted(by_task[task].items()):
            ordered = np.sort(np.array(overlaps))
            shares = 100 * (1 - np.searchsorted(ordered, GRID, side="left") / len(ordered))
            axes.plot(GRID, shares, label=model, **canvas.style(model))
            for threshold in (0.25, 0.5, 0.75, 0.9):
                share = 100 * float((ordered >= threshold).mean())
                canvas.keep("iou", task, model, f"IoU of {threshold:g} or more", [share], len(ordered))
        axes.axvline(tide.FOREGROUND, color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, 1), ylim=(0, 102), xlabel="IoU threshold", ylabel="recall, %")

    caption = (
        "Recall: share of objects, phrases or expressions whose predicted box or mask reaches the IoU threshold. "
        "Dotted line: IoU of 0.5."
    )
    canvas.panels("iou", "Recall versus IoU threshold", caption, list(by_task), draw, 2.2)


def _calibration(canvas: Canvas, runs: Sequence[AnalysedRun]) -> None:
    """The share of correct boxes, by confidence."""
    by_task = _by_task(runs, lambda parts: parts.confidences)
    if not by_task:
        return

    def draw(axes: Axes, task: str) -> None:
        for model, confidences in sorted(by_task[task].items()):
            groups = analysis.bins(confidences)
            below = [100 * (group.accuracy - group.low) for group in groups]
            above = [100 * (group.high - group.accuracy) for group in groups]
            axes.errorbar(
                [group.confidence for group in groups],
                [100 * group.accuracy for group in groups],
                [below, above],
                marker=canvas.marker(model),
                markersize=3.5,
                linewidth=1,
                label=model,
                **canvas.style(model),
            )
            for group in groups:
                numbers = [100 * group.accuracy, 100 * group.low, 100 * group.high]
                canvas.keep(
                    "calibration", task, model, f"accuracy at confidence {group.confidence:.4f}", numbers, group.n
                )
            n = len(confidences)
            error, auroc = 100 * analysis.calibration_error(groups), analysis.auroc(confidences)
            canvas.keep("calibration", task, model, "calibration error", [error], n)
            canvas.keep("calibration", task, model, "AUROC", [None if math.isnan(auroc) else 100 * auroc], n)
        most = max(axes.get_xlim()[1], 0.05)
        axes.plot([0, min(1, most)], [0, 100 * min(1, most)], color=GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, most), ylim=(-2, 102), xlabel="mean confidence of the bin", ylabel="correct boxes, %")

    caption = (
        "Share of correct boxes (IoU of at least 0.5 and the right category) in ten bins of equal size by confidence. "
        "Florence-2's confidence is the geometric mean of the token probabilities. "
        "Lines: 95 % intervals. Dotted line: perfect calibration."
    )
    canvas.panels("calibration", "Calibration of box confidences", caption, list(by_task), draw, 2.2)


# ---------------------------------------------------------------------------- bar charts


class Chart(NamedTuple):
    """The file name of a bar chart, its caption, and the label of its x axis."""

    name: str
    caption: str
    unit: str = "percent"


SIZE_CLASSES = "COCO's size classes: small below 32² pixels, medium below 96² pixels, large above."
CHARTS = {
    analysis.COSTS: Chart(
        "mistakes",
        "Increase of AP50 if all errors of a type were corrected (TIDE). n is the number of errors.",
        "AP50 points",
    ),
    analysis.BY_SIZE: Chart("object-size", f"Area of the object that an expression refers to. {SIZE_CLASSES}"),
    analysis.BY_TYPE: Chart("phrase-type", "Phrase types of Flickr30k Entities, the most frequent first."),
    analysis.BY_PHRASE_SIZE: Chart("phrase-size", f"Area of the largest true box of a phrase. {SIZE_CLASSES}"),
    analysis.BY_ANSWER: Chart("answer-type", "The most frequent answer types."),
    analysis.BY_QUESTION: Chart(
        "question-type", "The most frequent question types. For VizWiz: whether the question is answerable."
    ),
    analysis.BY_REFERENCE: Chart(
        "reference-length", "Quarters of the images by the mean length of their references.", "CIDEr x 100"
    ),
    analysis.BY_CAPTION: Chart(
        "caption-length", "Quarters of the images by the length of the predicted caption.", "CIDEr x 100"
    ),
}


def _bar_charts(runs: Sequence[AnalysedRun]) -> list[Draw]:
    """One function per chart for which a run has bars."""
    titles = {title for analysed in runs for title in analysed.parts.bars}
    return [_bar_chart(title) for title in CHARTS if title in titles]


def _bar_chart(title: str) -> Draw:
    chart = CHARTS[title]
    own_rows = title == analysis.BY_CAPTION  # each model has its own quarters, so bars of two models share no row

    def draw_all(canvas: Canvas, runs: Sequence[AnalysedRun]) -> None:
        by_panel: dict[str, dict[str, AnalysedRun]] = {}
        for analysed in on_common_split([analysed for analysed in runs if title in analysed.parts.bars]):
            by_panel.setdefault(_panel(analysed), {}).setdefault(analysed.model, analysed)

        def draw(axes: Axes, panel: str) -> None:
            models = sorted(by_panel[panel])
            rows: list[str] = []
            for place, model in enumerate(models):
                for number, (bar, estimate) in enumerate(by_panel[panel][model].parts.bars[title]):
                    name = f"{bar} ({model})" if own_rows else bar
                    if name not in rows:
                        rows.append(name)
                    height = 0.7 if own_rows else 0.8 / len(models)
                    y = rows.index(name) + (0 if own_rows else (place + 0.5) * 0.8 / len(models) - 0.4)
                    value = estimate.value
                    canvas.keep(chart.name, panel, model, bar, [value, estimate.low, estimate.high], estimate.n)
                    if value is None:  # undefined, such as the cost of missed objects if all objects are missed
                        _annotate(axes, estimate.n, 0, y)
                        continue
                    ends = [value if end is None else end for end in (estimate.low, estimate.high)]
                    legend = model if number == 0 else None
                    axes.barh(y, value, height, color=canvas.style(model)["color"], alpha=0.75, label=legend)
                    axes.plot(ends, [y, y], color="black", linewidth=0.8)
                    _annotate(axes, estimate.n, max(ends), y)
            axes.set_yticks(range(len(rows)), list(map(label, rows)), fontsize=6)
            axes.invert_yaxis()
            axes.set_xlim(0, 1.12 * max(axes.get_xlim()[1] / 1.05, 1e-9))  # space for n after the longest bar
            axes.set_xlabel(chart.unit)

        most = max(len(analysed.parts.bars[title]) for models in by_panel.values() for analysed in models.values())
        models = max(map(len, by_panel.values()))
        caption = f"{chart.caption} Black lines: 95 % intervals. Small numbers: n."
        height = 0.6 + 0.16 * most * max(models, 1.5)
        canvas.panels(chart.name, f"{title[0].upper()}{title[1:]}", caption, list(by_panel), draw, height)

    return draw_all


def _annotate(axes: Axes, n: int, x: float, y: float) -> None:
    axes.annotate(f"{n}", (x, y), (2, 0), textcoords="offset points", va="center", fontsize=5)


# ---------------------------------------------------------------------------- accuracy versus speed


class Point(NamedTuple):
    """A run in a figure of accuracy versus speed: its timing, its headline value, and the run."""

    timing: float
    value: float
    analysed: AnalysedRun


def _throughput(canvas: Canvas, runs: Sequence[AnalysedRun]) -> None:
    """The headline versus answers per second of the run itself."""
    caption = (
        "Headline metric versus throughput of the run itself, including image decoding, at its own batch size. "
        "speed/ has the measurements of `bench`, which follow fixed rules."
    )
    _versus(canvas, runs, "throughput", "answers/s", "throughput, answers/s", caption, higher=True)


def _latency(canvas: Canvas, runs: Sequence[AnalysedRun]) -> None:
    """The headline versus the median latency of an answer, or of a batch."""
    caption = (
        "Headline metric versus median latency, from the start of a query to its complete prediction. "
        "At batch size 1 queries run alone; otherwise they share a batch. "
        "speed/ has the measurements of `bench`, which follow fixed rules."
    )
    _versus(canvas, runs, "latency", "p50 s", "median latency, s", caption, higher=False)


def _versus(
    canvas: Canvas, runs: Sequence[AnalysedRun], name: str, key: str, unit: str, caption: str, *, higher: bool
) -> None:
    """Headlines versus a timing, with the Pareto frontier.

    Each panel has one device.  Latencies of other batch sizes are not comparable, so each has its own panel;
    throughputs share one, each at its own batch size.  A panel needs two runs.
    """
    points: dict[str, list[Point]] = {}
    for analysed in on_common_split([analysed for analysed in runs if analysed.run.timings.get(key)]):
        run, estimate = analysed.run, analysed.run.metrics.get(analysed.run.headline)
        model = run.provenance.get("model", {})
        if estimate is not None and estimate.value is not None and "device" in model:
            batch = "" if higher else f", batch {model.get('batch size', '?')}"
            panel = f"{_panel(analysed)}\n{model['device']}{batch}"
            points.setdefault(panel, []).append(Point(float(run.timings[key]), estimate.value, analysed))
    points = {panel: group for panel, group in points.items() if len(group) > 1}
    if not points:
        return

    def draw(axes: Axes, panel: str) -> None:
        best = -math.inf
        frontier = []
        for point in sorted(points[panel], key=lambda point: (-point.timing if higher else point.timing, -point.value)):
            if point.value > best:
                best = point.value
                frontier.append((point.timing, point.value))
        timings, values = zip(*frontier, strict=True)
        axes.step(timings, values, where="post", color=GREY, linewidth=0.8, label="Pareto frontier")
        for timing, value, analysed in sorted(points[panel], key=lambda point: point.analysed.model):
            run, model = analysed.run, analysed.model
            estimate = run.metrics[run.headline]
            ends = [value if end is None else end for end in (estimate.low, estimate.high)]
            axes.plot([timing, timing], ends, linewidth=1, color=canvas.style(model)["color"])
            batch = label(f", batch {run.provenance['model'].get('batch size', '?')}") if higher else ""
            axes.plot(timing, value, canvas.marker(model), color=canvas.style(model)["color"], label=f"{model}{batch}")
            numbers = [value, estimate.low, estimate.high]
            task = panel.replace("\n", ", ")
            canvas.keep(name, task, model, f"{run.headline} at {timing:.4g} {key}", numbers, estimate.n)
        spread = [point.timing for point in points[panel]]
        if max(spread) > WIDE * min(spread):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")  # not powers of ten, which are TeX
        else:
            axes.set(xlim=(0, 1.15 * max(spread)))
        axes.set(ylim=(0, None))
        axes.set(xlabel=unit, ylabel=label(points[panel][0].analysed.run.headline))

    canvas.panels(name, f"Accuracy versus {name}", caption, list(points), draw, 2.3)
