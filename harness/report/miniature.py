"""Tables of the embedded benchmark, one per protocol, without published figures."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Run
from harness.report.ours import representative, several_runs_note
from harness.report.tables import Table
from harness.report.text import MINIATURE, number
from harness.sinks import file_name

Cell = tuple[str, str, str]  # model, task, split


def tables(runs: Sequence[Run]) -> list[Table]:
    """One table per protocol with the headlines of all complete runs on the miniature."""
    complete = [run for run in runs if run.spec.data == "miniature" and run.status == "complete"]
    protocols = dict.fromkeys(run.spec.protocol for run in complete)
    return [_table(protocol, [run for run in complete if run.spec.protocol == protocol]) for protocol in protocols]


def _table(protocol: str, runs: Sequence[Run]) -> Table:
    by_cell: dict[Cell, list[Run]] = {}
    for run in runs:
        by_cell.setdefault((run.spec.model, run.spec.task, run.spec.split), []).append(run)
    models = list(dict.fromkeys(run.spec.model for run in runs))
    cells = {cell: _headline(representative(several)) for cell, several in by_cell.items()}
    rows = [
        [f"{task} {split}, {metric}", *(cells.get((model, task, split), "–") for model in models)]
        for task, split, metric in dict.fromkeys((run.spec.task, run.spec.split, run.headline) for run in runs)
    ]
    notes = [f"{MINIATURE[0].upper()}{MINIATURE[1:]}."]
    notes += [
        f"{' '.join(cell)}: {several_runs_note(several)}" for cell, several in by_cell.items() if len(several) > 1
    ]
    title = f"MINIATURE (embedded benchmark), {protocol.replace('_', '-')}"
    return Table(f"miniature_{file_name(protocol)}", title, ["task", *models], rows, 1, notes)


def _headline(run: Run) -> str:
    return number(run.metrics.get(run.headline))
