"""Every chunk by its name: the one place where the pages on disk and the server take their data from.

overview                       models, tasks, runs, leaderboard
run/<id>                       the record of a run
samples/<id>                   the number of its samples, or why there are none
index/<id>/<part>              the samples for the grid
details/<id>/<part>            the samples for their own pages
charts/<id>                    its error analysis
pair/<id>/<id>                 the paired difference of two runs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.core import Run
from harness.report.text import title
from harness.viewer import analysis, samples
from harness.viewer.given import Library
from harness.viewer.overview import overview, role, warnings
from tasks import TASKS


def payload(library: Library, name: str, *, live: bool) -> Any:
    """The payload of a chunk; KeyError for a name that no chunk of these runs has."""
    kind, *ids = name.split("/")
    if kind == "overview" and not ids:
        return overview(library.listed(), live=live)
    if kind == "run" and len(ids) == 1:
        return record(library, ids[0])
    if kind == "pair" and len(ids) == 2:
        return analysis.pair(library.shown(ids[0])[0], library.shown(ids[1])[0])
    if kind in ("samples", "charts") and len(ids) == 1:
        shown, problem = library.shown(ids[0])
        return samples.head(shown, problem, shown.parts) if kind == "samples" else analysis.charts(shown.parts)
    if kind in ("index", "details") and len(ids) == 2 and ids[1].isascii() and ids[1].isdecimal() and len(ids[1]) < 10:
        shown, _ = library.shown(ids[0])
        part = samples.index if kind == "index" else samples.details
        return part(shown, shown.parts, int(ids[1]), library)
    raise KeyError(name)


def record(library: Library, run: str) -> dict[str, Any]:
    """The payload of `run/<id>`: the whole record, with what the page says about it."""
    for item in library.listed():
        if item.run.id == run:
            task = TASKS.get(item.run.spec.task)
            return {
                "record": msgspec.to_builtins(item.run), "title": title(item.run), "state": item.state,
                "folder": item.folder, "warnings": warnings(item.run), "about": task.about if task else "",
                "seen": task.seen_in_training if task and item.run.spec.data != "miniature" else "",
            }  # fmt: skip
    raise KeyError(run)


def names(library: Library, counts: Mapping[str, int] | None = None) -> Iterator[str]:
    """The names of all chunks of the pages on disk; those of one run follow each other.

    Of the pairs, each run is paired with the best model of its task, split and data; all pairs would take hours.
    `counts` is the number of samples of each run, where it is known.
    """
    yield "overview"
    runs = [item.run for item in library.listed()]
    if counts is None:
        counts = {run.id: len(library.shown(run.id)[0].rows) for run in runs}
    best: dict[tuple[str, str, str], tuple[float, str]] = {}
    for run in runs:
        estimate = run.metrics.get(run.headline)
        if (
            counts[run.id] and run.finished and role(run.spec.model) == "model"
            and estimate is not None and estimate.value is not None
        ):  # fmt: skip
            best[_column(run)] = max(best.get(_column(run), (estimate.value, run.id)), (estimate.value, run.id))
    for run in runs:
        yield f"run/{run.id}"
        yield f"samples/{run.id}"
        if not counts[run.id]:
            continue
        yield f"charts/{run.id}"
        for kind, size in (("index", samples.INDEXED), ("details", samples.DETAILED)):
            yield from (f"{kind}/{run.id}/{part}" for part in range(-(-counts[run.id] // size)))
        top = best.get(_column(run))
        if top is not None and top[1] != run.id and run.finished:
            yield f"pair/{top[1]}/{run.id}"


def _column(run: Run) -> tuple[str, str, str]:
    return run.spec.data, run.spec.task, run.spec.split
