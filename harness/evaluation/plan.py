"""Finds the tasks, splits and samples of an evaluation, and the data root that they are read from."""

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
from harness.core import EMBEDDED, Candidates, FileNeed, Noted, Reading, Run, Sample, Source, Task
from harness.data import DATA_VARIABLE as DATA_VARIABLE
from harness.data import check, files, manifest
from harness.errors import DataError, UsageError
from harness.evaluation import copies, first_run
from harness.evaluation.copies import Copied, Prepared
from harness.evaluation.own import Own, is_own, open_own

MINIATURE = "miniature"
log = logging.getLogger(__name__)


def data_root(data: str | None, who: str, *, embedded: bool, prefer: str = "") -> tuple[str, Path]:
    """The name and root of the data: `data`, else the environment variable, else the miniature for an embedded model.

    `prefer` is the data of a record; a record of the miniature is read from the miniature whatever the environment
    says.  `who` is the name of the model or command, for messages.  UsageError where no data is named, DataError where
    the root is no folder.  Of a dataset.toml, the root is the folder of its official files.
    """
    if (own := own_of(data, prefer)) is not None:
        return own.name, own.root
    name = chosen_data(data, prefer)
    if not name and not embedded:
        raise UsageError(f"{who} needs data: give --data ROOT, set {DATA_VARIABLE}, or give --data miniature")
    if not name or name == MINIATURE:
        from tasks import miniature

        if not name and not prefer:
            log.warning("no --data was given: using the embedded %s", MINIATURE)
        return MINIATURE, miniature.ensure()
    copies.refuse(name, who)
    root = Path(name).expanduser()
    if not root.is_dir():
        raise DataError(
            f"the data root {root} is not a folder; `python -m harness data list` lists what it must hold, "
            "and `data fetch` fetches it"
        )
    return root.resolve().name, root


def chosen_data(data: str | None, prefer: str = "") -> str | None:
    """The name of the data: `data`, else the environment variable's (see `data_root`); UsageError if it is empty."""
    if data is not None and not data.strip():
        raise UsageError("--data is empty: a data root, a dataset.toml, or 'miniature'")
    return data or (MINIATURE if prefer == MINIATURE else os.environ.get(DATA_VARIABLE))


def own_of(data: str | None, prefer: str = "") -> Own | None:
    """The user's own data set where `data` (else the environment variable) names a dataset.toml; DataError as its."""
    name = chosen_data(data, prefer)
    return open_own(Path(name).expanduser()) if name is not None and is_own(name) else None


def named(names: str, data: str | None) -> list[Task[Any]]:
    """The tasks that names, globs or "all" select: those of the data set where `data` names a dataset.toml."""
    own = own_of(data)
    return tasks.select(names) if own is None else own.select(names)


def splits_of(task: Task[Any], split: str | None) -> Iterator[str]:
    """The splits of a task by name, with commas; None: the first; "all": all but hidden and training splits.

    UsageError for a split that the task does not have.
    """
    known = (*task.splits, *task.hidden_splits, *task.train_splits)
    names = [task.splits[0]] if split is None else list(task.splits) if split == "all" else split.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"{task.name} has no split {name!r}; it has {', '.join(known)}")
        yield name


def selected(names: str, data: str, root: Path, own: Own | None = None) -> list[Task[Any]]:
    """Tasks by name or glob, with commas.  'all' and globs leave out the tasks that this data cannot have.

    A user's `own` data set has its own tasks.

    The embedded benchmark has the tasks with an annotation file under its root.  A published data root may have every
    task except those whose files exist in the embedded benchmark only.  Tasks about the candidates of a first run are
    left out too.
    """
    if own is not None:
        return own.select(names)
    by_name: dict[str, Task[Any]] = {}
    for pattern in names.split(","):
        matching = tasks.select(pattern)
        if len(matching) > 1:
            matching = [task for task in matching if _may_have(data, root, task)] or matching
        by_name |= {task.name: task for task in matching if task.name not in by_name}
    return list(by_name.values())


def _may_have(data: str, root: Path, task: Task[Any]) -> bool:
    if task.candidates_of:
        return False
    own = [need for need in task.files if manifest.is_of_annotations(need)] or task.files  # several tasks share images
    if not own or any(manifest.found(need, root) for need in own):
        return True
    return data != MINIATURE and any(need.origin != EMBEDDED for need in task.files)


