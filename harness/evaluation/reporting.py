"""The report: every run of a folder of results as a page, tables and pictures."""

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
    """The page and the index of the tables, and whether a run was in progress (`again`), so that both will change."""

    page: Path
    tables: Path
    again: bool


def _each_once(results: Path) -> Iterator[tuple[RunFolder, Run]]:
    """Every run once.  Of several records with one id, such as of a copied folder, the one in the folder of that name,
    else the first; the others are logged.
    """
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
            log.warning("left out: %s is a copy of run %s in %s", folder.path, record.id, chosen[record.id])


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
        in_progress = record.status == "running" and folder.busy
        busy |= in_progress
        try:
            one, samples, root = samples_of(record, data, task if task and record.provenance.get("task from") else None)
        except HarnessError as error:
            log.warning("%s: no gallery: %s", text.title(record), error)
            shown.append(Shown(record, None, (), Path()))
            continue
        answers = runner.kept_answers(samples, folder, record.spec.fingerprint)
        answered = [sample for sample in samples if sample.id in answers] if in_progress else samples
        scorable = len(answers) == len(answered) > 0 and any(sample.target is not None for sample in answered)
        rows = runner.mark(one, answered, answers) if scorable else []
        record = runner.so_far(one, record, rows, len(samples)) if in_progress and rows else record
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
