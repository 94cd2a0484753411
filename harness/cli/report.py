"""The command `report`."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness import published, runner, store
from harness.cli.options import RESULTS, Data, samples_of
from harness.core import Run
from harness.errors import HarnessError, UsageError
from harness.report import text
from harness.store import RunFolder

app = App()
log = logging.getLogger(__name__)


@app.command
def report(
    *,
    results: Annotated[Path, Parameter(help="Which runs to tell of.")] = RESULTS,
    to: Annotated[Path, Parameter(help="Where the page, tables and pictures go.")] = Path("reports"),
    data: Data = None,
    pictures: Annotated[
        int, Parameter(help="Most pictures in a run's gallery.", validator=validators.Number(gte=0))
    ] = 24,
    watch: Annotated[
        int | None,
        Parameter(help="Write it again every so many seconds while a run goes on.", validator=validators.Number(gte=1)),
    ] = None,
) -> None:
    """Write the page: the table of runs beside the published figures, and galleries, the worst answers first.

    Figures of what runs get wrong go into TO/figures; the paper's tables, and its rivals', into TO/tables: a page, and
    each as Markdown, CSV and LaTeX.
    """
    while _told(results, to, data, pictures, watch):
        time.sleep(watch or 0)


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


def _told(results: Path, to: Path, data: str | None, pictures: int, watch: int | None) -> bool:
    """Writes the report once; whether it is to be written again."""
    from harness.report import papers
    from harness.report import tables as written
    from harness.report.page import Shown, stale, write

    shown, busy = [], False
    for folder, record in _each_once(results):
        asked_now = record.status == "running" and folder.busy
        busy |= asked_now
        try:
            one, samples, root = samples_of(record, data)
        except HarnessError as error:
            print(f"{text.title(record)}: no gallery: {error}", file=sys.stderr)
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
    abouts = {key: papers.About(**told) for key, told in published.tables().items()}
    tables = papers.tables(published.every(), abouts, runs, published.ours)
    tables = [*tables, papers.claims(published.claims(), runs), *papers.miniature(runs)]
    if left := stale(runs, to):
        log.warning("%s: %d galleries are of runs that are not here, such as %s", to / "gallery", len(left), left[0])
    again = watch is not None and busy
    print(f"tables: {written.write(tables, to / 'tables')}", file=sys.stderr)
    print(f"report: {write(shown, published.figures, to, pictures, watch if again else None)}", flush=True)
    return again
