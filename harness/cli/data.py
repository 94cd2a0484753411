"""The commands `data list`, `data check` and `data pack`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

import tasks
from harness.cli.options import Annotations, Data, Images, Split, TaskNames
from harness.errors import DataError
from harness.evaluation.checking import check_each, pack_each
from harness.report import text

app = App()
data_app = App(name="data", help="Data that tasks need on disk: list it, check it, pack its images.")
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
    annotations: Annotations = None,
    images: Images = None,
    decode: Annotated[
        bool, Parameter(negative=(), help="Decode every image; read packed images against their digest.")
    ] = False,
) -> None:
    """Check a data root: which files are there, counts with the published ones, missing and unreadable images.

    Exit status 3 where something is missing, malformed or unreadable; counts that differ are only said.

    python -m harness data check --task refcoco_res --data /data

    python -m harness data check --task coco_detection --annotations mine.json --images photos/
    """
    wrong = 0
    for title, lines in check_each(task, split, data, decode=decode, annotations=annotations, images=images):
        print(f"{title}:")
        for line in lines:
            print(f"  {line.state:<8} {line.said}")
            wrong += line.wrong
    if wrong:
        raise DataError(f"{wrong} things are missing or wrong; the list above says which, and where they come from")


@data_app.command(name="pack")
def data_pack(*, task: TaskNames, split: Split = "all", data: Data = None) -> None:
    """Pack a task's images once into ROOT/<folder>.lmdb, which every task then reads first.

    Interrupted at any moment, the same command resumes.  Missing and undecodable images are named, the others are
    packed, and the exit status is 3.
    """
    left_out: list[str] = []
    for packed in pack_each(task, split, data):
        print(f"{packed.path}: {packed.written:,} images packed ({packed.bytes:,} bytes), {packed.already:,} before")
        for what, names in (("missing", packed.missing), ("no image", packed.unreadable)):
            left_out += names
            if names:
                print(f"  {what}: {len(names):,}, such as {', '.join(names[:3])}")
    if left_out:
        raise DataError(f"{len(left_out)} images could not be packed; the list above names some of them")
