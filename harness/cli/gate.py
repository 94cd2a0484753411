"""The command `gate`."""

from __future__ import annotations

import json as encoder
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from harness import store
from harness.cli.options import Data, Json
from harness.errors import GateError, UsageError
from harness.gates import frozen, judge, promises, rendering

app = App()
GATES = Path("baselines/gates.toml")


@app.command
def gate(
    *,
    promises_: Annotated[Path, Parameter(name="--promises", help="TOML file of promises.")] = GATES,
    only: Annotated[str | None, Parameter(help="Names of promises, with commas or globs.")] = None,
    data: Data = None,
    out: Annotated[
        Path | None, Parameter(help="Folder to keep the gate's runs in [default: they are removed afterwards]")
    ] = None,
    junit: Annotated[Path | None, Parameter(help="File for the verdicts as JUnit XML.")] = None,
    github: Annotated[
        bool | None, Parameter(help="Print annotations, and append to the job's summary [default: in GitHub Actions]")
    ] = None,
    import_: Annotated[
        list[str] | None,
        Parameter(
            name="--import",
            negative=(),
            help="package.module:NAME that a promise may import as its task or model; may be repeated.",
        ),
    ] = None,
    freeze: Annotated[
        bool, Parameter(negative=(), help="Write the frozen answers, scores and prompts again, and judge nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Judge promises about a model: query it afresh, score, and fail (exit status 5) where a promise is broken.

    A promise that cannot be decided fails too, unless it says otherwise.  Kept records are only ever references.

    python -m harness gate                                             # the project's own promises

    python -m harness gate --promises mine.toml --junit gate.xml
    """
    found = promises.read(promises_, import_ or ())
    if freeze:
        if found.frozen is None:
            raise UsageError(f'{promises_} names no folder: frozen = "frozen"')
        frozen.freeze(found.frozen)
        print(f"frozen in {found.frozen}: look at what `git diff` says of it", file=sys.stderr)
        return
    try:
        verdicts = judge.judge(found, promises_, only, data, out)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("nothing was judged: a gate queries everything afresh, and starts over") from None
    if junit is not None:
        store.replace_file(junit, rendering.junit(verdicts))
    told = encoder.dumps(rendering.as_json(verdicts), indent=1) if json else rendering.describe(verdicts)
    print(told, flush=True)
    if github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true":
        print(rendering.github(verdicts), file=sys.stderr if json else sys.stdout, flush=True)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(rendering.summary(verdicts))
    red = [one.name for one in verdicts if one.red]
    if red:
        raise GateError(f"{len(red)} of {len(verdicts)} promises do not hold: {', '.join(red)}")
