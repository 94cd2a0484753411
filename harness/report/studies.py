"""A study's records as a table and a figure: means over seeds with 95 % t-intervals, paired differences, and the paper.

A difference is paired by seed: cells of the same seed start from the same weights where they have the same parts, and
see scenes in the same order.  With three seeds a t-interval is 4.3 standard errors wide on either side, so what it does
not settle is said to be unsettled.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LEVEL = 0.975
COLUMNS = (
    *("study", "world", "arm", "asked", "task", "metric", "seeds", "mean", "low", "high"),
    *("against", "difference", "difference_low", "difference_high", "paper"),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds, its 95 % interval (None with fewer than two), and each seed's number."""

    mean: float
    low: float | None
    high: float | None
    n: int
    each: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Student's interval around the mean."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, None, None, len(values), tuple(values))
        from scipy.special import stdtrit  # Student's t; two tenths of a second, and every command imports this file

        half = float(stdtrit(len(values) - 1, LEVEL)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half, len(values), tuple(values))

    @property
    def settled(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def said(self, sign: bool = False) -> str:
        """ "12.3 [10.1, 14.5]"."""
        number = f"{self.mean:+.1f}" if sign else f"{self.mean:.1f}"
        return number if self.low is None or self.high is None else f"{number} [{self.low:.1f}, {self.high:.1f}]"


@dataclass(frozen=True, slots=True)
class Line:
    """An arm, asked in one way: each metric's spread, its paired difference, and what the paper has."""

    arm: str
    evaluation: str
    about: str
    values: Mapping[str, Spread]
    differences: Mapping[str, Spread]
    paper: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Told:
    """A study as it is shown."""

    name: str
    question: str
    against: str
    says: str
    locator: str
    lines: Sequence[Line]
    metrics: Mapping[str, str]  # task to metric
    done: int
    wanted: int
    world: str
    claims: Sequence[tuple[str, str, str]]  # the claim, its verdict against the paper, what is noted
    paper: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)  # by arm and task, done or not


Values = Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]  # (arm, evaluation) to seed to task to number


def lines_of(
    values: Values, against: tuple[str, str], abouts: Mapping[str, str], paper: Mapping[str, Mapping[str, float | None]]
) -> list[Line]:
    """The lines of a study's table, in the order of `values`; an arm with no seed done is left out."""
    lines = []
    base = values.get(against, {})
    for (arm, evaluation), by_seed in values.items():
        if not by_seed:
            continue
        tasks = list(next(iter(by_seed.values())))
        both = sorted(by_seed.keys() & base.keys())
        differences = {
            task: Spread.of([by_seed[seed][task] - base[seed][task] for seed in both])
            for task in tasks
            if both and (arm, evaluation) != against
        }
        spreads = {task: Spread.of([numbers[task] for numbers in by_seed.values()]) for task in tasks}
        printed = paper.get(arm, {}) if not evaluation else {}
        lines.append(Line(arm, evaluation, abouts.get(arm, ""), spreads, differences, printed))
    return lines


def markdown(told: Told) -> str:
    """The study's page."""
    out = io.StringIO()
    out.write(f"# Study: {told.name}\n\n{told.question}\n\n")
    out.write(
        f"**On the miniature's {told.world} world, never to be read as numbers of a real benchmark.** "
        f"{told.done} of {told.wanted} cells are done. Means over seeds with 95 % t-intervals; differences are paired "
        f"by seed with *{told.against}*, and bold where their interval leaves out 0. Greedy decoding.\n\n"
    )
    heads = [f"{task} {metric}" for task, metric in told.metrics.items()]
    out.write(f"| arm | asked | seeds | {' | '.join(heads)} |\n|---|---|--:|{'--:|' * len(heads)}\n")
    for line in told.lines:
        cells = [line.values[task].said() for task in told.metrics]
        seeds = max(spread.n for spread in line.values.values())
        out.write(f"| {line.arm} | {line.evaluation or 'as trained'} | {seeds} | {' | '.join(cells)} |\n")
    if any(line.differences for line in told.lines):
        out.write(f"\nDifference to *{told.against}*, paired by seed:\n\n")
        out.write(f"| arm | asked | {' | '.join(heads)} |\n|---|---|{'--:|' * len(heads)}\n")
        for line in (line for line in told.lines if line.differences):
            cells = [_difference(line.differences[task]) for task in told.metrics]
            out.write(f"| {line.arm} | {line.evaluation or 'as trained'} | {' | '.join(cells)} |\n")
    out.write(f"\n## The paper\n\n{told.says}\n")
    if told.paper:
        out.write(f"\nIts figures ({told.locator}), on real data, not to be compared in size:\n\n")
        out.write(f"| arm | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}\n")
        for arm, numbers in told.paper.items():
            cells = ["" if numbers[task] is None else f"{numbers[task]}" for task in told.metrics]
            out.write(f"| {arm} | {' | '.join(cells)} |\n")
        out.write(f"\n{agreement(told)}\n")
    for claim, verdict, note in told.claims:
        out.write(f"\nClaim: *{claim}*: **{verdict}**{'; ' + note if note else ''}.\n")
    return out.getvalue()


