"""Commands about runs that are kept: ls, show, rm, export, report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from baselines import published
from harness import runner, store
from harness.cli.common import RESULTS, Data, Json, Out, samples_of, show_run
from harness.errors import HarnessError, UsageError
from harness.report import text

app = App()

RunName = Annotated[str, Parameter(help="A run's id, its beginning, or its folder: `ls` lists them.")]


@app.command
def ls(*, out: Out = RESULTS, json: Json = False) -> None:
    """List the runs that are kept."""
    found = [record for _, record in store.runs(out)]
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
            r.status,
            r.headline,
            text.number(r.metrics.get(r.headline)),
        )
        for r in found
    ]
    print(text.table(("id", "data", "task", "split", "model", "status", "headline", "value"), rows))


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
def export(run: RunName, file: Path, /, *, data: Data = None, out: Out = RESULTS) -> None:
    """Write one run's answers as the benchmark's official result file."""
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
) -> None:
    """Write the page: the table of runs beside the published figures, and galleries, the worst answers first.

    The paper's tables, and its rivals', go into TO/tables: a page, and each as Markdown, CSV and LaTeX.
    """
    from harness.report import papers
    from harness.report import tables as written
    from harness.report.page import Shown, write

    shown = []
    for folder, record in store.runs(results):
        try:
            one, samples, root = samples_of(record, data)
        except HarnessError as error:
            print(f"{text.title(record)}: no gallery: {error}", file=sys.stderr)
            shown.append(Shown(record, None, (), Path()))
            continue
        answers = runner.kept_answers(samples, folder, record.spec.fingerprint)
        marked = len(answers) == len(samples) and any(sample.target is not None for sample in samples)
        rows = runner.mark(one, samples, answers) if marked else []
        shown.append(Shown(record, one, tuple(rows), root))
    if not shown:
        raise UsageError(f"there are no runs in {results}; `python -m harness run --help` says how to make one")
    runs = [one.run for one in shown]
    abouts = {key: papers.About(**told) for key, told in published.tables().items()}
    tables = papers.tables(published.every(), abouts, runs, published.ours)
    tables = [*tables, papers.claims(published.claims(), runs), *papers.miniature(runs)]
    print(f"tables: {written.write(tables, to / 'tables')}", file=sys.stderr)
    print(f"report: {write(shown, published.figures, to, pictures)}")