def with_data(candidates: Sequence[Task[Any]], root: Path, split: str | None, names: str) -> list[Task[Any]]:
    """The candidates whose data is under the root; tasks left out are logged.

    A task whose own name is in `names` (with commas) always stays, so that its missing file becomes an error.
    """
    named = {pattern.strip() for pattern in names.split(",")}
    missing = [
        task for task in candidates if task.name not in named and manifest.missing(task, root, splits_of(task, split))
    ]
    if not missing or len(missing) == len(candidates):
        return list(candidates)
    log.warning("not there: %s; `data check` lists their missing files", ", ".join(task.name for task in missing))
    return [task for task in candidates if task not in missing]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The samples of a split: those that are evaluated, and the excluded ones; and what reading them converted."""

    samples: list[Sample[Any]]
    excluded: list[Sample[Any]]
    reading: Reading

    @property
    def all(self) -> list[Sample[Any]]:
        """The samples that are evaluated, then the excluded ones."""
        return [*self.samples, *self.excluded]

    def exclusions(self) -> tuple[str, ...]:
        """For each reason, how many samples are excluded: `2 samples are excluded: they ... (first: 101, 102)`."""
        by_reason: dict[str, list[str]] = {}
        for sample in self.excluded:
            by_reason.setdefault(sample.excluded, []).append(sample.id)
        return tuple(
            f"{len(ids):,} samples are excluded: they {reason} (first: {', '.join(ids[: files.FIRST])})"
            for reason, ids in by_reason.items()
        )

    def described(self) -> dict[str, Any]:
        """The provenance entries about the samples: how many are excluded, and every note."""
        notes = [*self.exclusions(), *self.reading.said()]
        counted = {"excluded": len(self.excluded)} if self.excluded else {}
        return counted | ({"notes": notes} if notes else {})


@dataclass(frozen=True, slots=True)
class DataSource:
    """The data of an evaluation: a data root, or a user's own annotations and images in a task's official format.

    `annotations` is a file or folder that replaces those of the root.  `images` is a folder that replaces the task's
    own; each image is then opened by its name in the annotations.  `strict` refuses records that need a conversion.
    `copied` is a copy in parquet, which has a root for each split: see `of`; then `prepared` says what it lacks.
    `dataset` is the user's own data set that a dataset.toml names; `root` is then its folder.
    """

    name: str
    root: Path
    annotations: Path | None = None
    images: Path | None = None
    strict: bool = False
    copied: Copied | None = None
    prepared: Prepared | None = None
    dataset: Own | None = None
    candidates: Candidates | None = None  # of a first run, for a task that needs them

    def of(self, task: Task[Any], split: str) -> DataSource:
        """The source with the root of a split, which is made if the data is a copy in parquet; DataError as there."""
        if self.copied is None:
            return self
        given = {"annotated": self.annotations is not None, "pictured": self.images is not None}
        prepared = self.copied.prepare(task, split, **given)
        return replace(self, root=prepared.root, copied=None, prepared=prepared)

    @property
    def image_root(self) -> Path:
        """The folder that image references are relative to."""
        return self.images or self.root

    def load(self, task: Task[Any], split: str) -> list[Sample[Any]]:
        """A task's samples that are evaluated; DataError as `read`."""
        return self.read(task, split).samples

    def read(self, task: Task[Any], split: str) -> Loaded:
        """A task's samples, with the excluded ones and what reading converted.  Images are not opened.

        DataError where annotations are missing or malformed, or name an image outside the root, or no sample is
        evaluated.
        """
        annotation_needs = [need for need in self.needs(task, split) if manifest.is_of_annotations(need)]
        manifest.require_files(task, self.root, annotation_needs, split)
        reading = Reading(self.strict)
        for lack in self.prepared.lacks if self.prepared is not None else ():
            if self.strict:
                raise DataError(f"{lack}; use the official files, or leave --strict out")
            reading.notes[lack] = Noted()
        samples = list(task.load(Source(self.root, split, self.annotations, reading, self.candidates)))
        needs = manifest.needs(task, [split])
        if self.images is None:
            samples = list(manifest.within(self.root, samples, needs))
        else:
            samples = list(manifest.within(self.images, _below_images(samples, needs), ()))
        evaluated = [sample for sample in samples if not sample.excluded]
        loaded = Loaded(evaluated, [sample for sample in samples if sample.excluded], reading)
        if not evaluated:
            where = f"{task.name} has no samples in split {split} of {self.annotations or self.root}"
            raise DataError("; ".join((where, *loaded.exclusions())))
        return loaded

    def own(self) -> list[Path]:
        """The user's own paths."""
        return [path for path in (self.annotations, self.images) if path is not None]

    def needs(self, task: Task[Any], split: str) -> list[FileNeed]:
        """The files and folders that a split needs of the data root; the user's own paths replace the others."""
        return [
            need
            for need in manifest.needs(task, [split])
            if (self.annotations if manifest.is_of_annotations(need) else self.images) is None
        ]

    def missing(self, task: Task[Any], split: str) -> list[FileNeed]:
        """The needs that do not exist under the data root."""
        return [need for need in self.needs(task, split) if manifest.found(need, self.root) is None]

    def require(self, task: Task[Any], split: str) -> None:
        """DataError, with the first missing path and its origin, where a file or folder of a split is missing."""
        manifest.require_files(task, self.root, self.needs(task, split), split)

    def annotation_digest(self, task: Task[Any], split: str) -> str:
        """The digest of a split's annotation files, and of the candidates of a task that needs them."""
        if self.annotations is not None:
            digest = manifest.digest(manifest.given(self.annotations))
        else:
            digest = manifest.digest(manifest.annotation_files(task, self.root, split))
        return first_run.digest(digest, self.candidates) if self.candidates is not None else digest

    def facts(self, task: Task[Any], split: str, samples: Sequence[Sample[Any]]) -> dict[str, Any]:
        """What a record says about all samples of a split; several image ids of one image are logged too.

        `published counts` is "same", or the counts that differ; it is absent where no counts are published.
        """
        published = task.published.get(split, {}) if self.name != MINIATURE else {}
        facts: dict[str, Any] = {}
        if published:
            facts["published counts"] = check.differences(check.counts(samples), published) or "same"
        if problem := shared(samples):
            log.warning("%s %s: %s", task.name, split, problem)
            facts["shared images"] = problem
        return facts

    def described(self) -> dict[str, Any]:
        """The user's own paths, the copy and the first run for a record's provenance, to read the samples again."""
        own = {"annotations": self.annotations, "images": self.images}
        own["dataset"] = self.dataset.path if self.dataset is not None else None
        paths = {name: str(path.absolute()) for name, path in own.items() if path is not None}
        facts = dict(self.prepared.facts) if self.prepared is not None else {}
        if self.candidates is not None:
            facts["candidates"] = first_run.described(self.candidates)
        return {**({"own data": paths} if paths else {}), **facts}


