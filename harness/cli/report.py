"""The command `report`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness.cli.options import RESULTS, Data, Engines, TaskOfRun
from harness.evaluation.reporting import write_report
from harness.sinks import line

app = App()


@app.command
def report(
    *,
    results: Annotated[Path, Parameter(help="Folder of results")] = RESULTS,
    to: Annotated[Path, Parameter(help="Folder for the page, tables, figures and images")] = Path("reports"),
    task: TaskOfRun = None,
    data: Data = None,
    engine: Engines = None,
    pictures: Annotated[
        int, Parameter(help="Largest number of images per run", validator=validators.Number(gte=0))
    ] = 24,
    watch: Annotated[
        int | None,
        Parameter(
            help="Seconds between updates of the report while a run is in progress [default: one report, no updates]",
            validator=validators.Number(gte=1),
        ),
    ] = None,
) -> None:
    """Write a page of all runs, with the published figures and the worst predictions of each run.

    TO/figures holds plots of errors.  TO/tables holds the tables of the paper and of its rivals, as Markdown, CSV and
    LaTeX.  TO/viewer/index.html is the viewer (`view`) as files.

    python -m harness report --data /data
    """
    while True:
        written = write_report(results, to, data, pictures=pictures, watch=watch, task=task, engines=engine or ())
        print(line(f"tables: {written.tables}"), file=sys.stderr)
        print(line(f"viewer: {written.viewer}"), file=sys.stderr)
        print(line(f"report: {written.page}"), flush=True)
        if not written.again:
            return
        time.sleep(watch or 0)
