"""Which tasks, splits and samples an evaluation is of, and where their data lies."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tasks
from harness import runner
from harness.core import EMBEDDED, FileNeed, Run, Sample, Source, Task
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


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where an evaluation reads: a data root, or a user's own annotations and images in a task's official format.

    `annotations` is a file or folder in place of the root's, `images` a folder in place of the task's own: an image is
    then looked for under its name in the annotations.
    """

    name: str
    root: Path
    annotations: Path | None = None
    images: Path | None = None

    @property
    def image_root(self) -> Path:
        """What image references are relative to."""
        return self.images or self.root

    def load(self, task: Task[Any], split: str) -> list[Sample[Any]]:
        """A task's samples; DataError where annotations are missing or malformed.  Images are not looked for."""
        annotations = [need for need in self.needs(task, split) if manifest.is_of_annotations(need)]
        manifest.require_files(task, self.root, annotations)
        samples = list(task.load(Source(self.root, split, self.annotations)))
        if not samples:
            raise DataError(f"{task.name} has no samples in split {split} of {self.annotations or self.root}")
        return samples if self.images is None else _below_images(samples, manifest.needs(task, [split]))

    def own(self) -> list[Path]:
        """The user's own paths."""
        return [path for path in (self.annotations, self.images) if path is not None]

    def needs(self, task: Task[Any], split: str) -> list[FileNeed]:
        """What of the data root a split needs, beside the user's own paths."""
        return [
            need
            for need in manifest.needs(task, [split])
            if (self.annotations if manifest.is_of_annotations(need) else self.images) is None
        ]

    def require(self, task: Task[Any], split: str) -> None:
        """DataError, naming the first missing path and its origin, unless everything that a split needs is there."""
        manifest.require_files(task, self.root, self.needs(task, split))

    def annotation_digest(self, task: Task[Any], split: str) -> str:
        """A digest of the annotation files that a split is read from."""
        if self.annotations is not None:
            return manifest.digest(manifest.given(self.annotations))
        return manifest.digest(manifest.annotation_files(task, self.root, split))

    def described(self) -> dict[str, Any]:
        """What a record keeps of a user's own data, so that its samples can be read again."""
        given = {"annotations": self.annotations, "images": self.images}
        paths = {name: str(path.absolute()) for name, path in given.items() if path is not None}
        return {"own data": paths} if paths else {}


def source_of(
    data: str | None, who: str, *, embedded: bool, annotations: Path | None = None, images: Path | None = None
) -> DataSource:
    """The data that is meant; DataError for a path of a user's own data that is not there."""
    if annotations is None and images is None:
        return DataSource(*data_root(data, who, embedded=embedded))
    if annotations is not None and not annotations.exists():
        raise DataError(f"--annotations {annotations}: there is no such file or folder")
    if images is not None and not images.is_dir():
        raise DataError(f"--images {images}: there is no such folder")
    if data is not None or annotations is None:
        name, root = data_root(data, who, embedded=embedded)
    else:
        name, root = "", Path()
    named = annotations.stem if annotations is not None else name
    return DataSource(re.sub(r"[^\w.+@-]", "_", named) or "data", root, annotations, images)


def load(task: Task[Any], root: Path, split: str) -> list[Sample[Any]]:
    """A task's samples from a data root; DataError where annotations or folders of images are missing or malformed."""
    source = DataSource(root.name, root)
    source.require(task, split)
    return source.load(task, split)


def _below_images(samples: Sequence[Sample[Any]], needs: Sequence[FileNeed]) -> list[Sample[Any]]:
    """Samples whose images are named from the folder that the task's images are in, or from the one above several."""
    folders = [need.path for need in needs if not manifest.is_of_annotations(need)]
    above = f"{os.path.commonpath(folders)}/" if folders else ""
    return [
        replace(sample, question=replace(sample.question, image=sample.question.image_name.removeprefix(above)))
        for sample in samples
    ]


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
    """A run's task, samples and image root; DataError where the annotations are not those that the run was of."""
    task = task_of(record, named)
    source = _source_of_record(record, data)
    if source.annotation_digest(task, record.spec.split) != record.spec.data_hash:
        where = source.annotations or source.root
        raise DataError(f"run {record.id} is of other annotations of {record.spec.data} than those in {where}")
    samples = source.load(task, record.spec.split)
    return task, runner.choose(samples, record.spec.limit, record.spec.seed), source.image_root


def _source_of_record(record: Run, data: str | None) -> DataSource:
    """The data root of a record, or the user's own data that it names."""
    own = record.provenance.get("own data", {})
    given = {name: Path(own[name]) for name in ("annotations", "images") if isinstance(own.get(name), str)}
    embedded = record.spec.data == MINIATURE
    if not given:
        return DataSource(*data_root(data, record.spec.model, embedded=embedded, prefer=record.spec.data))
    for path in given.values():
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"run {record.id} is of {path}, which is not there")
    root = data_root(data, record.spec.model, embedded=embedded)[1] if data is not None else Path()
    return DataSource(record.spec.data, root, given.get("annotations"), given.get("images"))
