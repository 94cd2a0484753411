"""Writes the report: a page, tables and images of every run in a folder of results."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import published, store
from harness.errors import UsageError
from harness.evaluation import extras, viewing
from harness.evaluation.viewing import each_once
from harness.report import text
from harness.viewer import static
from harness.viewer.given import Listed

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """The page, the index of the tables, and the viewer; `again`: a run is in progress, so write the report later."""

    page: Path
    tables: Path
    viewer: Path
    again: bool


def write_report(
    results: Path, to: Path, data: str | None = None, *, pictures: int = 24, watch: int | None = None,
    task: str | None = None, engines: Sequence[Path] = (),
) -> Report:  # fmt: skip
    """Writes the page, the tables and the images of every run in `results` once.

    `pictures` is the largest number of images per run.  `watch` is the number of seconds after which the page reloads
    itself while a run is in progress.  `task` names a task of another package.  `engines` are folders of the data
    engine.  UsageError where there are no runs.
    """
    from harness.report import tables as written_tables
    from harness.report.page import stale, write

    read, listed = [], []
    runs_once, copies = each_once(results)
    for copy in copies:
        log.warning("%s", copy)
    for folder, record in runs_once:
        if store.edited(record):
            log.warning("%s was edited: its numbers are not those that were scored", folder.path / "run.json")
        each = viewing.read(folder, record, data, task)
        if each.shown.task is None:
            log.warning("%s: no gallery: %s", text.title(record), each.problem)
        if each.contradiction:
            log.warning("%s", each.contradiction)
        read.append(each)
        listed.append(Listed(each.shown.run, viewing.state(folder, record), str(folder.path)))
    shown = [each.shown for each in read]
    busy = any(item.state == "running" for item in listed)
    if not shown:
        raise UsageError(f"there are no runs in {results}; `python -m harness run --help` shows how to make one")
    runs = [item.run for item in shown]
    shown_extras = extras.collected(results, runs, engines)
    if old := stale(runs, to):
        log.warning(
            "%s: %d galleries are of runs that are not in %s: %s ...", to / "gallery", len(old), results, old[0]
        )
    again = watch is not None and busy
    written = written_tables.write(shown_extras.tables, to / "tables")
    page = write(shown, published.figures, to, pictures, watch if again else None)
    library = static.Fixed(
        [(item, each.shown, each.problem) for item, each in zip(listed, read, strict=True)], pictures, shown_extras
    )
    return Report(page, written, static.write(library, to / "viewer"), again)
