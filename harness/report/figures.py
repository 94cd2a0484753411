"""Figures of runs: IoUs, calibration, mistakes, numbers by what is asked about, and accuracy against speed.

One of each for a data root, a panel a task (its split that most models have), a colour a model, of which one run
stands for all of the same.  Every number drawn is in `figures.csv` as well.  The same runs give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.metrics import tide
from harness.report import breakdown as parts
from harness.report.breakdown import Breakdown
from harness.report.canvas import STYLE, Canvas, Drawn, Line, Told, as_csv, of_one_split, one_each

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = np.linspace(0, 1, 201)  # of IoUs


def write(told: Sequence[Told], folder: Path) -> list[Drawn]:
    """All that there is anything to show in, and `figures.csv`, into a folder; what was drawn, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    from matplotlib import rc_context

    drawn: list[Drawn] = []
    lines: list[Line] = []
    with rc_context(STYLE):
        shown = one_each(told)
        for data in sorted({one.run.spec.data for one in shown}):
            mine = [one for one in shown if one.run.spec.data == data]
            canvas = Canvas(data, folder, (one.model for one in mine))
            for draw in (_overlaps, _calibration, *_bars(mine), _throughput, _latency):
                draw(canvas, mine)
            drawn += canvas.drawn
            lines += canvas.lines
    (folder / "figures.csv").write_text(as_csv(lines), encoding="utf-8")
    return drawn


def _by_task(told: Sequence[Told], what: Callable[[Breakdown], Sequence[Any]]) -> dict[str, dict[str, Sequence[Any]]]:
    """By task and split, then by model; those without any are left out."""
    found: dict[str, dict[str, Sequence[Any]]] = {}
    for one in of_one_split([one for one in told if what(one.parts)]):
        found.setdefault(f"{one.run.spec.task} {one.run.spec.split}", {})[one.model] = what(one.parts)
    return dict(sorted(found.items()))


# ---------------------------------------------------------------------------- each figure


def _overlaps(canvas: Canvas, told: Sequence[Told]) -> None:
    """Of what is sought, the share that is found with at least so large an IoU."""
    found = _by_task(told, lambda one: one.overlaps)
    if not found:
        return

    def draw(axes: Axes, task: str) -> None:
        for model, overlaps in sorted(found[task].items()):
            ordered = np.sort(np.array(overlaps))
            shares = 100 * (1 - np.searchsorted(ordered, GRID, side="left") / len(ordered))
            axes.plot(GRID, shares, label=model, **canvas.style(model))
            for at in (0.25, 0.5, 0.75, 0.9):
                share = 100 * float((ordered >= at).mean())
                canvas.line("iou", task, model, f"IoU of {at:g} or more", [share], len(ordered))
        axes.axvline(tide.FOREGROUND, color="#888888", linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, 1), ylim=(0, 102), xlabel="IoU", ylabel="found with it or more, %")

    says = "Of all objects, phrases or expressions, how many are found with at least so large an IoU; dotted: 0.5."
    canvas.panels("iou", "IoU", says, list(found), draw, 2.2)


