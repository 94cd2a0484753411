"""Pairs the runs of two runs, two models or two folders of results, and compares each pair."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness import comparison, runner, store
from harness.comparison import Comparison, Side, refuse
from harness.core import Run, Task
from harness.errors import DataError, HarnessError, UsageError
from harness.evaluation.plan import samples_of
from harness.evaluation.request import RESULTS
from harness.store import RunFolder

KeptRun = tuple[RunFolder, Run]
Key = tuple[str, str, str]
log = logging.getLogger(__name__)


def compare_each(
    a: str, b: str, *, data: str | None = None, task: str | None = None, out: Path = RESULTS
) -> Iterator[tuple[Comparison, Path]]:
    """The comparison of each pair of runs of the same task, split and data, with the root of their images.

    `a` and `b` are runs (id, its beginning, or folder), folders of results, or models.  A pair that cannot be compared
    is logged and left out.  UsageError where no runs pair, DataError where no pair can be compared.
    """
    pairs = paired(runs_of(a, out), runs_of(b, out), a, b)
    compared = 0
    for kept_a, kept_b in pairs:
        try:
            refuse(kept_a[1], kept_b[1])
            task_of_both, side_a, root = side_of(kept_a, data, task)
            _, side_b, _ = side_of(kept_b, data, task)
            result = comparison.compare(task_of_both, side_a, side_b, partial(runner.mark, task_of_both))
        except HarnessError as error:
            if len(pairs) == 1:
                raise
            spec = kept_a[1].spec
            log.warning("left out: %s %s: %s", spec.task, spec.split, error)
            continue
        for side in (side_a, side_b):
            if problem := disagreement(task_of_both, side, result):
                log.warning("%s", problem)
        compared += 1
        yield result, root
    if not compared:
        raise DataError(f"none of the {len(pairs)} pairs of runs can be compared")


def disagreement(task: Task[Any], side: Side, result: Comparison) -> str:
    """How the record of one side differs from its kept answers, as a sentence; "" where it agrees.

    The values of the comparison serve, unless it leaves samples out.
    """
    metric = result.metrics.get(side.run.headline)
    if metric is not None and not result.left_out:
        return runner.disagreement(side.run, metric.a if side.run.id == result.a.id else metric.b)
    return runner.contradiction(task, side.run, runner.mark(task, side.samples, side.answers))


def runs_of(name: str, results: Path) -> list[KeptRun]:
    """The runs that a name means: the finished runs under a folder, the finished runs of a model, or one run.

    Of a model, runs with their answers are preferred to records without.  UsageError where there is no such run.
    """
    if not name.strip():
        raise UsageError("an empty name; give a run, a model or a folder of results")
    folder = Path(name)
    if folder.is_dir() and not (folder / "run.json").is_file():
        runs = [(kept, run) for kept, run in store.runs(folder) if run.finished]
        if not runs:
            raise UsageError(f"there are no finished runs in the folder {name}")
        return runs
    of_model = [(kept, run) for kept, run in store.runs(results) if run.spec.model == name and run.finished]
    with_answers = [(kept, run) for kept, run in of_model if kept.has_answers]
    return with_answers or of_model or [store.find(results, name)]


def paired(runs_a: Sequence[KeptRun], runs_b: Sequence[KeptRun], a: str, b: str) -> list[tuple[KeptRun, KeptRun]]:
    """The pairs of runs of the same task, split and data; `a` and `b` are the names of both sides, for messages.

    Two single runs always pair.  UsageError where no runs pair, or a side has several runs of one task, split and data.
    """
    if len(runs_a) == len(runs_b) == 1:
        return [(runs_a[0], runs_b[0])]
    by_key_a, by_key_b = _by_key(runs_a, a), _by_key(runs_b, b)
    pairs = [(kept, by_key_b[key]) for key, kept in by_key_a.items() if key in by_key_b]
    if not pairs:
        raise UsageError(f"{a} and {b} have no task, split and data in common; `ls` lists the runs")
    return pairs


def _by_key(runs: Sequence[KeptRun], name: str) -> dict[Key, KeptRun]:
    """Runs by data, task and split; UsageError where two runs have the same."""
    by_key: dict[Key, KeptRun] = {}
    for kept, run in runs:
        key = (run.spec.data, run.spec.task, run.spec.split)
        if key in by_key:
            raise UsageError(
                f"{name} has several runs of {run.spec.task} {run.spec.split} ({by_key[key][1].id}, {run.id}): "
                "name one of them"
            )
        by_key[key] = kept, run
    return by_key


def side_of(kept_run: KeptRun, data: str | None, task: str | None = None) -> tuple[Task[Any], Side, Path]:
    """A run as one side of a comparison, with its task and the root of its images.

    DataError where its answers are not here, or were scored by another version of the task.
    """
    folder, run = kept_run
    if not folder.has_answers:
        raise DataError(
            f"{run.id} is a record without its answers ({folder.path}), so samples cannot be compared: run it again"
        )
    task_of_run, samples, root = samples_of(run, data, task)
    if task_of_run.version != run.spec.version:
        raise DataError(
            f"{run.id} was scored by version {run.spec.version} of {task_of_run.name}, which now has version "
            f"{task_of_run.version}: `score {run.id}` scores its answers again"
        )
    answers = runner.kept_answers(samples, folder, run.spec.fingerprint)
    digests = {name: kept.asked.partition(":")[2] for name, kept in folder.answers().items()}
    images = {name: digest for name, digest in digests.items() if digest not in ("", runner.MISSING)}
    scores = folder.scores() if comparison.variant_metrics(task_of_run) else {}
    return task_of_run, Side(run, samples, answers, images, scores), root