def shared(samples: Sequence[Sample[Any]]) -> str:
    """The image files that several image ids share, in words; "" where there are none."""
    ids = check.shared_images(samples)
    if not ids:
        return ""
    name, most = max(ids.items(), key=lambda item: item[1])
    files = "1 image file" if len(ids) == 1 else f"{len(ids):,} image files"
    return f"{sum(ids.values()):,} image ids share {files}; {most:,} of them are {name}"


def source_of(
    data: str | None,
    who: str,
    *,
    embedded: bool,
    annotations: Path | None = None,
    images: Path | None = None,
    strict: bool = False,
) -> DataSource:
    """The data source of these options; DataError where a path of the user's own data does not exist."""
    copied = _copied(data, annotations)
    if annotations is None and images is None and copied is None:
        own = own_of(data)
        if own is not None:
            own.warn_of_changes()
        return DataSource(*data_root(data, who, embedded=embedded), strict=strict, dataset=own)
    if data is not None and is_own(data):
        raise UsageError(f"{data} names its annotations and images; leave --annotations and --images out")
    if annotations is not None and not annotations.exists():
        raise DataError(f"--annotations {annotations}: there is no such file or folder")
    if images is not None and not images.is_dir():
        raise DataError(f"--images {images}: there is no such folder")
    if copied is not None:
        name, root = copied.name, Path()
    elif data is not None or annotations is None:
        name, root = data_root(data, who, embedded=embedded)
    else:
        name, root = "", Path()
    name = annotations.stem if annotations is not None else name
    return DataSource(re.sub(r"[^\w.+@-]", "_", name) or "data", root, annotations, images, strict, copied)


