"""Our runs in tables of published figures: the run that a cell shows, and its difference from the published figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness import published
from harness.core import Estimate, Run
from harness.published import Column, Figure, OurModel
from harness.report.joined import why_not
from harness.report.text import number

NOT_RUN = "not run"
NOT_SCORED = "not scored here"  # no task of this harness, or only an evaluation server can score the split


@dataclass(frozen=True, slots=True)
class OurRow:
    """A row of a table, and one note for each run in it."""

    cells: Sequence[str]
    notes: Sequence[str]


def row(ours: OurModel, columns: Sequence[Column], figures: Sequence[Figure], runs: Sequence[Run]) -> OurRow:
    """The row of one of our models, with a cell per column: the runs on its data, split and protocol.

    `figures` are the published figures of the table; a cell shows the difference from the figure of the same model.
    Where a run is not comparable with published figures, the cell says why.
    """
    cells, notes = [], []
    for column in columns:
        names = published.ours(*column)
        if names is None:
            cells.append(NOT_SCORED)
            continue
        candidates = comparable(runs, ours.model, ours.protocol, names)
        if not candidates:
            cells.append(no_run(runs, ours.model, ours.protocol, names))
            continue
        estimate = representative(candidates).metrics[names[2]]
        cells.append(f"{number(estimate)}{_difference(estimate, ours, column, figures)}")
        notes.append(f"{ours.model}, {column.title}: {_provenance(candidates, estimate)}")
    training = "run with this harness; weights in the notes" if notes else NOT_RUN
    return OurRow([f"{ours.model} (ours)", "", ours.protocol.replace("_", "-"), training, *cells], notes)


def comparable(runs: Sequence[Run], model: str, protocol: str, names: tuple[str, str, str]) -> list[Run]:
    """The runs that are comparable with a published figure (`joined.why_not`).

    `names` is our task, split and metric.  A run must have the same model, protocol, task and split, and the metric.
    """
    return [run for run in _matching(runs, model, protocol, names) if not why_not(run)]


def no_run(runs: Sequence[Run], model: str, protocol: str, names: tuple[str, str, str]) -> str:
    """What a cell says without a comparable run: why the newest run on real data is not comparable, else NOT_RUN."""
    matching = _matching(runs, model, protocol, names)
    return f"not compared: {why_not(representative(matching))}" if matching else NOT_RUN


def _matching(runs: Sequence[Run], model: str, protocol: str, names: tuple[str, str, str]) -> list[Run]:
    """The runs of a model and protocol, on real data, with our task, split and metric."""
    task, split, metric = names
    key = (model, protocol, task, split)
    return [
        run for run in runs
        if (run.spec.model, run.spec.protocol, run.spec.task, run.spec.split) == key
        and run.spec.data != "miniature" and metric in run.metrics
    ]  # fmt: skip


def representative(runs: Sequence[Run]) -> Run:
    """The run that a table shows, out of several runs of one model on one split.

    A complete run precedes a partial run, then the latest task version, then the newest date.  Numbers of two task
    versions are not comparable.  ValueError if `runs` is empty.
    """

    def rank(run: Run) -> tuple[bool, int, str, str]:
        return run.status == "complete", run.spec.version, str(run.provenance.get("date", "")), run.id

    return max(runs, key=rank)


def highest(runs: Sequence[Run], most: int) -> list[Run]:
    """Of each data set, task and split, the `most` runs with the highest headlines, in the order given."""
    columns: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        columns.setdefault((run.spec.data, run.spec.task, run.spec.split), []).append(run)
    kept = {id(run) for column in columns.values() for run in sorted(column, key=_headline, reverse=True)[:most]}
    return [run for run in runs if id(run) in kept]


def _headline(run: Run) -> float:
    """The value of the headline; minus infinity without one."""
    estimate = run.metrics.get(run.headline)
    return -math.inf if estimate is None or estimate.value is None else estimate.value


def several_runs_note(runs: Sequence[Run]) -> str:
    """A note that names the run shown and the other runs, each with its task version."""
    shown = representative(runs)
    others = ", ".join(f"{run.id} (version {run.spec.version})" for run in runs if run is not shown)
    return f"Run {shown.id} is shown, the newest of version {shown.spec.version}; other runs: {others}."


def _difference(estimate: Estimate, ours: OurModel, column: Column, figures: Sequence[Figure]) -> str:
    """`; +0.5`; "" if the table has no exact figure of the model in the column, or the metric is undefined."""
    matching = [figure for figure in figures if figure.column == column and ours.publishes(figure) and figure.exact]
    return f"; {estimate.value - matching[0].value:+.1f}" if matching and estimate.value is not None else ""


def _provenance(runs: Sequence[Run], estimate: Estimate) -> str:
    run = representative(runs)
    model = run.provenance.get("model", {})
    date = str(run.provenance.get("date", "an unknown date"))[:10]
    device = model.get("device", "an unknown device")
    weights = str(model.get("weights sha256", "not recorded"))[:12]
    several = f" {several_runs_note(runs)}" if len(runs) > 1 else ""
    return f"run {run.id} of {date} on {device}, n = {estimate.n:,}, weights sha256 {weights}.{several}"