def agreement(told: Told) -> str:
    """Which of the paper's differences have the same sign here, which the opposite, and which cannot be told."""
    by_arm = {line.arm: line for line in told.lines if not line.evaluation}
    base = by_arm.get(told.against)
    if base is None or not base.paper:
        return "Nothing can be compared yet: the arm that others are held against is not done."
    found: dict[str, list[str]] = {"agrees": [], "disagrees": [], "cannot tell": []}
    for name, line in by_arm.items():
        for task, spread in line.differences.items():
            printed, standard = line.paper.get(task), base.paper.get(task)
            if printed is None or standard is None or printed == standard:
                continue
            same = (printed > standard) == (spread.mean > 0)
            verdict = "cannot tell" if not spread.settled else "agrees" if same else "disagrees"
            found[verdict].append(
                f"{name} {told.metrics[task]} ({printed - standard:+.1f} there, {spread.mean:+.1f} here)"
            )
    if not any(found.values()):
        return "Nothing can be compared yet: no other arm that the paper has is done."
    return "\n".join(f"- {verdict}: {'; '.join(which) or 'none'}" for verdict, which in found.items())


def _difference(spread: Spread) -> str:
    said = spread.said(sign=True)
    return f"**{said}**" if spread.settled else said


def table(told: Told) -> str:
    """The same as CSV, one row a metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in told.lines:
        for task, metric in told.metrics.items():
            value, difference = line.values[task], line.differences.get(task)
            of = [difference.mean, difference.low, difference.high] if difference else ["", "", ""]
            row = [told.name, told.world, line.arm, line.evaluation, task, metric, value.n]
            row += [_plain(x) for x in (value.mean, value.low, value.high)]
            writer.writerow([*row, told.against, *map(_plain, of), _plain(line.paper.get(task))])
    return out.getvalue()


def _plain(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4f}"


def draw(told: Told, path: Path) -> None:
    """A panel a metric: each arm's mean, its seeds as strokes, and from three seeds on the mean's interval.

    `path` is without its ending, for .svg and .png.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    lines = list(reversed(told.lines))
    names = [f"{line.arm}{', ' + line.evaluation if line.evaluation else ''}" for line in lines]
    with rc_context({"svg.hashsalt": told.name, "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(11, 1.6 + 0.34 * len(lines)), layout="constrained")
        panels = figure.subplots(1, len(told.metrics), sharey=True, squeeze=False)[0]
        for axes, (task, metric) in zip(panels, told.metrics.items(), strict=True):
            for place, line in enumerate(lines):
                spread = line.values[task]
                is_base = line.arm == told.against and not line.evaluation
                style = {"color": "#0072b2" if is_base else "#333333", "marker": "s" if is_base else "o"}
                axes.plot([spread.mean], [place], **style)
                axes.plot(spread.each, [place] * spread.n, "|", color=style["color"], markersize=9)
                if spread.low is not None and spread.high is not None and spread.n > 2:
                    axes.plot([spread.low, spread.high], [place, place], color=style["color"], linewidth=1.5)
            axes.set_title(f"{task}\n{metric}", fontsize=9)
            axes.grid(axis="x", alpha=0.3)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(-0.6, len(names) - 0.4)
        figure.suptitle(f"{told.name}: miniature, {told.world} world, {told.done} of {told.wanted} cells", fontsize=10)
        for ending in ("svg", "png"):
            figure.savefig(
                path.with_suffix(f".{ending}"), metadata={"Date": None} if ending == "svg" else None, dpi=110
            )
