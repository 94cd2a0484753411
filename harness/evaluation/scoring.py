"""Scoring without a model: of predictions made elsewhere, and of kept answers again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tasks
from harness import runner, store
from harness.core import Answer, Run, Task
from harness.data import manifest, sanity
from harness.errors import DataError, UsageError
from harness.evaluation import first_run
from harness.evaluation.evaluate import spec_of
from harness.evaluation.plan import Loaded, loaded_of, named, source_of, splits_of
from harness.evaluation.request import RESULTS, Scorers, refuse_name
from harness.metrics.calibrated import calibrated, fit
from harness.provenance import provenance
from harness.store import RunFolder

COMMAND = ("harness.score",)


def score(
    task: str | Task[Any],
    predictions: Path,
    *,
    annotations: Path | None = None,
    candidates: str | None = None,
    top: int | None = None,
    name: str | None = None,
    split: str | None = None,
    data: str | None = None,
    seed: int = 0,
    scorers: Scorers | None = None,
    strict: bool = False,
    out: Path = RESULTS,
    command: Sequence[str] = COMMAND,
) -> tuple[Run, RunFolder]:
    """Scores a file in the task's official result format and keeps the run, with its folder, as protocol `predictions`.

    `annotations` is a file or folder that replaces those of the data root.  `name` is the name of the model that made
    the predictions (None: the file's name).  `strict` refuses files that need a conversion.  The record has the
    `sanity` of the predictions.  Predictions of a re-ranking task are of the best `top` candidates (None: 128) of a
    first run, `candidates`; where that is partial, so is this one.

    UsageError for several tasks or splits, DataError for predictions that do not match the samples.
    """
    [named_task, *other_tasks] = named(task, data) if isinstance(task, str) else [task]
    if other_tasks:
        raise UsageError(f"--task {task} names {1 + len(other_tasks)} tasks; predictions are of one")
    if name is not None:
        refuse_name(name)
    scored = (scorers or Scorers()).of(named_task)
    [named_split, *other_splits] = splits_of(scored, split)
    if other_splits:
        raise UsageError(f"--split {split}: predictions are of one split")
    source = source_of(data, "scoring predictions", embedded=False, annotations=annotations, strict=strict)
    source, first = first_run.of_predictions(source.of(scored, named_split), scored, named_split, candidates, top, out)
    loaded = source.read(scored, named_split)
    answers = _read(scored, predictions, loaded)
    limit, seed = (first.limit, first.seed) if first is not None and first.limit is not None else (None, seed)
    called = name or (f"{first.model}+" if first is not None else "") + predictions.stem
    spec = spec_of(
        scored, named_split, source, called, f"predictions:{manifest.digest([predictions])}",
        protocol="predictions", limit=limit, seed=seed,
    )  # fmt: skip
    folder = RunFolder(store.run_folder(out, spec))
    origin = tasks.origin_of(named_task, task) if isinstance(task, str) and source.dataset is None else {}
    looked = {"sanity": sanity.look(loaded.samples, answers).as_dict()}
    facts = {**source.facts(named_task, named_split, loaded.samples), **loaded.described(), **looked}
    record = {**provenance(command), **source.described(), **facts, **origin}
    return runner.adopt(scored, loaded.samples, answers, spec, folder, record), folder


def _read(task: Task[Any], predictions: Path, loaded: Loaded) -> dict[str, Answer]:
    """The answers in a prediction file; what is converted is noted beside the notes about the annotations."""
    form = task.predictions
    if form.read_leniently is None:
        return form.read(predictions, loaded.all)
    return form.read_leniently(predictions, loaded.all, loaded.reading)


def score_again(
    run: str,
    *,
    task: str | None = None,
    data: str | None = None,
    scorers: Scorers | None = None,
    calibrate_on: str | None = None,
    calibration_data: str | None = None,
    out: Path = RESULTS,
    command: Sequence[str] = COMMAND,
) -> tuple[Run, RunFolder]:
    """Scores the kept answers of a run again; returns the new record and its folder.

    `run` is an id, its beginning, or a folder.  `task` is `package.module:NAME` for a task of another package.

    `calibrate_on` names another run of the same model and task, on other images: the scores of boxes are calibrated on
    its answers (`metrics/calibrated.py`), and the record has AP by calibrated scores beside AP by the model's own.
    `calibration_data` is its data root (None: where its record says).
    """
    folder, record = store.find(out, run)
    task_of_run, loaded, _ = loaded_of(record, data, task)
    scored = (scorers or Scorers()).of(task_of_run)
    if calibrate_on is not None:
        scored = _calibrated(scored, record, loaded, calibrate_on, calibration_data, out)
    now = {**provenance(command), **loaded.described()}
    return runner.remark(scored, loaded.samples, record, folder, now)


def _calibrated(task: Task[Any], record: Run, loaded: Loaded, other: str, data: str | None, out: Path) -> Task[Any]:
    """The task with box scores calibrated on the answers of the run `other`.

    UsageError for a run of another task or model; DataError for one with the same images, or without answers.
    """
    folder, before = store.find(out, other)
    for what, ours, theirs in (
        ("task", record.spec.task, before.spec.task),
        ("model", record.spec.fingerprint, before.spec.fingerprint),
    ):
        if ours != theirs:
            raise UsageError(
                f"--calibrate-on {other}: run {before.id} is of {what} {theirs}, run {record.id} of {ours}"
            )
    own_task, training, _ = loaded_of(before, data)
    shared = {sample.cluster for sample in loaded.all} & {sample.cluster for sample in training.samples}
    if before.id == record.id or shared:
        raise DataError(
            f"--calibrate-on {other} has {len(shared):,} of the images that are scored: calibrate on a training split"
            + (f" ({', '.join(task.train_splits)})" if task.train_splits else "")
        )
    answers = runner.kept_answers(training.samples, folder, before.spec.fingerprint)
    answered = [sample for sample in training.samples if sample.id in answers]
    calibration, boxes = fit(task, runner.mark(own_task, answered, answers))
    return calibrated(task, calibration, f"{boxes:,} boxes of run {before.id} ({before.spec.data} {before.spec.split})")
