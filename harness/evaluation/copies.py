"""`--data hf://OWNER/NAME`, or a folder of parquet files: a copy of a data set as a data root of the task.

Which copies there are, and what their columns hold, is a table (`tasks/hub.toml`).  A folder is read by the row of the
repository that its path names, else by the row of the task whose columns it has.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tasks
from harness import images
from harness.core import Size, Task
from harness.data import hub, virtual
from harness.data.hub import Files, Repository
from harness.data.parquet import Images, Place, Table, footer
from harness.errors import DataError
from tasks import hub as known
from tasks.hub import Copy

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A split of a copy as a data root; the record of a run has its `facts` and what the copy `lacks`."""

    root: Path
    lacks: tuple[str, ...]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Copied:
    """A copy of a data set: a repository on the hub, or a folder of parquet files."""

    where: Repository | Path

    @property
    def name(self) -> str:
        """What the data is called in results."""
        if isinstance(self.where, Repository):
            return self.where.name.replace("/", "--")
        copy = _of_path(self.where)
        return copy.repo.replace("/", "--") if copy is not None else self.where.resolve().name

    def tasks(self, names: str) -> list[Task[Any]]:
        """The tasks by name or glob; a glob leaves out tasks of which the copy has nothing.  DataError if none is left.

        A folder that names no repository may have any task.
        """
        chosen = tasks.select(names)
        copy = self._named()
        if copy is None:
            return chosen
        held = [task for task in chosen if task.name in (*copy.tasks, *copy.images)]
        asked = {name.strip() for name in names.split(",")}
        absent = [task.name for task in chosen if task not in held and task.name in asked]
        if absent or not held:
            has = ", ".join(copy.tasks) or "no task alone"
            more = f", and the images of {', '.join(copy.images)}" if copy.images else ""
            others = "; ".join(map(_elsewhere, absent)) or f"no task of {names!r} is among them"
            raise DataError(f"{self.where} has {has}{more}; {others}")
        return held

    def prepare(self, task: Task[Any], split: str, *, annotated: bool = False, pictured: bool = False) -> Prepared:
        """The data root of a split, which is made on first use, with its images mounted.

        `annotated` and `pictured` say that the user gives the annotations or the images.  DataError where the copy
        lacks what is needed, or its files are missing, damaged or have other columns; ResourceError without pyarrow or
        the network.
        """
        copy, files = self._files(task, split, annotated)
        if not annotated:
            self._refuse_unscored(copy, task, split)
        if not copy.image and not pictured:
            raise DataError(f"{self.where} has no images; give --images FOLDER, with those of {task.name}")
        table = Table(files.paths, copy.columns, copy.image)
        table.check()
        identity = [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files.paths]
        footers = [footer(path).hex() for path in files.paths]
        key = virtual.key_of([copy.digest, split, *identity, *footers])
        root = virtual.make_root(key, lambda: _content(copy, split, table))
        if copy.image:
            virtual.open_root(root, files.paths, copy.image)
        facts = {"copy": {"data": files.origin, "columns of": copy.repo, "official": False}}
        return Prepared(root, () if annotated else tuple(f"{copy.repo}: {lack}" for lack in copy.lacks), facts)

    def _named(self) -> Copy | None:
        """The copy that the repository or the folder's path names; DataError for a repository not in the table."""
        if isinstance(self.where, Path):
            return _of_path(self.where)
        for copy in known.table().copies:
            if copy.repo.lower() == self.where.name.lower():
                return copy
        names = ", ".join(copy.repo for copy in known.table().copies)
        raise DataError(f"{self.where}: the columns of this data set are not known; known are {names}")

    def _files(self, task: Task[Any], split: str, annotated: bool) -> tuple[Copy, Files]:
        """The copy and its files of a split."""
        named = self._named()
        candidates = [named] if named is not None else list(known.table().copies)
        candidates = [copy for copy in candidates if task.name in (*copy.tasks, *copy.images)]
        if named is None and not annotated:
            candidates = [copy for copy in candidates if task.name in copy.tasks] or candidates
        if not candidates:
            raise DataError(f"{self.where} is no copy of {task.name}; {_elsewhere(task.name)}")
        errors: list[DataError] = []
        fitting: list[tuple[Copy, Files]] = []
        for copy in candidates:
            try:
                fitting.append((copy, self._of_split(copy, task, split)))
            except DataError as error:
                errors.append(error)
        if len(fitting) > 1:
            names = ", ".join(copy.repo for copy, _ in fitting)
            raise DataError(f"{self.where} may be {names}: name the folder after one, such as {_folder(fitting[0][0])}")
        if not fitting:
            raise errors[0]
        return fitting[0]

    def _of_split(self, copy: Copy, task: Task[Any], split: str) -> Files:
        """The files of a copy's split; DataError if there are none, or a folder's columns are not those of the copy."""
        if split not in copy.splits:
            raise DataError(f"{copy.repo} has no split {split} of {task.name}; it has {', '.join(copy.splits)}")
        theirs = copy.splits[split]
        if isinstance(self.where, Repository):
            return hub.fetch(self.where, theirs)
        files = hub.in_folder(self.where, theirs)
        Table(files.paths, copy.columns, copy.image).check()
        return files

    def _refuse_unscored(self, copy: Copy, task: Task[Any], split: str) -> None:
        """DataError if the copy alone cannot give the samples of a split."""
        official = f"give the official annotations by --annotations (`data list --task {task.name}`)"
        if task.name not in copy.tasks:
            reason = "; ".join(copy.lacks)
            raise DataError(f"{copy.repo} has only the images of {task.name} ({reason}); {official}")
        if split in copy.not_official:
            others = ", ".join(name for name in copy.splits if name not in copy.not_official)
            why = copy.not_official[split]
            raise DataError(f"{split} of {copy.repo} is not the official split: {why}; --split {others}, or {official}")


