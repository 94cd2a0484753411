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
    results: Annotated[Path, Parameter(help="Which runs to tell of.")] = RESULTS,
    to: Annotated[Path, Parameter(help="Where the page, tables and pictures go.")] = Path("reports"),
    task: TaskOfRun = None,
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
    while True:
        written = write_report(results, to, data, pictures=pictures, watch=watch, task=task)
        print(f"tables: {written.tables}", file=sys.stderr)
        print(f"report: {written.page}", flush=True)
        if not written.again:
            return
        time.sleep(watch or 0)
