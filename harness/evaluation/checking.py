"""What `data check` and `data pack` do: check the files of a task's data, and pack its images into stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tasks
from harness import images as image_files
from harness.core import Sample, Task
from harness.data import check, files, manifest
from harness.data.pack import Packed
from harness.errors import DataError
from harness.evaluation.plan import (
    MINIATURE,
    DataSource,
    data_root,
    load,
    own_of,
    selected,
    shared,
    source_of,
    splits_of,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """One line about a split's data: its state, a message, and the number of problems."""

    state: str  # there, missing, wrong, counts, differs, shared, note, unreadable, packed
    message: str
    problems: int = 0


def check_each(
    task: str,
    split: str | None,
    data: str | None,
    *,
    decode: bool,
    annotations: Path | None = None,
    images: Path | None = None,
    strict: bool = False,
) -> Iterator[tuple[str, Iterator[Checked]]]:
    """The title and the lines of each split of the tasks that the data root may have.

    With `decode`, every image is decoded, and packed images are compared with their digest.
    """
    source = source_of(data, "data check", embedded=False, annotations=annotations, images=images, strict=strict)
    if annotations is not None:  # the user's own annotations are of one split
        checked, split = tasks.select(task), None if split == "all" else split
    elif source.copied is not None:
        checked = source.copied.tasks(task)
    else:
        checked = selected(task, source.name, source.root, source.dataset)
    for each in checked:
        for split_name in splits_of(each, split):
            yield f"{each.name} {split_name}", _checked(each, source, split_name, decode=decode)


def pack_each(task: str, split: str | None, data: str | None) -> Iterator[Packed]:
    """Packs the images of tasks, folder by folder, and yields the counts of each; resumes an interrupted pack."""
    from harness.data import pack

    name, root = data_root(data, "data pack", embedded=False)
    references: dict[str, None] = {}
    folders: dict[str, None] = {}
    for each in selected(task, name, root, own_of(data)):
        for split_name in splits_of(each, split):
            needs = manifest.needs(each, [split_name])
            folders |= dict.fromkeys(need.path for need in needs if not need.annotations)
            references |= dict.fromkeys(s.question.image_name for s in load(each, root, split_name) if s.question.image)
    for folder, images in pack.by_folder(references, folders).items():
        yield pack.pack(root, images, folder=folder)


def _checked(task: Task[Any], source: DataSource, split: str, *, decode: bool) -> Iterator[Checked]:
    """Files, counts, notes and images, in this order; missing files or malformed annotations end the check."""
    try:
        source = source.of(task, split)
    except DataError as error:
        yield Checked("wrong", str(error), 1)
        return
    found = list(_files(task, source, split))
    yield from found
    if any(need for need in source.missing(task, split) if manifest.is_of_annotations(need)):
        return
    try:
        loaded = source.read(task, split)
    except DataError as error:
        yield Checked("wrong", str(error), 1)
        return
    samples = loaded.samples
    yield _counted(check.counts(samples), task.published.get(split, {}) if source.name != MINIATURE else {})
    if problem := shared(samples):
        yield Checked("shared", problem)
    for note in (*loaded.exclusions(), *loaded.reading.said(), *_unmatchable(samples)):
        yield Checked("note", note)
    if any(file.problems for file in found):
        return
    for need in manifest.needs(task, [split]):
        if decode and source.images is None and image_files.store_path(source.root, need.path).exists():
            yield _packed(source.root, need.path)
    try:
        references = (sample.question.image_name for sample in samples if sample.question.image)
        image_check = check.look(source.image_root, references, decode=decode)
    except DataError as error:  # a store that cannot be read
        yield Checked("wrong", str(error), 1)
        return
    for state, reasons in (("missing", image_check.missing), ("unreadable", image_check.unreadable)):
        if reasons:
            names = list(reasons)
            first = f"{len(names):,} images, such as {', '.join(names[:3])}; the first: {reasons[names[0]]}"
            yield Checked(state, first, len(names))


def _files(task: Task[Any], source: DataSource, split: str) -> Iterator[Checked]:
    """The user's own paths, then the files of the data root that the task still needs."""
    for path in source.own():
        yield Checked("there", f"{path}  {_described(path)}")
    for need in source.needs(task, split):
        existing = manifest.found(need, source.root)
        if existing is None:
            yield Checked("missing", f"{source.root / need.path}  from {need.origin}", 1)
        else:
            yield Checked("there", f"{existing}  {_described(existing)}")


def _counted(counts: dict[str, int], published: Any) -> Checked:
    """The counts of a split, each with the published count where the two differ.

    A difference is no problem: a user's own data has other counts.
    """
    differing = [key for key, count in published.items() if counts.get(key) != count]
    parts = [
        f"{count:,} {key}" + (f" (published: {published[key]:,})" if key in differing else "")
        for key, count in counts.items()
    ]
    return Checked("differs" if differing else "counts", ", ".join(parts))


def _unmatchable(samples: Sequence[Sample[Any]]) -> Iterator[str]:
    """A sentence on the samples whose target no answer can match; official code scores them 0 too."""
    names = check.unmatchable(samples)
    if names:
        first = ", ".join(names[: files.FIRST])
        yield f"{len(names):,} samples have a target of area 0, which no answer can match (first: {first})"


def _packed(root: Path, folder: str) -> Checked:
    """The counts of a packed folder, whose content is compared with its digest."""
    from harness.data import pack

    try:
        state = pack.check(root, folder)
    except DataError as error:
        return Checked("wrong", str(error), 1)
    return Checked("packed", f"{folder}: {state.count:,} images, {state.bytes:,} bytes, as they were packed")


def _described(path: Path) -> str:
    """A file's size and the start of its sha256, so that two people can compare their files; none are published."""
    if not path.is_file():
        return "folder" if path.is_dir() else "packed"
    return f"{path.stat().st_size:,} bytes, sha256 {manifest.sha256(path)[:16]}..."
