"""The command `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from harness import runner, store
from harness.cli.options import RESULTS, Data, Out, TaskOfRun
from harness.errors import UsageError
from harness.evaluation.evaluate import write_predictions
from harness.evaluation.exporting import exported
from harness.evaluation.plan import loaded_of
from harness.exports.label_studio import LOCAL_FILES
from harness.report import frames, text

app = App()


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