def _copied(data: str | None, annotations: Path | None) -> Copied | None:
    """The copy in parquet that is named: by `data`, else by the environment unless annotations are given."""
    name = data or (os.environ.get(DATA_VARIABLE) if data is None and annotations is None else None)
    return copies.named(name) if name and name != MINIATURE else None


def load(task: Task[Any], root: Path, split: str) -> list[Sample[Any]]:
    """A task's samples from a data root; DataError where annotations or folders of images are missing or malformed."""
    source = DataSource(root.name, root)
    source.require(task, split)
    return source.load(task, split)


def _below_images(samples: Sequence[Sample[Any]], needs: Sequence[FileNeed]) -> list[Sample[Any]]:
    """Samples whose image names are relative to the task's folder of images, or to the parent of several folders."""
    folders = [need.path for need in needs if not manifest.is_of_annotations(need)]
    parent = f"{os.path.commonpath(folders)}/" if folders else ""
    return [
        replace(sample, question=replace(sample.question, image=sample.question.image_name.removeprefix(parent)))
        for sample in samples
    ]


def task_of(record: Run, named: str | None = None) -> Task[Any]:
    """The task of a record: the one `named` on the command line, the project's own, or an installed package's.

    A record never imports the module that it names, since it may come from a stranger.  DataError, with the option to
    add, where the task is not found.
    """
    if named is not None:
        for task in tasks.select(named):
            if task.name == record.spec.task:
                return task
    known = tasks.TASKS.get(record.spec.task) or tasks.every().get(record.spec.task)
    if known is not None:
        return known
    where = record.provenance.get("task from", "package.module:NAME")
    raise DataError(
        f"run {record.id} is of the task {record.spec.task!r}, which is neither this project's nor an installed "
        f"package's; name it: --task {where}"
    )


def samples_of(record: Run, data: str | None, named: str | None = None) -> tuple[Task[Any], list[Sample[Any]], Path]:
    """A run's task, samples and image root; DataError where the annotations are not those of the run."""
    task, loaded, image_root = loaded_of(record, data, named)
    return task, loaded.samples, image_root


def loaded_of(record: Run, data: str | None, named: str | None = None) -> tuple[Task[Any], Loaded, Path]:
    """As `samples_of`, with the excluded samples; those of a limited run have its images only."""
    source = _source_of_record(record, data)
    task = task_of(record, named) if source.dataset is None else source.dataset.task(record.spec.task)
    source = first_run.again(task, source.of(task, record.spec.split), record)
    if source.annotation_digest(task, record.spec.split) != record.spec.data_hash:
        where = source.annotations or source.root
        raise DataError(f"run {record.id} is of other annotations of {record.spec.data} than those in {where}")
    loaded = source.read(task, record.spec.split)
    chosen = runner.choose(loaded.samples, record.spec.limit, record.spec.seed)
    return task, replace(loaded, samples=chosen), source.image_root


def _source_of_record(record: Run, data: str | None) -> DataSource:
    """The data source of a record: a data root, or the user's own paths in its provenance."""
    own = record.provenance.get("own data", {})
    if isinstance(own.get("dataset"), str):
        dataset = open_own(Path(data if data is not None and is_own(data) else own["dataset"]))
        return DataSource(dataset.name, dataset.root, dataset=dataset)
    paths = {name: Path(own[name]) for name in ("annotations", "images") if isinstance(own.get(name), str)}
    embedded = record.spec.data == MINIATURE
    about = record.provenance.get("copy")
    copy = about.get("data") if isinstance(about, dict) else None
    where = data if data is not None and copies.named(data) is not None else copy
    if isinstance(where, str):  # official files given as `data` are not those of a copy
        annotations, own_images = paths.get("annotations"), paths.get("images")
        return source_of(where, record.spec.model, embedded=embedded, annotations=annotations, images=own_images)
    if not paths:
        return DataSource(*data_root(data, record.spec.model, embedded=embedded, prefer=record.spec.data))
    for path in paths.values():
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"run {record.id} is of {path}, which is not there")
    root = data_root(data, record.spec.model, embedded=embedded)[1] if data is not None else Path()
    return DataSource(record.spec.data, root, paths.get("annotations"), paths.get("images"))
