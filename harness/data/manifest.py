"""What a task needs on disk: which of it is there, where the rest comes from, and a digest of the annotations.

A need that is a file is an annotation file; one that is a folder holds images, as a rule, and counts as there once
something lies in it, or in the store that it was packed into.  Single images are missed when they are opened.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.core import FileNeed, Task
from harness.errors import DataError

ANNOTATIONS = (".json", ".txt", ".xml", ".p")
MOST_FILES = 200_000  # Flickr30k Entities, the largest folder of annotations, has 63,566


def needs(task: Task[Any], splits: Iterable[str] = ()) -> tuple[FileNeed, ...]:
    """What a task needs for these splits (none named: for any)."""
    wanted = set(splits)
    return tuple(need for need in task.files if not (wanted and need.splits) or wanted & set(need.splits))


def found(need: FileNeed, root: Path) -> Path | None:
    """Where a need is met under the data root: its own path, or the one that does as well; None: nowhere."""
    for path in (need.path, need.instead):
        if path and _is_there(root / path):
            return root / path
    return None


def missing(task: Task[Any], root: Path, splits: Iterable[str] = ()) -> tuple[FileNeed, ...]:
    """The files and folders of a task that are not under the data root."""
    return tuple(need for need in needs(task, splits) if found(need, root) is None)


def require(task: Task[Any], root: Path, split: str) -> None:
    """DataError, naming the first missing path and its origin, unless everything a split needs is there."""
    require_files(task, root, needs(task, [split]))


def require_files(task: Task[Any], root: Path, wanted: Iterable[FileNeed]) -> None:
    """The same for some of a task's needs."""
    lacking = [need for need in wanted if found(need, root) is None]
    if lacking:
        more = f" ({len(lacking) - 1} more missing)" if lacking[1:] else ""
        raise DataError(
            f"{task.name} needs {root / lacking[0].path}, which is not there; it comes from {lacking[0].origin}{more}; "
            f"see `python -m harness data check --task {task.name}`"
        )


def annotation_files(task: Task[Any], root: Path, split: str) -> tuple[Path, ...]:
    """What of a split's needs is digested: its files, and folders of annotations, but no images."""
    paths = [(need, found(need, root)) for need in needs(task, [split])]
    kept = [path for need, path in paths if path is not None and (path.is_file() or need.annotations)]
    return tuple(dict.fromkeys(kept))


def given(path: Path) -> tuple[Path, ...]:
    """What is digested of annotations given instead: the file, or all such files of the folder, at any depth.

    DataError for a folder of more than `MOST_FILES` files: it is hardly the one that was meant.
    """
    if path.is_file():
        return (path,)
    files = list(itertools.islice(path.rglob("*"), MOST_FILES + 1))
    if len(files) > MOST_FILES:
        raise DataError(f"--annotations {path}: a folder of more than {MOST_FILES:,} files")
    return tuple(sorted(file for file in files if file.suffix in ANNOTATIONS and file.is_file()))


def digest(paths: Iterable[Path]) -> str:
    """sha256 over names and contents, in the order given; of a folder, the files directly in it.

    Where they lie does not enter, so the same files have one digest on every machine.  DataError where one is missing.
    """
    total = hashlib.sha256()
    for path in paths:
        for file in sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]:
            total.update(f"{file.name}\0{sha256(file)}\0".encode())
    return total.hexdigest()


def sha256(path: Path) -> str:
    """Of a file's bytes; DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; see `python -m harness data check`") from error


def is_of_annotations(need: FileNeed) -> bool:
    """Whether a need is an annotation file, or a folder of them; judged by its name, for it may not be there."""
    return need.annotations or need.path.endswith(ANNOTATIONS)


def _is_there(path: Path) -> bool:
    if path.is_dir() and any(path.iterdir()):
        return True
    return path.is_file() or path.with_name(f"{path.name}.lmdb").is_dir()
