"""The data of the first page: models, tasks, runs, and the place of each run in the leaderboard.

A cell of the leaderboard is one model and protocol on one task, split and data set.  Where several runs fill it, the
cell shows the run that the tables of the report show (`report.ours.representative`).

Floors and ceilings are marks on the scale of a task, not contestants.  Published figures are listed for runs on real
data only, apart from our own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import baselines
from baselines import floors, trivial
from harness import published
from harness.core import Estimate, Run
from harness.report.ours import representative
from harness.report.text import MINIATURE, suspicion
from harness.store import edited
from harness.viewer.commands import missing
from harness.viewer.given import Listed
from harness.viewer.leaderboard import places
from tasks import TASKS

FLOORS = frozenset(entry.name for entry in (*trivial.ENTRIES, *floors.ENTRIES))
CEILINGS = frozenset(entry.name for entry in baselines.MODELS.values() if entry.sees_targets)
FAMILY = {entry.name: family.__name__.rpartition(".")[2] for family in baselines.FAMILIES for entry in family.ENTRIES}
FIGURES = 12  # published figures of one task


def overview(listed: Sequence[Listed], left_out: Sequence[tuple[str, str]] = (), *, live: bool) -> dict[str, Any]:
    """The payload of the chunk `overview`.  `left_out` are pairs of runs that the pages do not compare."""
    runs = [item.run for item in listed]
    columns: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        columns.setdefault((run.spec.data, run.spec.task, run.spec.split), []).append(run)
    return {
        "live": live,
        "sentence": sentence(runs),
        "note": MINIATURE,
        "models": _models(runs),
        "tasks": [_task(*key, of_key) for key, of_key in columns.items()],
        "runs": [_run(item) for item in listed],
        "pairs left out": [" ".join(pair) for pair in left_out],
        "missing": [cell._asdict() for cell in missing(runs)],
    }


def sentence(runs: Sequence[Run]) -> str:
    """What was evaluated, in one sentence."""
    if not runs:
        return "No runs yet."
    models = {run.spec.model for run in runs} - FLOORS - CEILINGS
    data = sorted({run.spec.data for run in runs})
    dates = sorted({str(run.provenance.get("date", ""))[:10] for run in runs} - {""})
    period = f", {dates[0]}" if dates else ""
    period += f" to {dates[-1]}" if len(dates) > 1 else ""
    answers = sum(run.counts.get("answered", 0) for run in runs)
    named = ", ".join(data[:3]) + (f" and {len(data) - 3} more data sets" if len(data) > 3 else "")
    return (
        f"{_count(len(models), 'model')} on {_count(len({run.spec.task for run in runs}), 'task')} of {named}: "
        f"{_count(len(runs), 'run')}, {answers:,} predictions{period}."
    )


def warnings(run: Run) -> list[str]:
    """Why the numbers of a run cannot be trusted or are preliminary, as sentences; empty if they can be trusted."""
    provenance = run.provenance
    said = ["The record was edited: its numbers are not those that were scored."] if edited(run) else []
    said += [str(provenance["contradicted"])] if provenance.get("contradicted") else []
    said += [suspicion(run)] if suspicion(run) else []
    if run.status == "incomplete":
        first = next(iter(provenance.get("failures", {}).values()), "")
        said.append(f"{run.counts.get('failed', 0)} questions failed, so there is no result; first failure: {first}")
    remarks = [provenance.get(name) for name in ("remarks", "notes")]  # of any type in a record of a stranger
    return said + [str(remark) for listed in remarks if isinstance(listed, list | tuple) for remark in listed]


def role(model: str) -> str:
    """Whether a model is a "floor", a "ceiling", or a "model" that competes."""
    return "floor" if model in FLOORS else "ceiling" if model in CEILINGS else "model"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _models(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One entry for each model and protocol, in order of first appearance."""
    first = {(run.spec.model, run.spec.protocol): run for run in reversed(runs)}
    ordered = dict.fromkeys((run.spec.model, run.spec.protocol) for run in runs)
    entries = []
    for model, protocol in ordered:
        entry = baselines.MODELS.get(str(first[model, protocol].provenance.get("entry", model)))
        entries.append(
            {
                "model": model, "protocol": protocol, "role": role(model),
                "family": FAMILY.get(entry.name if entry else model, "other"), "about": entry.about if entry else "",
            }
        )  # fmt: skip
    return entries


def _task(data: str, task: str, split: str, runs: Sequence[Run]) -> dict[str, Any]:
    """One row of the leaderboard with its cells by "model protocol"."""
    by_model: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        by_model.setdefault((run.spec.model, run.spec.protocol), []).append(run)
    shown = {key: representative(of_model) for key, of_model in by_model.items()}
    metric = next((run.headline for run in shown.values() if run.finished), runs[0].headline)
    same = {key: run for key, run in shown.items() if run.headline == metric}
    numbers = {key: run.metrics[metric] for key, run in same.items() if metric in run.metrics and run.finished}
    ranked = places(
        {f"{model} {protocol}": each for (model, protocol), each in numbers.items() if role(model) == "model"}
    )
    cells = {}
    for (model, protocol), run in same.items():
        place = ranked.get(f"{model} {protocol}")
        cells[f"{model} {protocol}"] = {
            "run": run.id, "others": len(by_model[model, protocol]) - 1,
            "best": bool(place and place.best),
            "rank": [place.first, place.last] if place and len(ranked) > 1 else None,
        }  # fmt: skip
    known = TASKS.get(task)
    figures = [] if data == "miniature" else published.figures(task, split, metric)[:FIGURES]
    return {
        "data": data, "task": task, "split": split, "metric": metric, "about": known.about if known else "",
        "seen": known.seen_in_training if known and data != "miniature" else "",
        "top": scale(metric, list(numbers.values())), "cells": cells,
        "published": [
            {
                "model": figure.model, "protocol": figure.protocol, "value": figure.value, "source": figure.source,
                "where": figure.locator,
            }
            for figure in figures
        ],
    }  # fmt: skip


def scale(metric: str, numbers: Sequence[Estimate]) -> float:
    """The end of a task's scale, which begins at 0: 100 for a percentage, the largest value or bound for CIDEr."""
    highest = max((bound for each in numbers for bound in (each.value, each.high) if bound is not None), default=0.0)
    return highest if "CIDEr" in metric and highest > 0 else max(100.0, highest)


def _run(item: Listed) -> dict[str, Any]:
    run = item.run
    spec, estimate, model = run.spec, run.metrics.get(run.headline), run.provenance.get("model", {})
    return {
        "id": run.id, "data": spec.data, "task": spec.task, "split": spec.split, "model": spec.model,
        "protocol": spec.protocol, "version": spec.version, "limit": spec.limit, "status": run.status,
        "state": item.state, "metric": run.headline, "role": role(spec.model),
        "value": estimate.value if estimate else None, "low": estimate.low if estimate else None,
        "high": estimate.high if estimate else None, "n": estimate.n if estimate else 0,
        "answered": run.counts.get("answered", 0), "samples": run.counts.get("samples", 0),
        "unreadable": run.counts.get("unreadable", 0), "truncated": run.counts.get("truncated", 0),
        "rate": run.timings.get("answers/s"), "device": str(model.get("device", "")),
        "date": str(run.provenance.get("date", "")), "warnings": warnings(run),
    }  # fmt: skip
