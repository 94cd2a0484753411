"""Our runs beside published figures: which run a cell shows, and its difference from what is published of the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness import published
from harness.core import Estimate, Run
from harness.published import Column, Figure, OurModel
from harness.report.text import number

NOT_RUN = "not measured"
NOT_SCORED = "not scored here"


@dataclass(frozen=True, slots=True)
class OurRow:
    """A row of a table, and the notes on its runs."""

    cells: Sequence[str]
    notes: Sequence[str]


def row(ours: OurModel, columns: Sequence[Column], figures: Sequence[Figure], runs: Sequence[Run]) -> OurRow:
    """The row of one of our models: its runs on the data, split and protocol of the table's columns."""
    cells, notes = [], []
    for column in columns:
        names = published.ours(*column)
        made = comparable(runs, ours.model, ours.protocol, names) if names is not None else []
        if names is None or not made:
            cells.append(NOT_SCORED if names is None else NOT_RUN)
            continue
        estimate = standing_for(made).metrics[names[2]]
        cells.append(f"{number(estimate)}{_difference(estimate, ours, column, figures)}")
        notes.append(f"{ours.model}, {column.title}: {_provenance(made, estimate)}")
    training = "run here; weights: see the notes" if notes else "not run here"
    return OurRow([f"{ours.model} (ours)", "", ours.protocol.replace("_", "-"), training, *cells], notes)


def comparable(runs: Sequence[Run], model: str, protocol: str, names: tuple[str, str, str]) -> list[Run]:
    """The runs that can stand beside a published figure (`names`: task, split, metric): whole, and on the real data."""
    task, split, metric = names
    wanted = (model, protocol, task, split)
    return [
        run for run in runs
        if (run.spec.model, run.spec.protocol, run.spec.task, run.spec.split) == wanted
        and run.spec.data != "miniature" and run.spec.limit is None and metric in run.metrics
    ]  # fmt: skip


def standing_for(runs: Sequence[Run]) -> Run:
    """Which of several runs of the same model on the same split a table shows.

    A complete run comes before a partial one, then the latest version of the task, then the newest run: numbers of two
    versions of a task are not comparable.
    """

    def rank(run: Run) -> tuple[bool, int, str, str]:
        return run.status == "complete", run.spec.version, str(run.provenance.get("date", "")), run.id

    return max(runs, key=rank)


def of_several(runs: Sequence[Run]) -> str:
    """A note: which of several runs is shown, and which others there are."""
    shown = standing_for(runs)
    others = ", ".join(f"{run.id} (version {run.spec.version})" for run in runs if run is not shown)
    return f"Run {shown.id} is shown, the newest of version {shown.spec.version}; other runs: {others}."


def _difference(estimate: Estimate, ours: OurModel, column: Column, figures: Sequence[Figure]) -> str:
    """`; +0.5` after the number; "" where the table has no figure of the model in the column."""
    theirs = [figure for figure in figures if figure.column == column and ours.publishes(figure) and figure.exact]
    return f"; {estimate.value - theirs[0].value:+.1f}" if theirs and estimate.value is not None else ""


def _provenance(runs: Sequence[Run], estimate: Estimate) -> str:
    run = standing_for(runs)
    model = run.provenance.get("model", {})
    date = str(run.provenance.get("date", "an unknown date"))[:10]
    device = model.get("device", "an unknown device")
    weights = str(model.get("weights sha256", "not recorded"))[:12]
    several = f" {of_several(runs)}" if len(runs) > 1 else ""
    return f"run {run.id} of {date} on {device}, n = {estimate.n:,}, weights {weights}.{several}"
