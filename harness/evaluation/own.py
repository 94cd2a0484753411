"""A user's own data set, named by a dataset.toml: its tasks, and how `data new` makes it.

A task is an official one with the user's samples: the same questions, metrics and result files.  Its name is that of
the data set and of the task, such as `shop-detect`.  No official task has a "-" in its name, so no number of a user's
own data is ever beside a published one.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from harness.core import FileNeed, Kind, Sample, Source, Task
from harness.data.own import dataset as files
from harness.data.own.content import TRAIN
from harness.data.own.dataset import IMAGES, Dataset
from harness.data.own.writing import REFS
from harness.errors import DataError, UsageError
from tasks import TASKS
from tasks.vqa import load_textvqa

ENDING = ".toml"
ORIGIN = "`python -m harness data new`"
BASES: Mapping[str, Task[Any]] = {
    "detect": TASKS["coco_detection"],
    "find": replace(TASKS["coco_detection"], kind="find"),
    "caption": TASKS["coco_caption"],
    "vqa": replace(TASKS["vqav2"], load=load_textvqa),  # questions in TextVQA's file, scored as VQA v2
    "refer": TASKS["refcoco"],
    "segment": TASKS["refcoco_res"],
}
ABOUT = {
    "detect": "find all objects of the categories, scored as COCO detection",
    "find": "find the objects of the named categories, scored as COCO detection",
    "caption": "describe an image in a sentence, scored as COCO captions",
    "vqa": "answer a question about an image, scored as VQA v2",
    "refer": "find the box of the object that a sentence refers to, scored as RefCOCO",
    "segment": "find the mask of the object that a sentence refers to, scored as RefCOCO",
}
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Own:
    """A data set with its tasks by name; `root` is its data root, which holds the official files."""

    path: Path
    dataset: Dataset
    tasks: Mapping[str, Task[Any]]

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def root(self) -> Path:
        return files.folder_of(self.path)

    def full(self, names: str) -> str:
        """Names of tasks with commas, each that is short (`detect`) as its full name (`shop-detect`)."""
        stripped = [name.strip() for name in names.split(",")]
        return ",".join(self._full(name) if self._full(name) in self.tasks else name for name in stripped)

    def select(self, names: str) -> list[Task[Any]]:
        """The tasks that names, globs or "all" select, each once; UsageError where one selects none."""
        chosen: dict[str, Task[Any]] = {}
        for pattern in (name.strip() for name in names.split(",")):
            matching = [
                task
                for name, task in self.tasks.items()
                if pattern in ("all", name) or any(fnmatchcase(n, pattern) for n in (name, self._short(name)))
            ]
            if not matching:
                there = ", ".join(map(self._short, self.tasks))
                raise UsageError(f"{self.path} has no task {pattern!r}; it has {there}")
            chosen |= {task.name: task for task in matching if task.name not in chosen}
        return list(chosen.values())

    def trainable(self, names: str | None) -> list[Task[Any]]:
        """The tasks of these names; None: those with a training split, of which `find` repeats `detect`."""
        if names is not None:
            return self.select(names)
        trained = [task for name, task in self.tasks.items() if task.train_splits and self._short(name) != "find"]
        if not trained:
            raise UsageError(f"{self.path} has no split {TRAIN}, so nothing can be fine-tuned on it")
        return trained

    def task(self, name: str) -> Task[Any]:
        """The task of this full name; DataError where the data set has none."""
        if name not in self.tasks:
            raise DataError(f"{self.path} has no task {name}; it has {', '.join(self.tasks)}")
        return self.tasks[name]

    def warn_of_changes(self) -> None:
        """Logs what has changed in the source since `data new` read it."""
        if problem := files.changed(self.dataset, self.path):
            log.warning("%s", problem)

    def _full(self, kind: str) -> str:
        return f"{self.name}-{kind}"

    def _short(self, name: str) -> str:
        return name.removeprefix(f"{self.name}-")


def is_own(data: str | None) -> bool:
    """Whether `--data` names a dataset.toml, not a data root."""
    return data is not None and data.endswith(ENDING) and not Path(data).is_dir()


def open_own(path: Path) -> Own:
    """The data set of a dataset.toml; DataError for a malformed one."""
    dataset = files.read(path)
    return Own(path, dataset, tasks_of(dataset.name, dataset.tasks))


def tasks_of(name: str, splits: Mapping[str, Sequence[str]]) -> dict[str, Task[Any]]:
    """The tasks of a data set by name, from the splits of each kind; the first that is evaluated is the default."""
    return {f"{name}-{kind}": _task(name, kind, splits[kind]) for kind in files.KINDS if kind in splits}


def _task(name: str, kind: str, splits: Sequence[str]) -> Task[Any]:
    return replace(
        BASES[kind],
        name=f"{name}-{kind}",
        about=f"{name}: {ABOUT[kind]}",
        splits=tuple(split for split in splits if split != TRAIN),
        hidden_splits=(),
        train_splits=(TRAIN,) if TRAIN in splits else (),
        load=partial(_load, kind=kind),
        files=(*_needs(kind, splits), FileNeed(IMAGES, "the folder of images that dataset.toml names")),
        seen_in_training="",
        published={},
    )


def _needs(kind: str, splits: Sequence[str]) -> Iterator[FileNeed]:
    if kind in ("refer", "segment"):
        yield from (FileNeed(f"{kind}/{name}", ORIGIN) for name in (REFS, "instances.json"))
    else:
        yield from (FileNeed(_file(kind, split), ORIGIN, (split,)) for split in splits)


def _file(kind: str, split: str) -> str:
    """The official file of a split, below the root."""
    if kind in ("refer", "segment"):
        return f"{kind}/{REFS}"
    return f"{'detect' if kind == 'find' else kind}/{split}.json"


def _load(source: Source, kind: str) -> Iterator[Sample[Any]]:
    """The samples of an official reader, with images named by their paths below the root."""
    given = Source(source.root, source.split, source.root / _file(kind, source.split), source.reading)
    for sample in BASES[kind].load(given):
        name = sample.question.image_name.split("/", 2)[2]  # the official reader's folder is before it
        reference = f"{IMAGES}/{name.removesuffix('.jpg') if kind == 'vqa' else name}"  # TextVQA's ids have no ending
        asked: Kind = "find" if kind == "find" else sample.question.kind
        question = replace(sample.question, image=reference, kind=asked)
        yield replace(sample, question=question, cluster=reference)


def link_images(root: Path, images: Path, path: Path) -> None:
    """Links the folder of images into the root: relatively where it is below the folder of the dataset.toml."""
    stated = files.stated(images, path)
    target = stated if os.path.isabs(stated) else os.path.join("..", stated)
    (root / IMAGES).symlink_to(target, target_is_directory=True)


def replace_root(new: Path, root: Path) -> None:
    """Puts a new root in the place of an earlier one; UsageError where that is not one of ours."""
    if root.exists() or root.is_symlink():
        refuse_other(root)
        shutil.rmtree(root)
    new.rename(root)


def refuse_other(root: Path) -> None:
    """UsageError for an existing folder with anything that `data new` does not write."""
    ours = {*files.KINDS, IMAGES, f"{IMAGES}.lmdb"}
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        raise UsageError(f"{root} is there and is no folder of a data set; give another --to")
    others = sorted(path.name for path in root.iterdir() if path.name not in ours) if root.is_dir() else []
    if others:
        raise UsageError(f"{root} holds {others[0]}, which `data new` did not write; give another --to")
