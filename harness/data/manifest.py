"""The files that a task needs on disk: which exist, where to obtain the others, and a digest of the annotations.

A need that is a file is an annotation file.  A need that is a folder usually holds images; it exists if it or its store
(see `harness.images`) has any content.  Whether single images exist is checked when they are opened.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness import images
from harness.core import EMBEDDED, FileNeed, Sample, Task
from harness.errors import DataError

ANNOTATIONS = (".json", ".txt", ".xml", ".p")  # suffixes of annotation files
MOST_FILES = 200_000  # Flickr30k Entities, the largest folder of annotations, has 63,566


def needs(task: Task[Any], splits: Iterable[str] = ()) -> tuple[FileNeed, ...]:
    """The needs of a task for these splits; without splits, all needs."""
    chosen = set(splits)
    return tuple(need for need in task.files if not (chosen and need.splits) or chosen & set(need.splits))


def found(need: FileNeed, root: Path) -> Path | None:
    """The existing path of a need under the data root, `path` before `instead`; None if neither exists."""
    for path in (need.path, need.instead):
        if path and _exists(root / path):
            return root / path
    return None


def missing(task: Task[Any], root: Path, splits: Iterable[str] = ()) -> tuple[FileNeed, ...]:
    """The needs of a task for these splits that do not exist under the data root."""
    return tuple(need for need in needs(task, splits) if found(need, root) is None)


def require(task: Task[Any], root: Path, split: str) -> None:
    """DataError, naming the first missing path and its origin, unless everything a split needs is there."""
    require_files(task, root, needs(task, [split]), split)


def require_files(task: Task[Any], root: Path, wanted: Iterable[FileNeed], split: str = "") -> None:
    """DataError, likewise, unless all these needs of a task exist; `split` is for the command in the message."""
    absent = [need for need in wanted if found(need, root) is None]
    if absent:
        more = f" ({len(absent) - 1} more missing)" if absent[1:] else ""
        raise DataError(
            f"{task.name} needs {root / absent[0].path}, which is not there; it comes from {absent[0].origin}{more}; "
            f"{_remedy(task, root, absent[0], split)}"
        )


def _remedy(task: Task[Any], root: Path, need: FileNeed, split: str) -> str:
    """The command that helps where a need is missing: it fetches published files, and lists others."""
    if need.origin == EMBEDDED:
        return f"see `python -m harness data check --task {task.name}`"
    named = f" --split {split}" if split and split != task.splits[0] else ""
    return f"`python -m harness data fetch --task {task.name}{named} --data {shlex.quote(str(root))}` fetches it"


def within(root: Path, samples: Iterable[Sample[Any]], needs: Iterable[FileNeed]) -> Iterator[Sample[Any]]:
    """The samples unchanged; DataError for an image that is outside the data root.

    The folders of `needs`, and those above them, may be links to anywhere (see `images.refuse_outside`).
    """
    folders = [path for need in needs for path in (need.path, need.instead) if path]
    checked: set[str] = set()
    for sample in samples:
        if isinstance(sample.question.image, str) and sample.question.image:
            folder = images.inside(sample.question.image).rpartition("/")[0]
            if folder not in checked:
                images.refuse_outside(root, folder, folders)
                checked.add(folder)
        yield sample


def annotation_files(task: Task[Any], root: Path, split: str) -> tuple[Path, ...]:
    """The existing annotation files of a split, and its folders of annotations; no images."""
    paths = [(need, found(need, root)) for need in needs(task, [split])]
    annotations = [path for need, path in paths if path is not None and (path.is_file() or need.annotations)]
    return tuple(dict.fromkeys(annotations))


def given(path: Path) -> tuple[Path, ...]:
    """The files of annotations that replace the official ones: the file, or all annotation files below the folder.

    DataError for a folder of more than `MOST_FILES` files, which is probably not the one that was meant.
    """
    if path.is_file():
        return (path,)
    files = list(itertools.islice(path.rglob("*"), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise DataError(f"--annotations {path}: a folder of more than {MOST_FILES:,} files")
    return tuple(sorted(file for file in files if file.suffix in ANNOTATIONS and file.is_file()))


def digest(paths: Iterable[Path]) -> str:
    """The sha256 over names and contents of files, in the given order; a folder stands for the files directly in it.

    Folders' paths are not part of it, so equal files have equal digests on every machine.  DataError if a file cannot
    be read.
    """
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]:
            total.update(f"{file.name}\0{sha256(file)}\0".encode())
    return total.hexdigest()


def sha256(path: Path) -> str:
    """The sha256 of a file in hexadecimal; DataError if the file cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; see `python -m harness data check`") from error


def is_of_annotations(need: FileNeed) -> bool:
    """Whether a need is an annotation file or a folder of them, judged by its name, because it may not exist."""
    return need.annotations or need.path.endswith(ANNOTATIONS)


def _exists(path: Path) -> bool:
    if path.is_dir():
        with os.scandir(path) as entries:  # `iterdir` would list a folder of a million images whole
            if any(entries):
                return True
    return path.is_file() or path.with_name(f"{path.name}.lmdb").is_dir()
