"""The results of a study as a table and a figure: means over seeds, paired differences, and the paper's figures.

Intervals are 95 % Student t-intervals over seeds.  A difference is paired by seed: cells of one seed have the same
initial weights in the parts that they share, and see scenes in the same order.  With three seeds a t-interval extends
4.3 standard errors to each side, so most small differences stay undecided.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.sinks import csv_text

QUANTILE = 0.975  # upper end of a two-sided 95 % interval
NOT_RUN = "not run"
COLUMNS = (
    *("study", "world", "arm", "evaluation", "task", "metric", "seeds", "mean", "low", "high"),
    *("baseline", "difference", "difference_low", "difference_high", "paper"),
)


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean over seeds, its 95 % interval (None with fewer than two seeds), and the number of each seed."""

    mean: float
    low: float | None
    high: float | None
    n: int
    each: tuple[float, ...] = ()

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The mean of at least one value with Student's t-interval."""
        mean = float(np.mean(values))
        if len(values) < 2:
            return cls(mean, None, None, len(values), tuple(values))
        from scipy.special import stdtrit  # imported here because every command imports this module, and scipy is slow

        half = float(stdtrit(len(values) - 1, QUANTILE)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return cls(mean, mean - half, mean + half, len(values), tuple(values))

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval excludes 0; False without an interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def is_within(self, margin: float | None) -> bool:
        """Whether the interval lies between -margin and margin; False without an interval or a margin."""
        if margin is None or self.low is None or self.high is None:
            return False
        return -margin < self.low and self.high < margin

    def as_text(self, sign: bool = False, digits: int = 1) -> str:
        """ "12.3 [10.1, 14.5]"; `sign` writes a plus before a positive mean."""
        number = f"{self.mean:{'+' if sign else ''}.{digits}f}"
        if self.low is None or self.high is None:
            return number
        return f"{number} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True, slots=True)
class ArmResult:
    """An arm under one evaluation: per task its values, paired differences and published figures.

    `values` is empty if no seed has been run.
    """

    arm: str
    evaluation: str  # "" for the evaluation that matches the training
    about: str
    values: Mapping[str, Spread]
    differences: Mapping[str, Spread]
    paper: Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class StudyResult:
    """A study with its results, as shown."""

    name: str
    question: str
    baseline: str  # the arm from which differences are taken
    paper_summary: str
    locator: str  # place of the figures in the paper
    arms: Sequence[ArmResult]
    metrics: Mapping[str, str]  # task to metric
    done: int  # cells with a record
    cells: int
    world: str
    claims: Sequence[tuple[str, str, str]]  # claim, verdict versus the paper, note
    paper: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)  # by arm and task, for every arm
    margins: Mapping[str, float] = field(default_factory=dict)  # by task: smaller differences count as equal
    # By arm and evaluation: seconds of asking over those of the baseline, in the same process; empty if not compared
    costs: Mapping[tuple[str, str], Spread] = field(default_factory=dict)

    @property
    def run(self) -> list[ArmResult]:
        """The arms with at least one seed."""
        return [result for result in self.arms if result.values]


Values = Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]  # (arm, evaluation) to seed to task to number


def results_of(
    values: Values,
    baseline: tuple[str, str],
    abouts: Mapping[str, str],
    paper: Mapping[str, Mapping[str, float | None]],
) -> list[ArmResult]:
    """The result of each arm and evaluation, in the order of `values`.

    Differences are over the seeds that both the arm and the baseline have.
    """
    results = []
    base = values.get(baseline, {})
    for (arm, evaluation), by_seed in values.items():
        tasks = list(next(iter(by_seed.values()), {}))
        both = sorted(by_seed.keys() & base.keys())
        differences = {
            task: Spread.of([by_seed[seed][task] - base[seed][task] for seed in both])
            for task in tasks
            if both and (arm, evaluation) != baseline
        }
        spreads = {task: Spread.of([numbers[task] for numbers in by_seed.values()]) for task in tasks}
        published = paper.get(arm, {}) if not evaluation else {}
        results.append(ArmResult(arm, evaluation, abouts.get(arm, ""), spreads, differences, published))
    return results


