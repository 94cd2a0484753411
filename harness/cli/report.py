"""The command `report`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness.cli.options import RESULTS, Data, TaskOfRun
from harness.evaluation.reporting import write_report

app = App()


@app.command
def report(
    *,
    results: Annotated[Path, Parameter(help="Folder of the runs.")] = RESULTS,
    to: Annotated[Path, Parameter(help="Folder for the page, tables, figures and pictures.")] = Path("reports"),
    task: TaskOfRun = None,
    data: Data = None,
    pictures: Annotated[
        int, Parameter(help="Largest number of pictures for a run.", validator=validators.Number(gte=0))
    ] = 24,
    watch: Annotated[
        int | None,
        Parameter(
            help="Seconds after which it is written again while a run is in progress.",
            validator=validators.Number(gte=1),
        ),
    ] = None,
) -> None:
    """Write a page of all runs, with the published figures and the worst predictions of each run.

    TO/figures has plots of errors; TO/tables has the tables of the paper and of its rivals, as Markdown, CSV and LaTeX.

    python -m harness report --data /data
    """
    while True:
        written = write_report(results, to, data, pictures=pictures, watch=watch, task=task)
        print(f"tables: {written.tables}", file=sys.stderr)
        print(f"report: {written.page}", flush=True)
        if not written.again:
            return
        time.sleep(watch or 0)
