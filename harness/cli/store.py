"""The commands on kept runs: `ls`, `show`, `rm` and `export`."""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from harness import runner, store
from harness.cli.colour import painter
from harness.cli.options import RESULTS, Data, Json, Out, TaskOfRun, show_run
from harness.core import Run
from harness.errors import UsageError
from harness.evaluation.evaluate import write_predictions
from harness.evaluation.exporting import exported
from harness.evaluation.plan import loaded_of
from harness.exports.label_studio import LOCAL_FILES
from harness.report import frames, text
from harness.report import shards as sharding
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


@app.command
def export(
    run: Annotated[str | None, Parameter(help="Run whose answers are written to FILE")] = None,
    file: Annotated[Path | None, Parameter(help="File (or folder) for the answers of RUN")] = None,
    /,
    *,
    jsonl: Annotated[Path | None, Parameter(help="File for the metrics of all runs, as JSON lines")] = None,
    parquet: Annotated[
        Path | None, Parameter(help="File for the metrics of all runs, as Parquet; needs pyarrow")
    ] = None,
    coco: Annotated[
        bool, Parameter(negative=(), help="FILE in COCO's instances format, with a score in every annotation")
    ] = False,
    cvat: Annotated[bool, Parameter(negative=(), help="FILE in CVAT's XML format, as pre-annotations")] = False,
    label_studio: Annotated[
        bool,
        Parameter(negative=(), help="FILE of Label Studio's tasks with pre-annotations, and its interface as XML"),
    ] = False,
    image_prefix: Annotated[
        str, Parameter(help="What comes before the names of images in --label-studio")
    ] = LOCAL_FILES,
    fiftyone: Annotated[
        bool, Parameter(negative=(), help="FILE is a folder that FiftyOne imports, with predictions and targets")
    ] = False,
    hub: Annotated[
        bool,
        Parameter(negative=(), help="FILE is the folder of a model repository, whose card gets the run's numbers"),
    ] = False,
    benchmark: Annotated[
        str | None,
        Parameter(
            help="OWNER/NAME:TASK_ID of a benchmark data set of the hub, for an entry in .eval_results with --hub "
            "[default: no entry]"
        ),
    ] = None,
    task: TaskOfRun = None,
    data: Data = None,
    out: Out = RESULTS,
) -> None:
    """Write the answers of one run as the benchmark's official result file or for another tool, or the metrics of all
    runs as one table.

    python -m harness export 3f2a predictions.json

    python -m harness export 3f2a tasks.json --label-studio

    python -m harness export 3f2a runs/mine/checkpoint --hub

    python -m harness export --jsonl runs.jsonl                        # pandas.read_json("runs.jsonl", lines=True)
    """
    if jsonl is not None or parquet is not None:
        if run is not None:
            raise UsageError("--jsonl and --parquet export all runs; RUN and FILE export one")
        frame = frames.table(record for _, record in store.runs(out))
        for path, write in ((jsonl, frames.as_jsonl), (parquet, frames.as_parquet)):
            if path is not None:
                store.replace_file(path, write(frame))
                print(text.line(f"{len(frame)} metrics in {path}"))
        return
    if run is None or file is None:
        raise UsageError("export needs RUN and FILE, or --jsonl FILE, or --parquet FILE")
    folder, record = store.find(out, run)
    tools = {"coco": coco, "cvat": cvat, "label-studio": label_studio, "fiftyone": fiftyone, "hub": hub}
    chosen = [name for name, given in tools.items() if given]
    if len(chosen) > 1:
        raise UsageError(f"--{chosen[0]} and --{chosen[1]}: one at a time")
    if benchmark is not None and not hub:
        raise UsageError("--benchmark is an option of --hub")
    if chosen:
        for path in exported(chosen[0], file, folder, record, data, task, image_prefix, benchmark):
            print(text.line(f"written: {path}"))
        return
    task_of_run, loaded, _ = loaded_of(record, data, task)
    answers = runner.kept_answers(loaded.samples, folder, record.spec.fingerprint)
    empty = write_predictions(file, task_of_run, loaded, answers)
    print(text.line(f"{len(loaded.samples)} predictions in {file}") + (f", and {empty} empty ones" if empty else ""))
