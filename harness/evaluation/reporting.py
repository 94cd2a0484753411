"""Writes the report: a page, tables and images of every run in a folder of results."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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
    from harness.report.page import Shown, stale, write

    runs_once, copies = each_once(results)
    if not runs_once:
        raise UsageError(f"there are no runs in {results}; `python -m harness run --help` shows how to make one")
    for copy in copies:
        log.warning("%s", copy)
    folders = {record.id: (folder, record) for folder, record in runs_once}
    samples_of = viewing.LatestSamples()

    def read_again(run: str) -> tuple[Shown, str]:
        each = viewing.read(*folders[run], data, task, samples_of)
        return each.shown, each.problem

    library = static.Fixed((), pictures, read_again)

    def each_shown() -> Iterator[Shown]:
        """Every run, as it is read; the library then has its pictures and its number of samples."""
        for folder, record in runs_once:
            if store.edited(record):
                log.warning("%s was edited: its numbers are not those that were scored", folder.path / "run.json")
            each = viewing.read(folder, record, data, task, samples_of)
            if each.shown.task is None:
                log.warning("%s: no gallery: %s", text.title(record), each.problem)
            if each.contradiction:
                log.warning("%s", each.contradiction)
            listed = Listed(each.shown.run, viewing.state(folder, record), str(folder.path))
            library.add(listed, each.shown, each.problem)
            yield each.shown

    if old := stale([record for _, record in runs_once], to):
        log.warning(
            "%s: %d galleries are of runs that are not in %s: %s ...", to / "gallery", len(old), results, old[0]
        )
    busy = any(viewing.state(*each) == "running" for each in runs_once)
    again = watch is not None and busy
    page = write(each_shown(), published.figures, to, pictures, watch if again else None)
    library.extras = extras.collected(results, [item.run for item in library.listed()], engines)
    written = written_tables.write(library.extras.tables, to / "tables")
    return Report(page, written, static.write(library, to / "viewer"), again)
