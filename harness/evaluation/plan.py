"""Which tasks, splits and samples an evaluation is of, and where their data lies."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tasks
from harness import runner
from harness.core import EMBEDDED, Run, Sample, Source, Task
from harness.data import manifest
from harness.errors import DataError, UsageError

DATA_VARIABLE = "FLORENCE2_HARNESS_DATA"
MINIATURE = "miniature"
log = logging.getLogger(__name__)


def data_root(data: str | None, who: str, *, embedded: bool, prefer: str = "") -> tuple[str, Path]:
    """The data's name and root: as given, else from the environment, else the miniature where it is `embedded`.

    `prefer` is the data of a record, of which the miniature wins over the environment.  UsageError where there is
    none, naming `who` needs it; DataError where the root is no folder.
    """
    if data is not None and not data.strip():
        raise UsageError("--data is empty: a data root, or 'miniature'")
    given = data or (MINIATURE if prefer == MINIATURE else os.environ.get(DATA_VARIABLE))
    if not given and not embedded:
        raise UsageError(f"{who} needs data: give --data ROOT, set {DATA_VARIABLE}, or give --data miniature")
    if not given or given == MINIATURE:
        from tasks import miniature

        if not given and not prefer:
            log.warning("no --data was given: using the embedded %s", MINIATURE)
        return MINIATURE, miniature.ensure()
    root = Path(given).expanduser()
    if not root.is_dir():
        raise DataError(f"the data root {root} is not a folder; `python -m harness data list` says what belongs in it")
    return root.resolve().name, root


def splits_of(task: Task[Any], given: str | None) -> Iterator[str]:
    """The splits that are meant; UsageError where the task has no such one."""
    known = (*task.splits, *task.train_splits)
    names = [task.splits[0]] if given is None else list(task.splits) if given == "all" else given.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"{task.name} has no split {name!r}; it has {', '.join(known)}")
        yield name


def selected(asked: str, data: str, root: Path) -> list[Task[Any]]:
    """Tasks by name or glob.  'all' and globs leave out the tasks that this data cannot have.

    The embedded benchmark has the tasks of which a file is under its root.  A published data root may have every task
    except those whose files are the embedded benchmark's alone.
    """
    chosen: dict[str, Task[Any]] = {}
    for pattern in asked.split(","):
        found = tasks.select(pattern)
        if len(found) > 1:
            found = [one for one in found if _may_have(data, root, one)] or found
        chosen |= {one.name: one for one in found if one.name not in chosen}
    return list(chosen.values())


def _may_have(data: str, root: Path, task: Task[Any]) -> bool:
    if not task.files or any(manifest.found(need, root) for need in task.files):
        return True
    return data != MINIATURE and any(need.origin != EMBEDDED for need in task.files)


def with_data(found: Sequence[Task[Any]], root: Path, split: str | None, asked: str) -> list[Task[Any]]:
    """The tasks whose data is under the root; those that were named one by one stay, and what is left out is logged."""
    named = {pattern.strip() for pattern in asked.split(",")}
    lacking = [one for one in found if one.name not in named and manifest.missing(one, root, splits_of(one, split))]
    if not lacking or len(lacking) == len(found):
        return list(found)
    log.warning("not there: %s; `data check` says what they lack", ", ".join(one.name for one in lacking))
    return [one for one in found if one not in lacking]


def load(task: Task[Any], root: Path, split: str, annotations: Path | None = None) -> list[Sample[Any]]:
    """A task's samples; DataError where its files are missing or malformed."""
    if annotations is None:
        manifest.require(task, root, split)
    elif not annotations.exists():
        raise DataError(f"--annotations {annotations}: there is no such file or folder")
    samples = list(task.load(Source(root, split, annotations)))
    if not samples:
        raise DataError(f"{task.name} has no samples in split {split} of {annotations or root}")
    return samples


def task_of(record: Run, named: str | None = None) -> Task[Any]:
    """The task of a record: the project's own, that of an installed package, or the one `named` on the command line.

    A record alone never imports a module: DataError says how to name the task where it is not found.
    """
    if named is not None:
        for one in tasks.select(named):
            if one.name == record.spec.task:
                return one
    known = tasks.TASKS.get(record.spec.task) or tasks.every().get(record.spec.task)
    if known is not None:
        return known
    where = record.provenance.get("task from", "package.module:NAME")
    raise DataError(
        f"run {record.id} is of the task {record.spec.task!r}, which is neither this project's nor an installed "
        f"package's; name it: --task {where}"
    )


def samples_of(record: Run, data: str | None, named: str | None = None) -> tuple[Task[Any], list[Sample[Any]], Path]:
    """A run's task, samples and data root; DataError where the annotations are not those that the run was of."""
    task = task_of(record, named)
    name, root = data_root(data, record.spec.model, embedded=record.spec.data == MINIATURE, prefer=record.spec.data)
    samples = load(task, root, record.spec.split)
    if manifest.digest(manifest.annotation_files(task, root, record.spec.split)) != record.spec.data_hash:
        raise DataError(
            f"run {record.id} was asked about {record.spec.data}; the annotations in {name} ({root}) are others"
        )
    return task, runner.choose(samples, record.spec.limit, record.spec.seed), root
