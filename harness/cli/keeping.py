"""Commands about runs that are kept: ls, show, rm, export, report."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from baselines import published
from harness import runner, store
from harness.cli.common import RESULTS, Data, Json, Out, samples_of, show_run
from harness.core import Run
from harness.errors import HarnessError, UsageError
from harness.report import frames, text
from harness.store import RunFolder

app = App()
log = logging.getLogger(__name__)
RunName = Annotated[str, Parameter(help="A run's id, its beginning, or its folder: `ls` lists them.")]


@app.command
def ls(*, out: Out = RESULTS, json: Json = False) -> None:
    """List the runs that are kept: what was asked, the state, the headline, and how long ago.

    The state is that of the record; stopped: it was being asked, and no process is at it: the same command goes on.
    """
    gc.disable()  # ten thousand records, none in a cycle: a third of the time would be looking for some
    kept = list(store.runs(out))
    gc.enable()
    found = [record for _, record in kept]
    if not out.is_dir():
        print(f"there is no results folder {out}", file=sys.stderr)
    if json:
        print(store.as_json(found))
        return
    rows = [
        (
            r.id,
            r.spec.data,
            r.spec.task,
            r.spec.split,
            r.spec.model,
            "stopped" if r.status == "running" and not folder.busy else r.status,
            r.headline,
            text.number(r.metrics.get(r.headline)),
            text.age(str(r.provenance.get("date", "")), time.time()),
        )
        for folder, r in kept
    ]
    print(text.table(("id", "data", "task", "split", "model", "state", "headline", "value", "age"), rows))


@app.command
def show(run: RunName, /, *, out: Out = RESULTS, json: Json = False) -> None:
    """Print one run, by its id (or its beginning) or folder."""
    folder, record = store.find(out, run)
    show_run(record, folder, json)


@app.command
def rm(run: RunName, /, *, out: Out = RESULTS) -> None:
    """Remove one run, its answers with it."""
    folder, record = store.find(out, run)
    with folder.locked():
        folder.forget()
    folder.remove()
    print(f"removed {text.title(record)}")


@app.command
def export(
    run: Annotated[str | None, Parameter(help="A run, whose answers are written to FILE.")] = None,
    file: Path | None = None,
    /,
    *,
    jsonl: Annotated[Path | None, Parameter(help="Every run's every metric, a line each.")] = None,
    parquet: Annotated[Path | None, Parameter(help="The same as Parquet (needs pyarrow).")] = None,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Write one run's answers as the benchmark's official result file; or all runs' metrics as one table.

    python -m harness export 3f2a predictions.json

    python -m harness export --jsonl runs.jsonl                        # pandas.read_json("runs.jsonl", lines=True)
    """
    if jsonl is not None or parquet is not None:
        if run is not None:
            raise UsageError("--jsonl and --parquet are of all runs; RUN and FILE are of one")
        frame = frames.table(record for _, record in store.runs(out))
        for path, write in ((jsonl, frames.as_jsonl), (parquet, frames.as_parquet)):
            if path is not None:
                store.replace_file(path, write(frame))
                print(f"{len(frame)} metrics in {path}")
        return
    if run is None or file is None:
        raise UsageError("export needs RUN and FILE, or --jsonl FILE, or --parquet FILE")
    folder, record = store.find(out, run)
    one, samples, _ = samples_of(record, data)
    rows = runner.answered(samples, runner.kept_answers(samples, folder, record.spec.fingerprint))
    one.predictions.write(file, rows)
    print(f"{len(rows)} predictions in {file}")


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