def _calibration(canvas: Canvas, told: Sequence[Told]) -> None:
    """The share of boxes that are right, by the confidence that the model gave them."""
    found = _by_task(told, lambda one: one.confidences)
    if not found:
        return

    def draw(axes: Axes, task: str) -> None:
        for model, confidences in sorted(found[task].items()):
            some = parts.bins(confidences)
            given, right = [one.given for one in some], [100 * one.right for one in some]
            spread = [[100 * (one.right - one.low) for one in some], [100 * (one.high - one.right) for one in some]]
            style = canvas.style(model)
            axes.errorbar(
                given, right, spread, marker=canvas.mark(model), markersize=3.5, linewidth=1, label=model, **style
            )
            for one in some:
                numbers = [100 * one.right, 100 * one.low, 100 * one.high]
                canvas.line("calibration", task, model, f"right at confidence {one.given:.4f}", numbers, one.n)
            n = len(confidences)
            canvas.line("calibration", task, model, "calibration error", [100 * parts.calibration_error(some)], n)
            apart = parts.told_apart(confidences)
            canvas.line("calibration", task, model, "AUROC", [None if math.isnan(apart) else 100 * apart], n)
        most = max(axes.get_xlim()[1], 0.05)
        axes.plot([0, min(1, most)], [0, 100 * min(1, most)], color="#888888", linewidth=0.8, linestyle=":")
        axes.set(xlim=(0, most), ylim=(-2, 102), xlabel="confidence", ylabel="right, %")

    says = (
        "Tenths of the boxes by the confidence that comes with them (Florence-2's: the geometric mean of token "
        "probabilities), and how many of each are right (an IoU of 0.5); dotted: where it would be the chance of that."
    )
    canvas.panels("calibration", "Calibration of box scores", says, list(found), draw, 2.2)


TITLES = {
    parts.COSTS: (
        "mistakes",
        "Of TIDE: how much AP50 would rise if all mistakes of a kind were mended; n counts them.",
    ),
    parts.BY_SIZE: ("object-size", "Of the object that a sentence refers to, as COCO has it: to 32², to 96², above."),
    parts.BY_TYPE: ("phrase-type", "Flickr30k's types of phrases, the most frequent first."),
    parts.BY_PHRASE_SIZE: (
        "phrase-size",
        "Of the largest true box of a phrase, as COCO has it: to 32², to 96², above.",
    ),
    parts.BY_ANSWER: ("answer-type", "The most frequent types of answers."),
    parts.BY_QUESTION: ("question-type", "The most frequent types of questions; VizWiz: whether they can be answered."),
    parts.BY_REFERENCE: ("reference-length", "Quarters of the images by how long their references are."),
    parts.BY_CAPTION: ("caption-length", "Quarters of the images by how long the model's caption is."),
}


UNITS = {parts.COSTS: "points of AP50", parts.BY_REFERENCE: "CIDEr x 100", parts.BY_CAPTION: "CIDEr x 100"}


def _bars(told: Sequence[Told]) -> list[Callable[[Canvas, Sequence[Told]], None]]:
    """A figure for each title that some run has bars of."""
    there = {title for one in told for title in one.parts.bars}
    return [_bars_of(title) for title in TITLES if title in there]


def _bars_of(title: str) -> Callable[[Canvas, Sequence[Told]], None]:
    name, says = TITLES[title]

    def draw_all(canvas: Canvas, told: Sequence[Told]) -> None:
        mine: dict[str, dict[str, Told]] = {}
        for one in of_one_split([one for one in told if title in one.parts.bars]):
            mine.setdefault(f"{one.run.spec.task} {one.run.spec.split}", {}).setdefault(one.model, one)
        own_names = title == parts.BY_CAPTION  # quarters by what is written are other ones for each model

        def draw(axes: Axes, panel: str) -> None:
            models = sorted(mine[panel])
            rows: list[str] = []
            for place, model in enumerate(models):
                bars = mine[panel][model].parts.bars[title]
                for number, (bar, found) in enumerate(bars):
                    label = f"{bar} ({model})" if own_names else bar
                    if label not in rows:
                        rows.append(label)
                    value = found.value
                    row = (
                        rows.index(label) if own_names else rows.index(label) + (place + 0.5) * 0.8 / len(models) - 0.4
                    )
                    canvas.line(name, panel, model, bar, [value, found.low, found.high], found.n)
                    if value is None:  # not defined here, as what missing all of them costs
                        axes.annotate(
                            f"{found.n}", (0, row), (2, 0), textcoords="offset points", va="center", fontsize=5
                        )
                        continue
                    ends = [
                        found.low if found.low is not None else value,
                        found.high if found.high is not None else value,
                    ]
                    colour = canvas.style(model)["color"]
                    label_once = model if number == 0 else None
                    axes.barh(
                        row, value, 0.7 if own_names else 0.8 / len(models), color=colour, alpha=0.75, label=label_once
                    )
                    axes.plot(ends, [row, row], color="black", linewidth=0.8)
                    axes.annotate(
                        f"{found.n}", (max(ends), row), (2, 0), textcoords="offset points", va="center", fontsize=5
                    )
            axes.set_yticks(range(len(rows)), rows, fontsize=6)
            axes.invert_yaxis()
            axes.set_xlim(0, 1.12 * max(axes.get_xlim()[1] / 1.05, 1e-9))  # room for n beside the longest
            axes.set_xlabel(UNITS.get(title, "percent"))

        most = max(len(one.parts.bars[title]) for some in mine.values() for one in some.values())
        models = max(map(len, mine.values()))
        height = 0.6 + 0.16 * most * max(models, 1.5)
        canvas.panels(
            name,
            f"{title[0].upper()}{title[1:]}",
            f"{says} Lines: 95 % intervals; small numbers: n.",
            list(mine),
            draw,
            height,
        )

    return draw_all


