"""Two runs, two models or two folders of results: which runs pair, and what the pairs say."""

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

Found = tuple[RunFolder, Run]
Key = tuple[str, str, str]
log = logging.getLogger(__name__)


def compare_each(
    a: str, b: str, *, data: str | None = None, task: str | None = None, out: Path = RESULTS
) -> Iterator[tuple[Comparison, Path]]:
    """The comparison of every pair of runs of the same task, split and data, with the root of their data.

    `a` and `b` are runs (id, its beginning, or folder), folders of results, or models.  A pair that cannot be compared
    is logged and left out; UsageError where nothing pairs, DataError where no pair can be compared.
    """
    pairs = paired(runs_of(a, out), runs_of(b, out), a, b)
    compared = 0
    for one, other in pairs:
        try:
            refuse(one[1], other[1])
            chosen, side, root = side_of(one, data, task)
            _, against, _ = side_of(other, data, task)
            found = comparison.compare(chosen, side, against, partial(runner.mark, chosen))
        except HarnessError as error:
            if len(pairs) == 1:
                raise
            log.warning("left out: %s %s: %s", one[1].spec.task, one[1].spec.split, error)
            continue
        compared += 1
        yield found, root
    if not compared:
        raise DataError(f"none of the {len(pairs)} pairs of runs can be compared")


def runs_of(name: str, results: Path) -> list[Found]:
    """The runs that a name means: one, all finished ones under a folder, or all finished ones of a model."""
    if not name.strip():
        raise UsageError("a run, a model or a folder of results: an empty name is none")
    folder = Path(name)
    if folder.is_dir() and not (folder / "run.json").is_file():
        under = [(kept, run) for kept, run in store.runs(folder) if run.finished]
        if not under:
            raise UsageError(f"there are no finished runs in the folder {name}")
        return under
    of_model = [(kept, run) for kept, run in store.runs(results) if run.spec.model == name and run.finished]
    with_answers = [(kept, run) for kept, run in of_model if kept.has_answers]
    return with_answers or of_model or [store.find(results, name)]


def paired(one: Sequence[Found], other: Sequence[Found], a: str, b: str) -> list[tuple[Found, Found]]:
    """The pairs of the same task, split and data; two single runs pair, whatever they are of.

    UsageError where nothing pairs, or a side has several runs that could.
    """
    if len(one) == len(other) == 1:
        return [(one[0], other[0])]
    sides: list[dict[Key, Found]] = []
    for name, runs in ((a, one), (b, other)):
        by_key: dict[Key, Found] = {}
        for kept, run in runs:
            key = (run.spec.data, run.spec.task, run.spec.split)
            if key in by_key:
                raise UsageError(
                    f"{name} has several runs of {run.spec.task} {run.spec.split} ({by_key[key][1].id}, {run.id}): "
                    "name one of them"
                )
            by_key[key] = kept, run
        sides.append(by_key)
    pairs = [(sides[0][key], sides[1][key]) for key in sides[0] if key in sides[1]]
    if not pairs:
        raise UsageError(f"{a} and {b} have no task, split and data in common; `ls` lists what there is")
    return pairs


def side_of(found: Found, data: str | None, task: str | None = None) -> tuple[Task[Any], Side, Path]:
    """A run as one side of a comparison, with its task and the root of its data.

    DataError where its answers are not here, or were scored by another version of the task.
    """
    folder, run = found
    if not folder.has_answers:
        raise DataError(
            f"{run.id} is a record without its answers ({folder.path}), so samples cannot be compared: run it again"
        )
    chosen, samples, root = samples_of(run, data, task)
    if chosen.version != run.spec.version:
        raise DataError(
            f"{run.id} was scored by version {run.spec.version} of {chosen.name}, which is {chosen.version} now: "
            f"`score {run.id}` scores its answers again"
        )
    answers = runner.kept_answers(samples, folder, run.spec.fingerprint)
    images = {name: kept.asked.partition(":")[2] for name, kept in folder.answers().items()}
    there = {name: image for name, image in images.items() if image not in ("", runner.MISSING)}
    return (
        chosen,
        Side(run, samples, answers, there, folder.scores() if comparison.variant_metrics(chosen) else {}),
        root,
    )
