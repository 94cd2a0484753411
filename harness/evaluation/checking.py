"""What `data check` and `data pack` do: what of a task's data is there, and images packed into stores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tasks
from harness import images as image_files
from harness.core import Task
from harness.data import check, manifest
from harness.data.pack import Packed
from harness.errors import DataError
from harness.evaluation.plan import MINIATURE, DataSource, data_root, load, selected, source_of, splits_of


@dataclass(frozen=True, slots=True)
class Checked:
    """One line about a split's data: what it is about, what was found, and how many things are wrong about it."""

    state: str  # there, missing, wrong, counts, differs, unreadable, packed
    said: str
    wrong: int = 0


def check_each(
    task: str,
    split: str | None,
    data: str | None,
    *,
    decode: bool,
    annotations: Path | None = None,
    images: Path | None = None,
) -> Iterator[tuple[str, Iterator[Checked]]]:
    """The title and the lines of every split of the tasks that the data root may have.

    `decode` decodes every image, and reads packed ones against their digest.
    """
    source = source_of(data, "data check", embedded=False, annotations=annotations, images=images)
    own = annotations is not None
    for one in tasks.select(task) if own else selected(task, source.name, source.root):
        for split_name in [one.splits[0]] if own and split in (None, "all") else splits_of(one, split):
            yield f"{one.name} {split_name}", _checked(one, source, split_name, decode=decode)


def pack_each(task: str, split: str | None, data: str | None) -> Iterator[Packed]:
    """Packs the images of tasks, folder by folder, and says what was packed of each; resumes where it stopped."""
    from harness.data import pack

    name, root = data_root(data, "data pack", embedded=False)
    references: dict[str, None] = {}
    folders: dict[str, None] = {}
    for one in selected(task, name, root):
        for split_name in splits_of(one, split):
            needs = manifest.needs(one, [split_name])
            folders |= dict.fromkeys(need.path for need in needs if not need.annotations)
            references |= dict.fromkeys(sample.question.image_name for sample in load(one, root, split_name))
    for folder, theirs in pack.by_folder(references, folders).items():
        yield pack.pack(root, theirs, folder=folder)


def _checked(one: Task[Any], source: DataSource, split: str, *, decode: bool) -> Iterator[Checked]:
    files = list(_files(one, source, split))
    yield from files
    if any(file.wrong for file in files):
        return
    try:
        samples = source.load(one, split)
    except DataError as error:
        yield Checked("wrong", str(error), 1)
        return
    yield _counted(check.counts(samples), one.published.get(split, {}) if source.name != MINIATURE else {})
    for need in manifest.needs(one, [split]):
        if decode and source.images is None and image_files.store_path(source.root, need.path).exists():
            yield _packed(source.root, need.path)
    try:
        looked = check.look(source.image_root, (sample.question.image_name for sample in samples), decode=decode)
    except DataError as error:  # a store that cannot be read
        yield Checked("wrong", str(error), 1)
        return
    for what, found in (("missing", looked.missing), ("unreadable", tuple(looked.unreadable))):
        if found:
            yield Checked(what, f"{len(found):,} images, such as {', '.join(found[:3])}", len(found))


def _files(one: Task[Any], source: DataSource, split: str) -> Iterator[Checked]:
    """The user's own paths, then what is needed of the data root beside them."""
    for path in source.own():
        yield Checked("there", f"{path}  {_measured(path)}")
    for need in source.needs(one, split):
        there = manifest.found(need, source.root)
        if there is None:
            yield Checked("missing", f"{source.root / need.path}  from {need.origin}", 1)
        else:
            yield Checked("there", f"{there}  {_measured(there)}")


def _counted(counts: dict[str, int], published: Any) -> Checked:
    """The counts of a split, with the published ones where they differ: a set of one's own differs from them."""
    differing = [key for key, count in published.items() if counts.get(key) != count]
    said = [
        f"{count:,} {key}" + (f" (published: {published[key]:,})" if key in differing else "")
        for key, count in counts.items()
    ]
    return Checked("differs" if differing else "counts", ", ".join(said))


def _packed(root: Path, folder: str) -> Checked:
    """What a packed folder holds, read whole against its digest."""
    from harness.data import pack

    try:
        state = pack.check(root, folder)
    except DataError as error:
        return Checked("wrong", str(error), 1)
    return Checked("packed", f"{folder}: {state.count:,} images, {state.bytes:,} bytes, as they were packed")


def _measured(path: Path) -> str:
    """A file's size and the start of its sha256, to compare with somebody else's: none are published."""
    if not path.is_file():
        return "folder" if path.is_dir() else "packed"
    return f"{path.stat().st_size:,} bytes, sha256 {manifest.sha256(path)[:16]}..."
