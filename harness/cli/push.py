"""The command `push`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from harness import store
from harness.cli.options import RESULTS, Out, TaskOfRun
from harness.cli.store import RunName
from harness.evaluation.exporting import about
from harness.exports import push as pushing
from harness.sinks import block, line

app = App()


@app.command
def push(
    run: RunName,
    repository: Annotated[str, Parameter(help="OWNER/NAME of the model's repository on the Hugging Face hub")],
    /,
    *,
    benchmark: Annotated[
        str | None,
        Parameter(help="OWNER/NAME:TASK_ID of a benchmark data set, for an entry in .eval_results [default: no entry]"),
    ] = None,
    pull_request: Annotated[
        bool, Parameter(negative=(), help="A pull request in place of a commit, as for the model of somebody else")
    ] = False,
    dry_run: Annotated[bool, Parameter(negative=(), help="Output of each change, without sending it")] = False,
    task: TaskOfRun = None,
    out: Out = RESULTS,
) -> None:
    """Push the numbers of one run to its model's repository on the hub, as `export --hub` writes them to a folder.

    The model card keeps its text; the section of this run is replaced.  The token is that of `hf auth login`, or of
    HF_TOKEN.  A run on the miniature, a sample or an edited record is refused.

    python -m harness push 3f2a OWNER/MODEL --dry-run
    """
    _, record = store.find(out, run)
    planned = pushing.plan(record, about(record, task), repository, benchmark)
    for file in planned.files:
        print(block(file.diff()))
    if not planned.files:
        print(line(f"{repository} has these numbers already; nothing to push"))
    elif dry_run:
        print(line(f"nothing was sent to {repository}; without --dry-run, this change is"))
    else:
        print(line(f"pushed: {pushing.commit(planned, pull_request)}"))
