"""The command `gate`."""

from __future__ import annotations

import json as encoder
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from harness import store
from harness.cli.options import ONE_PROCESS, Data, Json, Workers
from harness.errors import GateError, UsageError
from harness.gates import frozen, judge, promises, rendering
from harness.sinks import line

app = App()
GATES = Path("baselines/gates.toml")


@app.command
def gate(
    *,
    promises_: Annotated[Path, Parameter(name="--promises", help="TOML file of promises")] = GATES,
    only: Annotated[
        str | None, Parameter(help="Names of promises to judge, with commas or globs [default: all]")
    ] = None,
    data: Data = None,
    out: Annotated[Path | None, Parameter(help="Folder for the gate's runs [default: a temporary folder]")] = None,
    junit: Annotated[Path | None, Parameter(help="File for the verdicts as JUnit XML")] = None,
    github: Annotated[
        bool | None, Parameter(help="Annotations and job summary of GitHub Actions [default: only in GitHub Actions]")
    ] = None,
    import_: Annotated[
        list[str] | None,
        Parameter(
            name="--import",
            negative=(),
            help="package.module:NAME of a task or model that promises may import; may be repeated [default: none]",
        ),
    ] = None,
    workers: Workers = ONE_PROCESS,
    freeze: Annotated[
        bool, Parameter(negative=(), help="New frozen answers, scores and prompts; nothing is judged")
    ] = False,
    json: Json = False,
) -> None:
    """Judge promises about a model, such as a least score; the exit status is 5 where a promise does not hold.

    The gate fails where a promise is broken, or cannot be decided (unless the promise passes undecided).  The model is
    always queried again; kept runs serve as references only.

    python -m harness gate                                             # the project's own promises

    python -m harness gate --promises mine.toml --junit gate.xml
    """
    spread = workers.spread()
    gates = promises.read(promises_, import_ or ())
    if freeze:
        if gates.frozen is None:
            raise UsageError(f'{promises_} names no folder: add frozen = "frozen"')
        frozen.freeze(gates.frozen)
        print(line(f"frozen in {gates.frozen}: review the changes with `git diff`"), file=sys.stderr)
        return
    try:
        verdicts = judge.judge(gates, promises_, only, data, out, spread)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was judged; the next gate starts again from the first promise") from None
    if junit is not None:
        store.replace_file(junit, rendering.junit(verdicts))
    print(encoder.dumps(rendering.as_json(verdicts), indent=1) if json else rendering.describe(verdicts), flush=True)
    if github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true":
        print(rendering.github(verdicts), file=sys.stderr if json else sys.stdout, flush=True)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(rendering.summary(verdicts))
    red = [verdict.name for verdict in verdicts if verdict.red]
    if red:
        raise GateError(f"{len(red)} of {len(verdicts)} promises do not hold: {', '.join(red)}")
