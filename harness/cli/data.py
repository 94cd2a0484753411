"""The commands `data list`, `data fetch`, `data check` and `data pack`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import tasks
from harness import tracking
from harness.cli.options import Annotations, Data, Images, LogTo, Split, Strict, TaskNames
from harness.errors import DataError
from harness.evaluation.checking import Checked, check_each, pack_each
from harness.evaluation.fetching import TABLE, fetch
from harness.evaluation.making import new
from harness.fetching import sources as table
from harness.report import text

app = App()
data_app = App(
    name="data", help="List, fetch, check and pack the data that tasks need on disk; make a set of your own."
)
app.command(data_app)
DATASET = Path("dataset.toml")
Splits = Annotated[str, Parameter(help="Split names with commas, or 'all'")]


@data_app.command(name="list")
def data_list(*, task: TaskNames = "all") -> None:
    """List the files and folders that tasks need under a data root, and the origin of each."""
    tasks_of: dict[tuple[str, str, str], dict[str, None]] = {}
    for each in tasks.select(task):
        for need in each.files:
            name = each.name + (f" ({','.join(need.splits)})" if need.splits and need.splits != each.splits else "")
            tasks_of.setdefault((need.path, need.instead, need.origin), {})[name] = None
    rows = [
        (f"ROOT/{path}" + (f" or ROOT/{instead}" if instead else ""), ", ".join(names), origin)
        for (path, instead, origin), names in tasks_of.items()
    ]
    print(text.table(("file or folder", "tasks", "from"), rows))
    print("\n`data pack` packs a folder of images into ROOT/<folder>.lmdb, which tasks then read first.")


@data_app.command(name="fetch")
def data_fetch(
    *,
    task: TaskNames,
    split: Split = None,
    data: Data = None,
    dry_run: Annotated[bool, Parameter(negative=(), help="The plan only; nothing is fetched or written")] = False,
    sources: Annotated[
        Path | None, Parameter(help="Table of sources, in place of the project's own (its format: tasks/sources.toml)")
    ] = None,
    log_to: LogTo = None,
) -> None:
    """Fetch the files that tasks lack below a data root, and check the data root.

    The plan comes first: what is missing, from where, how large, under which licence.  An interrupted fetch is resumed
    by the same command.  FLORENCE2_HARNESS_MIRROR names a mirror of all servers.

    python -m harness data fetch --task refcoco_res,vqav2 --data /data --dry-run
    """
    fetching = fetch(task, split, data, dry_run=dry_run, table=sources)
    for line in tracking.sent(fetching, log_to or ()):
        print(text.block(line), flush=True)
    if dry_run:
        return
    try:
        _print_check(check_each(task, split, data, decode=False))
    finally:
        fetching.check()


@data_app.command(name="sources")
def data_sources() -> None:
    """Print the table of sources, from which `data fetch` fetches, as Markdown."""
    print(table.markdown(table.read(TABLE)))


@data_app.command(name="check")
def data_check(
    *,
    task: TaskNames = "all",
    split: Splits = "all",
    data: Data = None,
    annotations: Annotations = None,
    images: Images = None,
    strict: Strict = False,
    decode: Annotated[
        bool, Parameter(negative=(), help="Decoding of every image, and comparison of packed images with their digest")
    ] = False,
) -> None:
    """Check a data root: files, counts versus the published counts, and missing or unreadable images.

    The exit status is 3 where a file or an image is missing, malformed or unreadable.  Counts that differ from the
    published counts are reported, and are no error.

    python -m harness data check --task refcoco_res --data /data

    python -m harness data check --task coco_detection --annotations mine.json --images photos/
    """
    _print_check(check_each(task, split, data, decode=decode, annotations=annotations, images=images, strict=strict))


def _print_check(checked: Iterable[tuple[str, Iterable[Checked]]]) -> None:
    """Prints the lines of each split; DataError where there are problems."""
    problems = 0
    for title, lines in checked:
        print(f"{text.line(title)}:")
        for line in lines:
            print(f"  {line.state:<8} {text.line(line.message)}")
            problems += line.problems
    if problems:
        raise DataError(f"{problems} problems; the list above names each, with the origin of missing files")


@data_app.command(name="pack")
def data_pack(*, task: TaskNames, split: Splits = "all", data: Data = None) -> None:
    """Pack a task's images into ROOT/<folder>.lmdb, which every task then reads first.

    The same command resumes an interrupted pack.  Missing and undecodable images are reported and left out; the exit
    status is then 3.
    """
    left_out: list[str] = []
    for packed in pack_each(task, split, data):
        counts = f"{packed.written:,} images packed ({packed.bytes:,} bytes), {packed.already:,} before"
        print(text.line(f"{packed.path}: {counts}"))
        for problem, names in (("missing", packed.missing), ("no image", packed.unreadable)):
            left_out += names
            if names:
                print(text.line(f"  {problem}: {len(names):,}, such as {', '.join(names[:3])}"))
    if left_out:
        raise DataError(f"{len(left_out)} images could not be packed; the list above names some of them")


@data_app.command(name="new")
def data_new(
    *,
    format_: Annotated[
        str | None,
        Parameter(name="--format", help="coco, yolo, voc, labelme, csv or jsonl [default: what the files show]"),
    ] = None,
    images: Annotated[
        Path | None,
        Parameter(help="Folder that image names are relative to [default: the folder of the annotations]"),
    ] = None,
    annotations: Annotated[
        Path | None, Parameter(help="Annotation file, or folder of annotation files [default: --images]")
    ] = None,
    to: Annotated[Path, Parameter(help="File to write; official files go to a folder beside it")] = DATASET,
    name: Annotated[str | None, Parameter(help="Name in results [default: that of the folder of images]")] = None,
    strict: Annotated[
        bool, Parameter(negative=(), help="Refusal of the first problem, such as a missing image")
    ] = False,
) -> None:
    """Make a data set of your own images and annotations: check them, and write a dataset.toml for --data.

    The command prints what the annotations hold, the tasks that they fit, and each problem once with its first places.

    python -m harness data new --format yolo --annotations shop/data.yaml

    python -m harness data new --format jsonl --annotations shop.jsonl --images photos/ --to shop.toml

    python -m harness run --task detect --model florence2-nano --data shop.toml
    """
    made = new(format_, annotations, images, to=to, name=name, strict=strict)
    for said in (*made.lines, *(f"note: {problem}" for problem in made.problems)):
        print(text.line(said))
    command = f"python -m harness run --task all --model florence2-nano --data {made.path}"
    print(text.line(f"{made.path} fits {', '.join(made.tasks)}; next: {command}"))
