"""What the runs cost: parameters, operations of a query, peak memory and images per second, beside the headline.

Only runs whose records have parameters or counted operations are listed.  Images per second are of the run itself, at
its own batch size; runs on different devices are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core import Run
from harness.report.text import MINIATURE, number
from harness.sinks import cell, csv_text

COLUMNS = (
    "data", "task", "split", "model", "metric", "value", "parameters", "GFLOPs of a query", "counted",
    "peak memory MiB", "peak GPU memory MiB", "images/s", "device", "batch size", "id",
)  # fmt: skip


def rows(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """A row for each run, by data, task, split and model; a number that the record does not have is ""."""
    result = []
    for run in runs:
        spec, model, cost = run.spec, run.provenance.get("model", {}), run.provenance.get("cost", {})
        parameters = model.get("parameters")
        if not isinstance(parameters, int) and "GFLOPs" not in cost:
            continue
        timings = {name: run.timings.get(name) for name in ("peak memory MiB", "peak GPU memory MiB", "images/s")}
        numbers = [cost.get("GFLOPs"), *timings.values()]
        gflops, memory, on_gpu, rate = ("" if each is None else f"{each:.4g}" for each in numbers)
        counted = str(cost.get("of", "")) if "GFLOPs" in cost else ""
        result.append((
            spec.data, spec.task, spec.split, spec.model, run.headline, number(run.metrics.get(run.headline)),
            f"{parameters:,}" if isinstance(parameters, int) else "", gflops, counted, memory, on_gpu, rate,
            str(model.get("device", "")), str(model.get("batch size", "")), run.id,
        ))  # fmt: skip
    return sorted(result)


def write(runs: Sequence[Run], folder: Path) -> None:
    """Writes `costs.csv` and `costs.md`; neither where no run has costs."""
    found = rows(runs)
    if not found:
        return
    lines = [
        "# Costs",
        "",
        "This file is generated; do not edit it. GFLOPs are of one query that runs alone.",
        "",
    ]
    if any(row[0] == "miniature" for row in found):
        lines += [f"{MINIATURE}.", ""]
    lines += [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(map(cell, row))} |" for row in found]
    (folder / "costs.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "costs.csv").write_text(csv_text([COLUMNS, *found]), encoding="utf-8")
