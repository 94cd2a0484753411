"""Writes the report: a page, tables and images of every run in a folder of results."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import published, runner, store
from harness.core import Run
from harness.errors import HarnessError, UsageError
from harness.evaluation.plan import samples_of
from harness.report import text
from harness.store import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """The page and the index of the tables; `again`: a run is in progress, so write the report again later."""

    page: Path
    tables: Path
    again: bool


def _each_once(results: Path) -> Iterator[tuple[RunFolder, Run]]:
    """Every run id once; copies are logged and left out.

    Of several records with one id, the record in the folder named after the id is taken, else the first.
    """
    runs = list(store.runs(results))
    path_of: dict[str, Path] = {}
    for folder, record in runs:
        path = path_of.setdefault(record.id, folder.path)
        if path.name != record.id and folder.path.name == record.id:
            path_of[record.id] = folder.path
    for folder, record in runs:
        if folder.path == path_of[record.id]:
            yield folder, record
        else:
            log.warning("left out: %s is a copy of run %s in %s", folder.path, record.id, path_of[record.id])


def write_report(
    results: Path, to: Path, data: str | None = None, *, pictures: int = 24, watch: int | None = None,
    task: str | None = None,
) -> Report:  # fmt: skip
    """Writes the page, the tables and the images of every run in `results` once.

    `pictures` is the largest number of images per run.  `watch` is the number of seconds after which the page reloads
    itself while a run is in progress.  `task` names a task of another package.  UsageError where there are no runs.
    """
    from harness.report import claims, miniature, papers
    from harness.report import tables as written_tables
    from harness.report.page import Shown, stale, write

    shown, busy = [], False
    for folder, record in _each_once(results):
        if store.edited(record):
            log.warning("%s was edited: its numbers are not those that were scored", folder.path / "run.json")
        in_progress = record.status == "running" and folder.busy
        busy |= in_progress
        try:
            named = task if task and record.provenance.get("task from") else None
            task_of_run, samples, root = samples_of(record, data, named)
        except HarnessError as error:
            log.warning("%s: no gallery: %s", text.title(record), error)
            shown.append(Shown(record, None, (), Path()))
            continue
        answers = runner.kept_answers(samples, folder, record.spec.fingerprint)
        answered = [sample for sample in samples if sample.id in answers] if in_progress else samples
        scorable = len(answers) == len(answered) > 0 and any(sample.target is not None for sample in answered)
        rows = runner.mark(task_of_run, answered, answers) if scorable else []
        if problem := runner.contradiction(task_of_run, record, rows):
            log.warning("%s", problem)
            record = store.with_status(record, provenance={**record.provenance, "contradicted": problem})
        if in_progress and rows:
            record = runner.so_far(task_of_run, record, rows, len(samples))
        shown.append(Shown(record, task_of_run, tuple(rows), root))
    if not shown:
        raise UsageError(f"there are no runs in {results}; `python -m harness run --help` shows how to make one")
    runs = [item.run for item in shown]
    tables = papers.tables(published.every(), published.tables(), runs)
    tables = [*tables, claims.table(published.claims(), runs), *miniature.tables(runs)]
    if old := stale(runs, to):
        log.warning(
            "%s: %d galleries are of runs that are not in %s: %s ...", to / "gallery", len(old), results, old[0]
        )
    again = watch is not None and busy
    written = written_tables.write(tables, to / "tables")
    page = write(shown, published.figures, to, pictures, watch if again else None)
    return Report(page, written, again)
