"""What `report` does: every run of a folder of results as a page, tables and pictures."""

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
    """The files that were written first, and whether a run is still in progress, so that it should be written again."""

    page: Path
    tables: Path
    again: bool


def _each_once(results: Path) -> Iterator[tuple[RunFolder, Run]]:
    """Every run; of records with one id, as of a folder that was copied, that in the folder of this name, or the first;
    the others are named."""
    kept = list(store.runs(results))
    chosen: dict[str, Path] = {}
    for folder, record in kept:
        path = chosen.setdefault(record.id, folder.path)
        if path.name != record.id and folder.path.name == record.id:
            chosen[record.id] = folder.path
    for folder, record in kept:
        if folder.path == chosen[record.id]:
            yield folder, record
        else:
            told = (folder.path, record.id, chosen[record.id])
            log.warning("%s is another record of run %s, which %s is: left out", *told)


def write_report(
    results: Path, to: Path, data: str | None = None, *, pictures: int = 24, watch: int | None = None,
    task: str | None = None,
) -> Report:  # fmt: skip
    """Writes the page, the tables and the pictures of every run in `results` once.

    `watch` is the number of seconds after which a page of a run in progress reloads itself; `task` names a task of
    another package.  UsageError where there are no runs.
    """
    from harness.report import claims, miniature, papers
    from harness.report import tables as written_tables
    from harness.report.page import Shown, stale, write

    shown, busy = [], False
    for folder, record in _each_once(results):
        asked_now = record.status == "running" and folder.busy
        busy |= asked_now
        try:
            one, samples, root = samples_of(record, data, task if task and record.provenance.get("task from") else None)
        except HarnessError as error:
            log.warning("%s: no gallery: %s", text.title(record), error)
            shown.append(Shown(record, None, (), Path()))
            continue
        answers = runner.kept_answers(samples, folder, record.spec.fingerprint)
        known = [sample for sample in samples if sample.id in answers] if asked_now else samples
        marked = len(answers) == len(known) > 0 and any(sample.target is not None for sample in known)
        rows = runner.mark(one, known, answers) if marked else []
        record = runner.so_far(one, record, rows, len(samples)) if asked_now and rows else record
        shown.append(Shown(record, one, tuple(rows), root))
    if not shown:
        raise UsageError(f"there are no runs in {results}; `python -m harness run --help` says how to make one")
    runs = [one.run for one in shown]
    tables = papers.tables(published.every(), published.tables(), runs)
    tables = [*tables, claims.table(published.claims(), runs), *miniature.tables(runs)]
    if left := stale(runs, to):
        log.warning("%s: %d galleries are of runs that are not here, such as %s", to / "gallery", len(left), left[0])
    again = watch is not None and busy
    written = written_tables.write(tables, to / "tables")
    page = write(shown, published.figures, to, pictures, watch if again else None)
    return Report(page, written, again)
