"""The command `view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness.cli.options import RESULTS, Data, Engines, TaskOfRun
from harness.errors import DataError
from harness.sinks import line

app = App()


@app.command
def view(
    *,
    results: Annotated[Path, Parameter(help="Folder of results")] = RESULTS,
    port: Annotated[int, Parameter(help="Port; 0 takes a free one", validator=validators.Number(gte=0, lte=65535))] = 0,
    task: TaskOfRun = None,
    data: Data = None,
    engine: Engines = None,
) -> None:
    """Show all runs in a browser, until Ctrl-C: leaderboard, runs, tasks, samples and more.  Runs in progress update.

    The pages are served on this machine only, read-only, under an address with a secret token.  `report` writes the
    same pages as files.

    python -m harness view --data /data
    """
    from harness.evaluation.viewing import Live
    from harness.viewer.server import Server

    if not results.is_dir():
        raise DataError(f"there is no results folder {results}; `python -m harness run --help` shows how to make runs")
    with Server(Live(results, data, task, engine or ()), port) as server:
        print(line(f"viewer: {server.url} (Ctrl-C stops)"), flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("stopped")
