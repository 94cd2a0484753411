"""Commands that say what there is: tasks, models, data list, data check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import tasks
from harness import images
from harness.cli.options import Data, Split, TaskNames
from harness.core import Task
from harness.data import check, manifest
from harness.errors import DataError
from harness.evaluation.plan import MINIATURE, data_root, load, selected, splits_of
from harness.report import text

app = App()
data_app = App(name="data", help="What tasks need on disk: which of it is there, and where the rest comes from.")
app.command(data_app)


@data_app.command(name="list")
def data_list(*, task: TaskNames = "all") -> None:
    """List the files and folders that tasks need under a data root, and where they come from."""
    needs: dict[tuple[str, str, str], dict[str, None]] = {}
    for one in tasks.select(task):
        for need in one.files:
            who = one.name + (f" ({','.join(need.splits)})" if need.splits and need.splits != one.splits else "")
            needs.setdefault((need.path, need.instead, need.origin), {})[who] = None
    rows = [
        (f"ROOT/{path}" + (f" or ROOT/{instead}" if instead else ""), ", ".join(who), origin)
        for (path, instead, origin), who in needs.items()
    ]
    print(text.table(("file or folder", "tasks", "from"), rows))
    print("\nA folder of images may be packed into ROOT/<folder>.lmdb: `data pack`.")


@data_app.command(name="check")
def data_check(
    *,
    task: TaskNames = "all",
    split: Split = "all",
    data: Data = None,
    decode: Annotated[
        bool,
        Parameter(negative=(), help="Decode every image, not only look for it; read packed ones against their digest."),
    ] = False,
) -> None:
    """Say what of a task's data is there: files, counts beside the published ones, images missing or unreadable.

    Exit status 3 where something is missing, malformed or unreadable.
    """
    name, root = data_root(data, "data check", embedded=False)
    wrong = 0
    for one in selected(task, name, root):
        for split_name in splits_of(one, split):
            print(f"{one.name} {split_name}:")
            wrong += _checked(one, root, split_name, official=name != MINIATURE, decode=decode)
    if wrong:
        raise DataError(f"{name}: {wrong} things are missing or wrong; the list above says which, and where from")


@data_app.command(name="pack")
def data_pack(*, task: TaskNames, split: Split = "all", data: Data = None) -> None:
    """Write a task's images once into ROOT/<folder>.lmdb, from which every task then reads them.

    Stopped at any moment, the same command goes on.  Images that are missing or are no images are named, and the exit
    status is 3; the others are packed.
    """
    from harness.data import pack

    name, root = data_root(data, "data pack", embedded=False)
    references: dict[str, None] = {}
    folders: dict[str, None] = {}
    for one in selected(task, name, root):
        for split_name in splits_of(one, split):
            needs = manifest.needs(one, [split_name])
            folders |= dict.fromkeys(need.path for need in needs if not need.annotations)
            references |= dict.fromkeys(sample.question.image_name for sample in load(one, root, split_name))
    left_out: list[str] = []
    for folder, theirs in pack.by_folder(references, folders).items():
        packed = pack.pack(root, theirs, folder=folder)
        print(f"{packed.path}: {packed.written:,} images packed ({packed.bytes:,} bytes), {packed.already:,} before")
        for what, names in (("missing", packed.missing), ("no image", packed.unreadable)):
            left_out += names
            if names:
                print(f"  {what}: {len(names):,}, such as {', '.join(names[:3])}")
    if left_out:
        raise DataError(f"{len(left_out)} images could not be packed; the list above names some of them")


def _measured(path: Path) -> str:
    """A file's size, and its sha256 to compare with somebody else's: none are published."""
    if not path.is_file():
        return "folder" if path.is_dir() else "packed"
    return f"{path.stat().st_size:,} bytes, sha256 {manifest.sha256(path)[:16]}..."


def _checked(one: Task[Any], root: Path, split: str, *, official: bool, decode: bool) -> int:
    """Prints what there is of a split; how much of it is missing or wrong."""
    lacking = manifest.missing(one, root, [split])
    for need in manifest.needs(one, [split]):
        there = manifest.found(need, root)
        what = f"from {need.origin}" if there is None else _measured(there)
        print(f"  {'missing' if there is None else 'there  '}  {there or root / need.path}  {what}")
    if lacking:
        return len(lacking)
    try:
        samples = load(one, root, split)
    except DataError as error:
        print(f"  wrong    {error}")
        return 1
    counts = check.counts(samples)
    published = one.published.get(split, {}) if official else {}
    differing = [key for key, count in published.items() if counts.get(key) != count]
    said = [
        f"{count:,} {key}" + (f" (published: {published[key]:,})" if key in differing else "")
        for key, count in counts.items()
    ]
    print(f"  {'differs' if differing else 'counts '}  {', '.join(said)}")
    wrong = 0
    for need in manifest.needs(one, [split]):
        if decode and images.store_path(root, need.path).exists():
            wrong += _store_is_wrong(root, need.path)
    try:
        looked = check.look(root, (sample.question.image_name for sample in samples), decode=decode)
    except DataError as error:  # a store that cannot be read
        print(f"  wrong    {error}")
        return wrong + len(differing) + 1
    for what, found in (("missing", looked.missing), ("unreadable", tuple(looked.unreadable))):
        if found:
            print(f"  {what}: {len(found):,} images, such as {', '.join(found[:3])}")
    return wrong + len(differing) + len(looked.missing) + len(looked.unreadable)


def _store_is_wrong(root: Path, folder: str) -> bool:
    """Prints what a packed folder holds, read whole against its digest."""
    from harness.data import pack

    try:
        state = pack.check(root, folder)
    except DataError as error:
        print(f"  wrong    {error}")
        return True
    print(f"  packed   {folder}: {state.count:,} images, {state.bytes:,} bytes, as they were packed")
    return False
