"""What `data new` does: read a user's own annotations, check them, and write a dataset.toml with official files."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core import Noted
from harness.data import check
from harness.data.own import dataset as files
from harness.data.own.coco import ROBOFLOW
from harness.data.own.content import TRAIN, Content, Notes, Picture
from harness.data.own.dataset import Dataset, Origin
from harness.data.own.listing import listed
from harness.data.own.looking import leave_out_unusable, looked_at, trained_and_evaluated
from harness.data.own.writing import write
from harness.errors import DataError, UsageError
from harness.evaluation.own import ENDING, link_images, refuse_other, replace_root, tasks_of
from harness.evaluation.plan import DataSource, shared
from harness.store.files import disk_errors, replace_file

SHOWN = 12  # categories
LEAKED = "images of train whose file is also in another split, left out of train"
ENDINGS = {
    ".yaml": "yolo", ".yml": "yolo", ".json": "coco", ".xml": "voc", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}  # fmt: skip
SHOWN_BY = (  # the format of a folder that holds, in one of these folders, a file with this beginning and ending
    ("yolo", ("",), "data", (".yaml", ".yml")),
    ("yolo", ("", "labels"), "classes", (".txt",)),
    ("coco", ("", "train", "valid", "test"), ROBOFLOW, ("",)),
    ("voc", ("Annotations", "", "train", "valid", "test"), "", (".xml",)),
    ("coco", ("annotations",), "", (".json",)),
)


@dataclass(frozen=True, slots=True)
class Made:
    """What was read and written: the splits of each task, and lines for the user."""

    path: Path
    tasks: Mapping[str, Sequence[str]]
    lines: Sequence[str]
    problems: Sequence[str]


def new(
    form: str | None,
    annotations: Path | None,
    images: Path | None,
    *,
    to: Path,
    name: str | None = None,
    strict: bool = False,
) -> Made:
    """Writes `to`, a dataset.toml, and the folder of official files beside it.

    `form` is one of `dataset.READERS`; None: what the annotations look like.  `annotations` is a file or a folder
    (None: `images`); `images` is the folder that image names are relative to (None: the annotations' own).  Problems of
    single images and objects are counted, and `strict` refuses them.

    UsageError for options that contradict each other, DataError for annotations that cannot be read.
    """
    annotations, images = _paths(annotations, images)
    chosen = form or guessed(annotations)
    if chosen not in files.READERS:
        raise UsageError(f"--format {chosen}: {', '.join(files.READERS)}")
    called = name or re.sub(r"[^\w.+@-]", "_", images.absolute().name)[:50].lstrip(".+@-") or "data"
    if problem := files.unusable(called):
        raise UsageError(f"--name {called[:60]!r}: {problem}; give another --name")
    root = files.folder_of(to)
    _refuse(to, root)
    notes = Notes(annotations, strict=strict)
    content: Content = files.READERS[chosen].read(annotations, images, notes)
    content.pictures = looked_at(content.pictures, images, notes)
    if not content.official:  # official files are kept as they are
        for picture in content.pictures:
            leave_out_unusable(picture, notes)
    _keep_out(content, images, notes)
    with disk_errors(root):
        partial = root.with_name(f"{root.name}.{os.getpid()}.partial")
        try:
            partial.mkdir(parents=True)
            written = _evaluated(write(content, partial), annotations, notes)
            link_images(partial, images, to)
            lines = [*_described(content, chosen), *_counted(called, written, partial, notes)]
            origin = Origin(files.stated(annotations, to), files.digest(chosen, annotations, images))
            made = Dataset(called, chosen, files.stated(images, to), written, origin)
            text = files.encoded(made).encode("utf-8")
            replace_root(partial, root)
        except UnicodeEncodeError as error:
            raise DataError(f"{annotations} or {images} has a name that is not UTF-8; rename it") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        replace_file(to, text)
    return Made(to, written, lines, notes.reading.said())


def _paths(annotations: Path | None, images: Path | None) -> tuple[Path, Path]:
    """The annotations and the folder of images; DataError where one is not there."""
    annotations = annotations or images
    if annotations is None:
        raise UsageError("give --annotations, a file or folder, or --images, a folder that holds both")
    if not annotations.exists():
        raise DataError(f"--annotations {annotations}: there is no such file or folder")
    if images is None:
        images = annotations if annotations.is_dir() else annotations.parent
        if (images.absolute().parent / "JPEGImages").is_dir():  # beside VOC's Annotations
            images = images.absolute().parent
    if not images.is_dir():
        raise DataError(f"--images {images}: there is no such folder")
    return annotations, images


def guessed(annotations: Path) -> str:
    """The format that a file's ending or a folder's files show; UsageError where none is shown."""
    if annotations.is_file() and annotations.suffix.lower() in ENDINGS:
        return ENDINGS[annotations.suffix.lower()]
    for form, folders, start, endings in SHOWN_BY:
        for folder in (annotations / name for name in folders):
            if folder.is_dir() and any(name.startswith(start) for name in listed(folder, endings, deep=False)):
                return form
    raise UsageError(f"{annotations} shows no format; give --format {'|'.join(files.READERS)}")


def _refuse(to: Path, root: Path) -> None:
    """UsageError for a file that is no dataset.toml, and for a folder that would be overwritten."""
    if to.suffix != ENDING:
        raise UsageError(f"--to {to}: the name ends in {ENDING}")
    if to.exists() and b"data new" not in to.read_bytes()[:200]:
        raise UsageError(f"--to {to} is there, and `data new` did not write it; give another --to")
    refuse_other(root)


def _keep_out(content: Content, images: Path, notes: Notes) -> None:
    """Leaves images that are evaluated out of the training split."""
    leaked = trained_and_evaluated(content.pictures, images)
    for name, evaluated in leaked.items():
        notes.note(LEAKED, name if name == evaluated else f"{name} is {evaluated}")
    content.pictures = [p for p in content.pictures if not (p.split == TRAIN and p.name in leaked)]


def _evaluated(written: Mapping[str, list[str]], annotations: Path, notes: Notes) -> dict[str, list[str]]:
    """The tasks that can be evaluated, with their splits, val first; DataError where there is none."""
    if not written:
        raise DataError(f"{annotations} fits no task: it has no objects, captions, expressions or questions")
    tasks = {}
    for kind, splits in written.items():
        if set(splits) == {TRAIN}:
            notes.note("tasks with a training split alone, left out: nothing evaluates them", kind)
            continue
        tasks[kind] = sorted(splits, key=lambda split: (split == TRAIN, split != "val", split))
        if kind == "detect":
            tasks["find"] = tasks[kind]
    if not tasks:
        raise DataError(f"{annotations}: all images are in the split {TRAIN}, and nothing is left to evaluate on")
    return tasks


def _counted(name: str, written: Mapping[str, Sequence[str]], root: Path, notes: Notes) -> Iterator[str]:
    """The counts of each task and split, as its reader finds them; what it converts is noted."""
    source = DataSource(name, root, strict=notes.reading.strict)
    for full, task in tasks_of(name, written).items():
        counted = []
        for split in written[full.removeprefix(f"{name}-")]:
            try:
                loaded = source.read(task, split)
            except DataError as error:
                raise DataError(f"{notes.where}: {_without(root, str(error))}") from error
            counts = check.counts(loaded.samples)
            counts.pop("answers", None)  # a single answer stands there ten times
            if problem := shared(loaded.samples):
                notes.reading.notes.setdefault(f"{full} {split}: {problem}", Noted())
            counted.append(f"{split} {', '.join(f'{count:,} {unit}' for unit, count in counts.items())}")
            if not full.endswith("-find"):  # its files are those of detect
                for said in (*loaded.exclusions(), *loaded.reading.said()):
                    notes.reading.notes.setdefault(f"{full} {split}: {_without(root, said)}", Noted())
        yield f"{full}: {'; '.join(counted)}"


def _without(root: Path, text: str) -> str:
    """A message about a file below the root, which has another name when it is read: with its path in the root."""
    return text.replace(f"{root}{os.sep}", "")


def _described(content: Content, form: str) -> Iterator[str]:
    """Images of each split, their sizes, and the categories with the numbers of their objects."""
    names: dict[str, set[str]] = {}
    for picture in content.pictures:
        names.setdefault(picture.split, set()).add(picture.name)
    images = ", ".join(f"{len(of_split):,} in {split}" for split, of_split in names.items())
    yield f"{form}: {len({p.name for p in content.pictures}):,} images, {images}; {_sizes(content.pictures)}"
    objects = Counter(thing.label for picture in content.pictures for thing in picture.things or ())
    if objects or content.categories:
        listed = [f"{label} {count:,}" for label, count in objects.most_common(SHOWN)]
        unused = [label for label in content.categories if not objects[label]]
        more = f", ... of {len(objects):,} categories" if len(objects) > SHOWN else ""
        none = f"; without objects: {', '.join(unused[:SHOWN])}" if unused else ""
        yield f"{objects.total():,} objects: {', '.join(listed)}{more}{none}"


def _sizes(pictures: Iterable[Picture]) -> str:
    sizes = sorted({picture.size for picture in pictures if picture.size is not None}, key=lambda s: s.width * s.height)
    first = f"{sizes[0].width} x {sizes[0].height}"
    return first + (f" to {sizes[-1].width} x {sizes[-1].height} pixels" if sizes[1:] else " pixels")
