"""The command `score`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import tasks
from harness import runner, store
from harness.cli.options import (
    RESULTS,
    Data,
    Json,
    Out,
    Scorers,
    Seed,
    Split,
    command_line,
    load,
    root_of,
    samples_of,
    show_run,
    splits_of,
)
from harness.core import RunSpec
from harness.data import manifest
from harness.errors import UsageError
from harness.provenance import provenance
from harness.store import RunFolder

app = App()


@app.command
def score(
    run: Annotated[str | None, Parameter(help="A run's id or folder: its kept answers are marked again.")] = None,
    /,
    *,
    task: Annotated[str | None, Parameter(help="Mark --predictions, made elsewhere, by this task.")] = None,
    predictions: Annotated[
        Path | None, Parameter(help="A file in the benchmark's result format: `tasks` says which.")
    ] = None,
    annotations: Annotated[Path | None, Parameter(help="Annotation file or folder instead of the data root's.")] = None,
    model: Annotated[str | None, Parameter(help="What to call whoever made them [default: the file's name].")] = None,
    split: Split = None,
    data: Data = None,
    seed: Seed = 0,
    scorers: Scorers = Scorers(),
    out: Out = RESULTS,
    json: Json = False,
) -> None:
    """Mark kept answers again, or predictions made elsewhere.  Needs no model, no torch and no GPU."""
    if run is not None:
        if task or predictions or annotations:
            raise UsageError("give either a RUN, or --task with --predictions")
        folder, record = store.find(out, run)
        one, samples, _ = samples_of(record, data)
        now = provenance(command_line())
        show_run(*runner.remark(scorers.of(one), samples, record, folder, now), json)
        return
    if task is None or predictions is None:
        raise UsageError("score needs a RUN, or --task T with --predictions FILE; `score --help` says more")
    [one, *others] = tasks.select(task)
    if others:
        raise UsageError(f"--task {task} names {1 + len(others)} tasks; predictions are of one")
    one = scorers.of(one)
    [split_name, *more] = splits_of(one, split)
    if more:
        raise UsageError(f"--split {split}: predictions are of one split")
    data_name, root = (
        (annotations.stem, Path(data or ".")) if annotations else root_of(data, "predictions", embedded=False)
    )
    samples = load(one, root, split_name, annotations)
    answers = one.predictions.read(predictions, samples)
    used = manifest.given(annotations) if annotations else manifest.annotation_files(one, root, split_name)
    spec = RunSpec(
        data=data_name,
        data_hash=manifest.digest(used),
        task=one.name,
        version=one.version,
        split=split_name,
        model=model or predictions.stem,
        fingerprint=f"predictions:{manifest.digest([predictions])}",
        protocol="predictions",
        seed=seed,
    )
    folder = RunFolder(store.run_folder(out, spec))
    marked = runner.adopt(one, samples, answers, spec, folder, provenance(command_line()))
    show_run(marked, folder, json)
