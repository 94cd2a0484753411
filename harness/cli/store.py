"""Commands about runs that are kept: ls, show, rm, export, report."""

from __future__ import annotations

import gc
import logging
import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from harness import runner, store
from harness.cli.options import RESULTS, Data, Json, Out, TaskOfRun, show_run
from harness.errors import UsageError
from harness.evaluation.plan import samples_of
from harness.report import frames, text

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
    task: TaskOfRun = None,
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
    one, samples, _ = samples_of(record, data, task)
    rows = runner.answered(samples, runner.kept_answers(samples, folder, record.spec.fingerprint))
    one.predictions.write(file, rows)
    print(f"{len(rows)} predictions in {file}")
