"""The command `merge`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from harness import store
from harness.cli.options import RESULTS, Data, Json, Out, TaskOfRun, command_line, show_run
from harness.errors import IncompleteError
from harness.evaluation.merging import merge as merge_shards
from harness.evaluation.request import Scorers
from harness.sinks import line

app = App()


@app.command
def merge(
    *folders: Annotated[Path, Parameter(help="Folders with the shards' results, as --out named them [default: --out]")],
    data: Data = None,
    task: TaskOfRun = None,
    scorers: Annotated[Scorers, Parameter(name="*")] = Scorers(),
    out: Out = RESULTS,
    json: Json = False,
) -> None:
    """Join the shards that `run --shard 1/16` to `16/16` asked into whole runs, and score these; needs no model.

    The answers are copied into the run's folder under --out; the shards stay.  Where some are missing, the run is
    incomplete: start the missing shards and merge again, or `run` without --shard, which asks only for the rest.

    python -m harness merge

    python -m harness merge node1/results node2/results --data /data
    """
    incomplete: list[str] = []
    runs = []
    for merged in merge_shards(
        list(folders) or [out], data=data, task=task, scorers=scorers, out=out, command=command_line()
    ):
        runs.append(merged.run)
        if not json:
            show_run(merged.run, merged.folder, json)
        if merged.run.status == "incomplete":
            missing = ", ".join(merged.missing[:10]) + (" ..." if merged.missing[10:] else "")
            incomplete.append(f"{merged.run.spec.task} {merged.run.spec.split}")
            if missing:
                print(line(f"answers are missing of shards {missing}"), file=sys.stderr)
    if json:
        print(store.as_json(runs[0] if len(runs) == 1 else runs))
    if incomplete:
        raise IncompleteError(
            f"{', '.join(incomplete)}: incomplete; start the missing shards and merge again, or `run` without --shard"
        )