def _throughput(canvas: Canvas, told: Sequence[Told]) -> None:
    """The headline against answers a second, as the runs themselves took."""
    says = (
        "The headline against answers a second, as each run itself took: everything is in it, opening of files too. "
        "What `bench` measured by rule is in speed/."
    )
    _against(canvas, told, "throughput", "answers/s", "answers a second", says, higher=True)


def _latency(canvas: Canvas, told: Sequence[Told]) -> None:
    """The headline against the median time to an answer, or to a batch of them."""
    says = (
        "The headline against the median time from when an answer is taken in until it is written: of one answer "
        "at batch 1, else beside others. What `bench` measured by rule is in speed/."
    )
    _against(canvas, told, "latency", "p50 s", "median seconds", says, higher=False)


def _against(canvas: Canvas, told: Sequence[Told], name: str, key: str, label: str, says: str, *, higher: bool) -> None:
    """Headlines against a timing, and the line of what nothing is better than at both; of one device and batch size a
    panel, since times of others are not comparable."""
    points: dict[str, list[tuple[float, float, Told]]] = {}
    for one in of_one_split([one for one in told if one.run.timings.get(key)]):
        run, found = one.run, one.run.metrics.get(one.run.headline)
        made = run.provenance.get("model", {})
        if found is not None and found.value is not None and "device" in made:
            where = f"{run.spec.task} {run.spec.split}\n{made['device']}, batch {made.get('batch size', '?')}"
            points.setdefault(where, []).append((float(run.timings[key]), found.value, one))
    points = {where: some for where, some in points.items() if len(some) > 1}
    if not points:
        return

    def draw(axes: Axes, where: str) -> None:
        best = -math.inf
        frontier = []
        for time, value, _ in sorted(points[where], key=lambda one: (-one[0] if higher else one[0], -one[1])):
            if value > best:
                best = value
                frontier.append((time, value))
        times, values = zip(*frontier, strict=True)
        axes.step(times, values, where="post", color="#888888", linewidth=0.8, label="nothing is better at both")
        for time, value, one in sorted(points[where], key=lambda point: point[2].model):
            run, model = one.run, one.model
            found = run.metrics[run.headline]
            ends = [value if one is None else one for one in (found.low, found.high)]
            axes.plot([time, time], ends, linewidth=1, color=canvas.style(model)["color"])
            axes.plot(time, value, canvas.mark(model), color=canvas.style(model)["color"], label=model)
            numbers = [value, found.low, found.high]
            canvas.line(name, where.replace("\n", ", "), model, f"{run.headline} at {time:.4g} {key}", numbers, found.n)
        axes.set(xlim=(0, 1.15 * max(time for time, _, _ in points[where])), ylim=(0, None))
        axes.set(xlabel=label, ylabel=points[where][0][2].run.headline)

    canvas.panels(name, f"Accuracy against {name}", says, list(points), draw, 2.3)
