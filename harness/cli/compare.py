"""The command `compare`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter, validators

from harness import store
from harness.cli.options import RESULTS, Data, Json, Out, TaskOfRun
from harness.evaluation.comparing import compare_each
from harness.report import compared
from harness.sinks import line

app = App()
COUNT = Parameter(validator=validators.Number(gte=0))


@app.command
def compare(
    a: Annotated[str, Parameter(help="Run (id, its beginning, or folder), folder of results, or model name")],
    b: Annotated[str, Parameter(help="The same; runs of the same task, split and data are compared")],
    /,
    *,
    task: TaskOfRun = None,
    data: Data = None,
    out: Out = RESULTS,
    to: Annotated[
        Path | None, Parameter(help="Folder for a page with images of the largest changes [default: no page]")
    ] = None,
    changes: Annotated[
        int, COUNT, Parameter(help="Number of changes listed in each direction, largest first")
    ] = compared.SHOWN,
    pictures: Annotated[int, COUNT, Parameter(help="Largest number of images per pair of runs")] = 24,
    json: Json = False,
) -> None:
    """Compare two runs sample by sample: every difference with its interval and p-value, and which answers changed.

    python -m harness compare florence2-nano florence2-nano-ft         # two models, on every task that both have

    python -m harness compare 3f2a 9bc1 --to changes                   # two runs, with images
    """
    pairs = list(compare_each(a, b, data=data, task=task, out=out))
    comparisons, roots = [comparison for comparison, _ in pairs], [root for _, root in pairs]
    print(store.as_json(compared.as_json(comparisons)) if json else compared.describe(comparisons, changes))
    if to is not None:
        print(line(f"page: {compared.write(comparisons, roots, to, pictures)}"), file=sys.stderr)