def named(data: str) -> Copied | None:
    """The copy that `--data` names; None for a data root of official files."""
    repo = hub.repository(data)
    if repo is not None:
        return Copied(repo)
    folder = Path(data).expanduser()
    return Copied(folder) if folder.is_dir() and hub.is_split_files(folder) else None


def _elsewhere(task: str) -> str:
    """Which copies a task has, or what there is instead."""
    repos = [copy.repo for copy in known.table().copies if task in (*copy.tasks, *copy.images)]
    if repos:
        return f"{task} has the copies {', '.join(repos)}"
    none = known.table().none.get(task, "no copy in parquet is known")
    return f"{task} needs the official files (`data list --task {task}`): {none}"


def _of_path(folder: Path) -> Copy | None:
    """The copy whose repository a path names: owner/name, owner--name, or datasets--owner--name in the hub's cache."""
    text = "/".join(folder.absolute().parts).replace("--", "/").lower()
    for copy in known.table().copies:
        if f"/{copy.repo.lower()}/" in f"{text}/":
            return copy
    return None


def _folder(copy: Copy) -> str:
    return copy.repo.replace("/", "--")


def _content(copy: Copy, split: str, table: Table) -> virtual.Content:
    """The annotation files and the row of each image, from all rows of a split."""
    log.info("reading the rows of %s, %s, once", copy.repo, split)
    form = known.form_of(copy, split)
    reader = Images(table.files, copy.image, {})
    places: dict[str, Place] = {}
    for place, row in table.rows():
        where = f"{table.files[place.file]}, row {place.row} of row group {place.group}"
        try:
            reference = images.inside(form.add(row, _sized(reader, place, where)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{where}: {error}; the columns of {copy.repo} are expected") from error
        if copy.image:
            places.setdefault(reference, place)
    return virtual.Content(form.files(), places)


def _sized(reader: Images, place: Place, where: str) -> Callable[[], Size]:
    """The size of a row's image, when it is asked for."""

    def look() -> Size:
        data = reader.at(place)
        if data is None:
            raise ValueError("the image has no bytes")
        return images.size_in(data, where)

    return look


def refuse(data: str, who: str) -> None:
    """DataError if `--data` names a copy, for commands that need a data root of official files."""
    if named(data) is not None:
        raise DataError(f"{who} needs a data root of official files, and {data} is a copy in parquet")