def markdown(study: StudyResult) -> str:
    """The page of a study: results, paired differences, the figures of the paper, and claims."""
    out = io.StringIO()
    out.write(f"# Study: {study.name}\n\n{study.question}\n\n")
    out.write(
        f"**Small models on the miniature's {study.world} world: not comparable with numbers of a real benchmark.** "
        f"{study.done} of {study.cells} cells have a record; a cell is an arm with a seed. Values are means over seeds "
        f"with 95 % t-intervals. Differences are paired by seed with *{study.baseline}*; bold means that the interval "
        f"excludes 0{_margins(study)}. Decoding is greedy where the evaluation does not say otherwise.\n\n"
    )
    heads = [f"{task} {metric}" for task, metric in study.metrics.items()]
    out.write(f"| arm | evaluation | seeds | {' | '.join(heads)} |\n|---|---|--:|{'--:|' * len(heads)}\n")
    for result in study.arms:
        cells = [result.values[task].as_text() if result.values else NOT_RUN for task in study.metrics]
        seeds = max((spread.n for spread in result.values.values()), default=0)
        out.write(f"| {result.arm} | {_evaluation(result)} | {seeds} | {' | '.join(cells)} |\n")
    if any(result.differences for result in study.arms):
        out.write(f"\nDifference from *{study.baseline}*, paired by seed:\n\n")
        out.write(f"| arm | evaluation | {' | '.join(heads)} |\n|---|---|{'--:|' * len(heads)}\n")
        for result in (result for result in study.arms if result.differences):
            cells = [_difference(result.differences[task], study.margins.get(task)) for task in study.metrics]
            out.write(f"| {result.arm} | {_evaluation(result)} | {' | '.join(cells)} |\n")
        out.write(f"\n{resolved(study)}\n")
    if study.costs:
        out.write(f"\nSeconds of asking over those of *{study.baseline}*, in the same process one after the other:\n\n")
        out.write("| arm | evaluation | seconds, ratio |\n|---|---|--:|\n")
        for (arm, evaluation), spread in study.costs.items():
            out.write(f"| {arm} | {evaluation or 'as trained'} | {spread.as_text(digits=2)} |\n")
    out.write(f"\n## The paper\n\n{study.paper_summary}\n")
    if study.paper:
        out.write(
            f"\nFigures of the paper ({study.locator}), on real data; only the sign of a difference is comparable:\n\n"
        )
        out.write(f"| arm | {' | '.join(heads)} |\n|---|{'--:|' * len(heads)}\n")
        for arm, numbers in study.paper.items():
            cells = ["–" if numbers[task] is None else f"{numbers[task]}" for task in study.metrics]
            out.write(f"| {arm} | {' | '.join(cells)} |\n")
        out.write(f"\n{agreement(study)}\n")
    for claim, verdict, note in study.claims:
        out.write(f"\nClaim: *{claim}*. Verdict versus the paper: **{verdict}**{'; ' + note if note else ''}.\n")
    return out.getvalue()


def agreement(study: StudyResult) -> str:
    """A list of the paper's differences from the baseline: same sign here, opposite sign here, or undecided.

    A difference is undecided if its interval here includes 0.
    """
    by_arm = {result.arm: result for result in study.run if not result.evaluation}
    base = by_arm.get(study.baseline)
    if base is None or not base.paper:
        return "No comparison: the baseline arm has not been run."
    verdicts: dict[str, list[str]] = {"same sign": [], "opposite sign": [], "undecided": []}
    for name, result in by_arm.items():
        for task, spread in result.differences.items():
            published, standard = result.paper.get(task), base.paper.get(task)
            if published is None or standard is None or published == standard:
                continue
            same = (published > standard) == (spread.mean > 0)
            verdict = "undecided" if not spread.excludes_zero else "same sign" if same else "opposite sign"
            verdicts[verdict].append(
                f"{name} {study.metrics[task]} (paper {published - standard:+.1f}, here {spread.mean:+.1f})"
            )
    if not any(verdicts.values()):
        return "No comparison: no other arm of the paper has been run."
    return "\n".join(f"- {verdict}: {'; '.join(entries) or 'none'}" for verdict, entries in verdicts.items())


