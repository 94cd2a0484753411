"""`dataset.toml`: a small file that names a user's own data set, its images, its tasks and its source.

    name = "shop"
    format = "yolo"
    images = "photos"          # relative to this file, or absolute

    [tasks]                    # the splits of each task, the first is the default; `train` is for training
    detect = ["val", "train"]

    [source]                   # `data new` read these files; a later change is reported
    path = "photos"
    sha256 = "..."

The official files that the tasks read, and a link to the folder of images, are in the folder of the same name with the
ending `.files`.  The file may be a stranger's: it is checked, and its relative paths stay in its folder.  An absolute
path of images counts only where the link, which `data new` made on this machine, leads to the same folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import msgspec

from harness.data import manifest
from harness.data.own import coco, csv, jsonl, labelme, voc, yolo
from harness.data.own.content import TRAIN
from harness.data.own.listing import OWN_FOLDER
from harness.errors import DataError

READERS = {"coco": coco, "csv": csv, "jsonl": jsonl, "labelme": labelme, "voc": voc, "yolo": yolo}
KINDS = ("detect", "find", "caption", "vqa", "refer", "segment")
IMAGES = "images"
MOST_BYTES = 1 << 20
RESERVED = ("all", "miniature")


class Origin(msgspec.Struct, forbid_unknown_fields=True):
    """The annotations that a data set was made of, and a digest over them."""

    path: str
    sha256: str


class Dataset(msgspec.Struct, forbid_unknown_fields=True):
    """The content of a dataset.toml."""

    name: str
    format: str
    images: str
    tasks: dict[str, list[str]]
    source: Origin


def folder_of(path: Path) -> Path:
    """The folder of official files beside a dataset.toml."""
    return path.with_suffix(OWN_FOLDER)


def read(path: Path) -> Dataset:
    """A dataset.toml; DataError, naming the key, for a malformed one, and for one without its folder."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path} has more than {MOST_BYTES:,} bytes; a dataset.toml is small")
        dataset = msgspec.toml.decode(path.read_bytes(), type=Dataset)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; `data new` writes it") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is no dataset.toml: {error}; `data new` writes one") from error
    _check(dataset, path)
    link, images = folder_of(path) / IMAGES, resolved(dataset.images, path, "images")
    if not link.is_dir() or not images.is_dir() or not os.path.samefile(link, images):
        raise DataError(
            f"{link} is not a link to the images in {images}; run `python -m harness data new` again, which makes it"
        )
    return dataset


def _check(dataset: Dataset, path: Path) -> None:
    """DataError for a name, a format, a task or a split that is not possible."""
    if problem := unusable(dataset.name):
        raise DataError(f"{path}: name = {dataset.name[:60]!r}: {problem}")
    if dataset.format not in READERS:
        raise DataError(f"{path}: format = {dataset.format[:60]!r}; there are {', '.join(READERS)}")
    for kind, splits in dataset.tasks.items():
        if kind not in KINDS:
            raise DataError(f"{path}: [tasks] has {kind[:60]!r}; there are {', '.join(KINDS)}")
        for split in splits:
            if not re.fullmatch(r"\w[\w.-]{0,49}", split):
                raise DataError(f"{path}: [tasks] {kind} has the split {split[:60]!r}; a split is a name")
        if len(set(splits)) < len(splits) or not set(splits) - {TRAIN}:
            raise DataError(f"{path}: [tasks] {kind} has a split twice, or none to evaluate")
    if not dataset.tasks:
        raise DataError(f"{path}: [tasks] is empty; there are {', '.join(KINDS)}")


def unusable(name: str) -> str:
    """Why a data set cannot have this name; "" where it can."""
    if not re.fullmatch(r"\w[\w.+@-]{0,49}", name):
        return "a name has up to 50 letters, digits and . _ + @ -, no slash"
    return f"{' and '.join(RESERVED)} have another meaning" if name in RESERVED else ""


def resolved(stated: str, path: Path, key: str) -> Path:
    """The path that a dataset.toml states; DataError, naming the key, for a relative one that leaves its folder."""
    home = Path(os.path.normpath(path.parent.absolute()))
    plain = os.path.normpath(home / stated)
    if not stated or "\0" in stated or not (os.path.isabs(stated) or Path(plain).is_relative_to(home)):
        raise DataError(f"{path}: {key} = {stated[:200]!r} leaves the folder of the file; name it absolutely")
    return Path(plain)


def stated(target: Path, path: Path) -> str:
    """A path as a dataset.toml states it: relative where it is below the file's folder, else absolute."""
    plain, home = Path(os.path.normpath(target.absolute())), Path(os.path.normpath(path.parent.absolute()))
    return plain.relative_to(home).as_posix() if plain.is_relative_to(home) else str(plain)


def encoded(dataset: Dataset) -> str:
    """The text of a dataset.toml, with its paths and names quoted as TOML reads them."""
    tasks = "".join(f"{kind} = {json.dumps(splits)}\n" for kind, splits in dataset.tasks.items())
    name, form, images, source = map(_quoted, (dataset.name, dataset.format, dataset.images, dataset.source.path))
    return (
        "# Written by `python -m harness data new`; `run`, `finetune`, `gate` and `data check` take it as --data.\n"
        f"name = {name}\nformat = {form}\nimages = {images}\n\n"
        f"[tasks]  # the splits of each task: the first is the default, and {TRAIN} is for training\n{tasks}\n"
        "[source]  # a change of these files is reported\n"
        f"path = {source}\nsha256 = {_quoted(dataset.source.sha256)}\n"
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def digest(form: str, annotations: Path, images: Path) -> str:
    """A digest over the annotation files of a source: their paths within it, and their contents."""
    total = hashlib.sha256()
    for path in READERS[form].sources(annotations, images):
        if not path.is_file():  # a device or a pipe has no end
            raise DataError(f"{path} is not a file")
        relative = os.path.relpath(path, annotations) if annotations.is_dir() else path.name
        total.update(f"{relative}\0{manifest.sha256(path)}\0".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def changed(dataset: Dataset, path: Path) -> str:
    """What has changed in the source since `data new` read it, as a sentence; "" where nothing has."""
    source, images = resolved(dataset.source.path, path, "source.path"), resolved(dataset.images, path, "images")
    again = f"; the data set is as `data new --format {dataset.format}` made it: run that again"
    if not source.exists():
        return f"{source}, the source of {path}, is not there any more"
    try:
        now = digest(dataset.format, source, images)
    except DataError as error:
        return f"{source}, the source of {path}, cannot be compared: {error}"
    return "" if now == dataset.source.sha256 else f"{source}, the source of {path}, has changed{again}"
