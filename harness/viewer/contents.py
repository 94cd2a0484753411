"""Every chunk by its name: the one place where the pages on disk and the server take their data from.

overview                       models, tasks, runs, leaderboard
run/<id>                       the record of a run
samples/<id>                   the number of its samples, or why there are none
index/<id>/<part>              the samples for the grid
details/<id>/<part>            the samples for their own pages
charts/<id>                    its error analysis
pair/<id>/<id>                 the paired differences of two runs, with sorted ids
speed, studies, tables, engine results that belong to no single run
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from harness.report.text import title
from harness.viewer import analysis, extras, pairs, samples
from harness.viewer.given import Library
from harness.viewer.overview import overview, warnings
from tasks import TASKS


def payload(library: Library, name: str, *, live: bool) -> Any:
    """The payload of a chunk; KeyError for a name that no chunk of these runs has."""
    kind, *ids = name.split("/")
    if kind == "overview" and not ids:
        return overview(library.listed(), () if live else pairs.chosen(library)[1], live=live)
    if kind in extras.NAMES and not ids:
        return extras.payload(library.extras, kind)
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


def names(library: Library) -> Iterator[str]:
    """The names of all chunks of the pages on disk, those of one run after each other; the pairs of `pairs.chosen`."""
    yield "overview"
    yield from extras.NAMES
    for item in library.listed():
        run, count = item.run.id, library.count(item.run.id)
        yield f"run/{run}"
        yield f"samples/{run}"
        if not count:
            continue
        yield f"charts/{run}"
        for kind, size in (("index", samples.INDEXED), ("details", samples.DETAILED)):
            yield from (f"{kind}/{run}/{part}" for part in range(-(-count // size)))
    yield from (f"pair/{a}/{b}" for a, b in pairs.chosen(library)[0])