def _evaluation(result: ArmResult) -> str:
    return result.evaluation or "as trained"


def _difference(spread: Spread, margin: float | None = None) -> str:
    text = spread.as_text(sign=True)
    if spread.excludes_zero:
        return f"**{text}**"
    return f"= {text}" if spread.is_within(margin) else text


def _margins(study: StudyResult) -> str:
    if not study.margins:
        return ""
    named = ", ".join(f"{study.margins[task]:g} {metric}" for task, metric in study.metrics.items())
    return f", and = that it lies within the margin of equality ({named})"


def resolved(study: StudyResult) -> str:
    """How many comparisons of the study say something: a difference, or equality within the margin."""
    pairs = [(spread, study.margins.get(task)) for result in study.run for task, spread in result.differences.items()]
    different = sum(spread.excludes_zero for spread, _ in pairs)
    equal = sum(not spread.excludes_zero and spread.is_within(margin) for spread, margin in pairs)
    open_ = len(pairs) - different - equal
    return (
        f"Of {len(pairs)} comparisons, {different} show a difference and {equal} equality within the margin; {open_} "
        "cannot tell."
    )


def table(study: StudyResult) -> str:
    """The results as CSV, one row per arm, evaluation and metric; an arm that has not been run has no row."""
    rows: list[Sequence[object]] = [COLUMNS]
    for result in study.run:
        for task, metric in study.metrics.items():
            value, difference = result.values[task], result.differences.get(task)
            difference_cells = [difference.mean, difference.low, difference.high] if difference else ["", "", ""]
            row = [study.name, study.world, result.arm, result.evaluation, task, metric, value.n]
            row += [_cell(number) for number in (value.mean, value.low, value.high)]
            rows.append([*row, study.baseline, *map(_cell, difference_cells), _cell(result.paper.get(task))])
    return csv_text(rows)


def _cell(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.4f}"


def draw(study: StudyResult, path: Path) -> None:
    """Draws one panel per metric as .svg and .png; `path` has no suffix.

    Each arm that has been run shows its mean, a stroke per seed, and with three or more seeds the interval.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    results = list(reversed(study.run))
    names = [f"{result.arm}{', ' + result.evaluation if result.evaluation else ''}" for result in results]
    with rc_context({"svg.hashsalt": study.name, "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(11, 1.6 + 0.34 * len(results)), layout="constrained")
        panels = figure.subplots(1, len(study.metrics), sharey=True, squeeze=False)[0]
        for axes, (task, metric) in zip(panels, study.metrics.items(), strict=True):
            for place, result in enumerate(results):
                spread = result.values[task]
                is_base = result.arm == study.baseline and not result.evaluation
                style = {"color": "#0072b2" if is_base else "#333333", "marker": "s" if is_base else "o"}
                axes.plot([spread.mean], [place], **style)
                axes.plot(spread.each, [place] * spread.n, "|", color=style["color"], markersize=9)
                if spread.low is not None and spread.high is not None and spread.n > 2:
                    axes.plot([spread.low, spread.high], [place, place], color=style["color"], linewidth=1.5)
            axes.set_title(f"{task}\n{metric}", fontsize=9)
            axes.grid(axis="x", alpha=0.3)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(-0.6, len(names) - 0.4)
        title = f"{study.name}: miniature, {study.world} world, {study.done} of {study.cells} cells"
        figure.suptitle(title, fontsize=10)
        for ending in ("svg", "png"):
            figure.savefig(
                path.with_suffix(f".{ending}"), metadata={"Date": None} if ending == "svg" else None, dpi=110
            )
