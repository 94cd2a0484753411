"""All runs under a folder of results, and one run by its name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from harness.core import Run
from harness.errors import UsageError
from harness.store.folder import RECORD, SHARD, SHARDS, RunFolder
from harness.store.records import read_run, readable


def runs(results: Path) -> Iterator[tuple[RunFolder, Run]]:
    """Every run under a folder of results, in order of path; a damaged record is logged and left out."""
    for path, run in readable(sorted(_records(results))):
        yield RunFolder(path.parent), run


def shards(results: Path) -> Iterator[tuple[RunFolder, Run]]:
    """Every shard of a run under a folder, in order of path; a damaged record is logged and left out."""
    for path, run in readable(sorted(results.rglob(SHARD))):
        yield RunFolder(path.parent, SHARD), run


def sharded(results: Path) -> Iterator[tuple[RunFolder, list[tuple[RunFolder, Run]]]]:
    """Every run of which shards were asked, in order of path: its folder, which may lack a record, and its shards."""
    for path in sorted(_with_shards(results)):
        folder = RunFolder(path)
        if shards := folder.shard_records():
            yield folder, shards


def find(results: Path, name: str, *, shards: bool = False) -> tuple[RunFolder, Run]:
    """The run that `name` names: its id, the beginning of its id, its folder, or its run.json.

    With `shards`, also a run of which only shards were asked; the record is then that of its first shard.

    UsageError if no run or several runs fit.  Of several folders of one run, the folder with the run's id counts.
    """
    path = Path(name) if Path(name).name == RECORD else Path(name) / RECORD
    if path.is_file():
        run = read_run(path)
        if run is not None:
            return RunFolder(path.parent), run
    fitting = [
        (folder, run) for folder, run in runs(results) if run.id.startswith(name) or folder.path.name.startswith(name)
    ]
    if len({run.id for _, run in fitting}) == 1:
        fitting = [(folder, run) for folder, run in fitting if folder.path.name == run.id] or fitting
    if not fitting:
        fitting = _only_shards(results, name)
        if fitting and not shards:
            raise UsageError(f"{name!r}: only shards of this run were asked; `merge` joins them, `show` lists them")
    if len(fitting) == 1:
        return fitting[0]
    problem = f"{len(fitting)} runs begin with" if fitting else "no run has the id or folder"
    raise UsageError(f"{problem} {name!r} in {results}; `python -m harness ls` lists them")


def _only_shards(results: Path, name: str) -> list[tuple[RunFolder, Run]]:
    """The runs with shards that `name` names, each with the record of its first shard."""
    if Path(name).is_dir() and (named := RunFolder(Path(name)).shard_records()):
        return [(RunFolder(Path(name)), named[0][1])]
    return [
        (folder, parts[0][1])
        for folder, parts in sharded(results)
        if parts[0][1].id.startswith(name) or folder.path.name.startswith(name)
    ]


def _with_shards(results: Path) -> Iterator[Path]:
    """Every folder of a run with a folder of shards, at any depth."""
    for folder, below, names in os.walk(results):
        if SHARDS in below and any(Path(folder, SHARDS).glob(f"*/{SHARD}")):
            below.clear()
            yield Path(folder)
        elif RECORD in names:
            below.clear()


def _records(results: Path) -> Iterator[Path]:
    """Every run.json, at any depth.  A run's own folders are not searched, which takes half the time of `rglob`."""
    for folder, below, names in os.walk(results):
        if RECORD in names:
            below.clear()
            yield Path(folder, RECORD)
