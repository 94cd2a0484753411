"""Scoring without a model: predictions made elsewhere, and kept answers again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tasks
from harness import runner, store
from harness.core import Run, Task
from harness.data import manifest
from harness.errors import UsageError
from harness.evaluation.evaluate import spec_of
from harness.evaluation.plan import samples_of, source_of, splits_of
from harness.evaluation.request import RESULTS, Scorers, refuse_name
from harness.provenance import provenance
from harness.store import RunFolder

COMMAND = ("harness.score",)


def score(
    task: str | Task[Any],
    predictions: Path,
    *,
    annotations: Path | None = None,
    name: str | None = None,
    split: str | None = None,
    data: str | None = None,
    seed: int = 0,
    scorers: Scorers | None = None,
    out: Path = RESULTS,
    command: Sequence[str] = COMMAND,
) -> tuple[Run, RunFolder]:
    """Scores a file in the task's official result format, and keeps the run under protocol `predictions`.

    `annotations` is a file or folder in place of the data root's; `name` is what made the predictions (None: the
    file's name).  UsageError for several tasks or splits, DataError for predictions that do not fit the samples.
    """
    [one, *others] = tasks.select(task) if isinstance(task, str) else [task]
    if others:
        raise UsageError(f"--task {task} names {1 + len(others)} tasks; predictions are of one")
    if name is not None:
        refuse_name(name)
    scored = (scorers or Scorers()).of(one)
    [part, *more] = splits_of(scored, split)
    if more:
        raise UsageError(f"--split {split}: predictions are of one split")
    source = source_of(data, "scoring predictions", embedded=False, annotations=annotations)
    samples = source.load(scored, part)
    answers = scored.predictions.read(predictions, samples)
    spec = spec_of(
        scored, part, source, name or predictions.stem, f"predictions:{manifest.digest([predictions])}",
        protocol="predictions", seed=seed,
    )  # fmt: skip
    folder = RunFolder(store.run_folder(out, spec))
    named = {} if not isinstance(task, str) else tasks.origin_of(one, task)
    about = {**provenance(command), **source.described(), **named}
    return runner.adopt(scored, samples, answers, spec, folder, about), folder


def score_again(
    run: str,
    *,
    task: str | None = None,
    data: str | None = None,
    scorers: Scorers | None = None,
    out: Path = RESULTS,
    command: Sequence[str] = COMMAND,
) -> tuple[Run, RunFolder]:
    """Scores a run's kept answers again, by its id (or its beginning) or folder; `task` names one from outside."""
    folder, record = store.find(out, run)
    one, samples, _ = samples_of(record, data, task)
    return runner.remark((scorers or Scorers()).of(one), samples, record, folder, provenance(command))
