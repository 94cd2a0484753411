"""The commands on kept runs: `ls`, `show` and `rm`."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from cyclopts import App, Parameter

from harness import store
from harness.cli.colour import painter
from harness.cli.options import RESULTS, Json, Out, show_run
from harness.core import Run
from harness.errors import UsageError
from harness.report import shards as sharding
from harness.report import text
from harness.store import RunFolder

app = App()
log = logging.getLogger(__name__)
STYLE_OF_STATE = {
    "complete": "good", "partial": "warning", "incomplete": "bad", "running": "active", "interrupted": "warning",
    "record": "faint", "edited": "bad",
}  # fmt: skip
STYLE_OF_COLUMN = {"id": "faint", "age": "faint", "value": "title"}
RunName = Annotated[str, Parameter(help="Run id, its beginning, or the run's folder; `ls` lists runs")]


@app.command
def ls(
    pattern: Annotated[str, Parameter(help="Task names with commas, or a glob such as 'refcoco*'")] = "*",
    /,
    *,
    model: Annotated[str | None, Parameter(help="Model name or glob of the runs to list [default: all]")] = None,
    mine: Annotated[bool, Parameter(negative=(), help="Only runs with their answers, no records without")] = False,
    out: Out = RESULTS,
    json: Json = False,
) -> None:
    """List kept runs: data, task, split, model, state, headline metric and age.

    The states are complete, partial (--limit), incomplete (some questions failed), running, interrupted (the same
    command resumes the run), record (the result without the answers, which cannot be scored or compared), and edited
    (the numbers in run.json are not those that were scored).  An unfinished run of shards says how many of them are
    asked, such as "2 of 3 shards"; `show` names the missing ones.  JSON has the runs with a record of their own.

    python -m harness ls 'refcoco*' --model florence2-nano
    """
    gc.disable()  # records form no cycles, and a search for cycles in thousands of them takes long
    task_patterns = [name.strip() for name in pattern.split(",")]
    parts = {folder.path: shards for folder, shards in store.sharded(out)}
    every = list(store.runs(out))
    begun = {folder.path for folder, _ in every}
    only_shards = [(RunFolder(path), shards[0][1]) for path, shards in parts.items() if path not in begun]
    kept = [
        (folder, run)
        for folder, run in sorted([*every, *only_shards], key=lambda pair: pair[0].path)
        if any(fnmatchcase(run.spec.task, task_pattern) for task_pattern in task_patterns)
        and (model is None or fnmatchcase(run.spec.model, model))
        and (not mine or folder.has_answers or folder.path in parts)
    ]
    gc.enable()
    if not out.is_dir():
        print(text.line(f"there is no results folder {out}"), file=sys.stderr)
    if json:
        print(store.as_json([run for folder, run in kept if folder.path in begun]))
        return
    numbers = text.aligned([run.metrics.get(run.headline) for _, run in kept])
    states = [_state(folder, run, parts.get(folder.path, []), begun=folder.path in begun) for folder, run in kept]
    rows = [
        (
            run.id,
            run.spec.data,
            run.spec.task,
            run.spec.split,
            run.spec.model,
            state,
            run.headline,
            number,
            text.age(str(run.provenance.get("date", "")), time.time()),
        )
        for (_, run), state, number in zip(kept, states, numbers, strict=True)
    ]
    header = ("id", "data", "task", "split", "model", "state", "headline", "value", "age")

    def style(row: int, column: int) -> str:
        name = header[column]
        return STYLE_OF_STATE.get(states[row], "warning") if name == "state" else STYLE_OF_COLUMN.get(name, "")

    print(text.table(header, rows, style, painter()))
    for folder, run in kept:
        warn_if_edited(folder, run)


def warn_if_edited(folder: RunFolder, run: Run) -> None:
    """Logs that the numbers of a record are not those that were scored."""
    if store.edited(run):
        remedy = f"`score {run.id}` writes it again" if folder.has_answers else "its answers are not here"
        log.warning("%s was edited: its numbers are not those that were scored; %s", folder.path / "run.json", remedy)


def _state(folder: RunFolder, run: Run, shards: Sequence[tuple[RunFolder, Run]], *, begun: bool) -> str:
    """The state of a run, as the help of `ls` describes the states; `begun`: it has a record of its own."""
    if not begun:
        return sharding.brief(sharding.parts_of(shards))
    if shards and not run.finished:
        return f"{_state(folder, run, (), begun=True)}, {sharding.brief(sharding.parts_of(shards))}"
    if store.edited(run):
        return "edited"
    if run.status == "running":
        return "running" if folder.busy else "interrupted"
    return run.status if folder.has_answers else "record"


@app.command
def show(run: RunName, /, *, out: Out = RESULTS, json: Json = False) -> None:
    """Print one run: every metric with its interval, counts, speed, and folder.

    Of a run in shards: which of them are asked, which are missing, and the next command.
    """
    folder, record = store.find(out, run, shards=True)
    parts = folder.shard_records()
    begun = (folder.path / folder.record).is_file()
    if begun:
        show_run(record, folder, json)
        warn_if_edited(folder, record)
    elif json:
        print(store.as_json([part for _, part in parts]))
    else:
        print(text.line(f"{text.named(record.spec)}: not merged yet, in {folder.path}"))
    if parts and not json:
        print(text.block(sharding.describe(sharding.parts_of(parts), merged=begun and record.finished)))


@app.command
def rm(run: RunName, /, *, out: Out = RESULTS) -> None:
    """Remove one run below OUT and its answers.  Files that no run wrote stay, with their folder."""
    if not run.strip():
        raise UsageError("rm needs the id of a run, or its folder; `ls` lists runs")
    folder, record = store.find(out, run, shards=True)
    remaining = folder.remove(out)
    print(f"removed {text.title(record)}")
    if remaining:
        log.warning("not removed, since no run wrote it: %s in %s", ", ".join(remaining[:3]), folder.path)
