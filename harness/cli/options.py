"""What the commands share: where the data is, which splits, and the options that several of them take."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter, validators

import tasks
from harness import runner, store
from harness.core import Run, Sample, Source, Task
from harness.data import manifest
from harness.errors import DataError, UsageError
from harness.metrics.java import LACKING, java
from harness.report import text
from harness.store import RunFolder

DATA_VARIABLE = "FLORENCE2_HARNESS_DATA"
MINIATURE = "miniature"
RESULTS = Path("results")

Data = Annotated[
    str | None,
    Parameter(help=f"Data root, or 'miniature' (embedded). Else ${DATA_VARIABLE}; embedded models use miniature."),
]
Out = Annotated[Path, Parameter(help="Where results are kept.")]
Json = Annotated[bool, Parameter(negative=(), help="Print records as JSON.")]
TaskNames = Annotated[str, Parameter(help="Task names, with commas or globs ('refcoco*'), or 'all'.")]
Seed = Annotated[int, Parameter(help="Of --limit and of the intervals.", validator=validators.Number(gte=0))]
Split = Annotated[str | None, Parameter(help="Splits, with commas, or 'all' [default: the task's first].")]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Scorers:
    """Whose code marks, where there is more than one that gives the same number, and what only Java can tell."""

    caption_scorer: Literal["own", "official"] = "own"
    "official: pycocoevalcap's pipeline, which needs Java."
    meteor: bool | None = None
    "METEOR of captions as well; its program needs Java and 1.4 GB [default: where there is a Java]"
    spice: Annotated[bool, Parameter(negative=())] = False
    "SPICE of captions as well; needs Java, and Stanford's models beside pycocoevalcap's."
    detection_scorer: Literal["pycocotools", "hotcoco"] = "pycocotools"
    "hotcoco is equal and much quicker on large sets."

    def of(self, task: Task[Any]) -> Task[Any]:
        """The task, marked by these where it can be.  ResourceError where what was asked for is not installed."""
        chosen = [self.caption_scorer, self.detection_scorer, *["meteor"] * bool(self.meteor), *["spice"] * self.spice]
        if self.meteor is None and "meteor" in task.variants:
            if java() is None:
                print(f"{task.name}: no METEOR, since {LACKING}", file=sys.stderr)
            else:
                chosen.append("meteor if it runs")
        for name in chosen:
            if name in task.variants:
                task = replace(task.variants[name](task), marking=(*task.marking, name.partition(" ")[0]))
        return task


def load(task: Task[Any], root: Path, split: str, annotations: Path | None = None) -> list[Sample[Any]]:
    """A task's samples; DataError where its files are missing or malformed."""
    if annotations is None:
        manifest.require(task, root, split)
    elif not annotations.exists():
        raise DataError(f"--annotations {annotations}: there is no such file or folder")
    samples = list(task.load(Source(root, split, annotations)))
    if not samples:
        raise DataError(f"{task.name} has no samples in split {split} of {annotations or root}")
    return samples


def samples_of(record: Run, data: str | None) -> tuple[Task[Any], list[Sample[Any]], Path]:
    """A run's task and samples; DataError where the annotations are not those that it was asked about."""
    if not re.fullmatch(r"[\w.:-]+", record.spec.task):
        raise DataError(f"run {record.id} is of {record.spec.task!r}, which is no task's name")
    [one] = tasks.select(record.spec.task)
    name, root = root_of(data, record.spec.model, record.spec.data == MINIATURE, prefer=record.spec.data)
    samples = load(one, root, record.spec.split)
    if manifest.digest(manifest.annotation_files(one, root, record.spec.split)) != record.spec.data_hash:
        raise DataError(
            f"run {record.id} was asked about {record.spec.data}; the annotations in {name} ({root}) are others"
        )
    return one, runner.choose(samples, record.spec.limit, record.spec.seed), root


def root_of(data: str | None, model: str, embedded: bool, prefer: str = "") -> tuple[str, Path]:
    """The data's name and root: as given, else from the environment, else the miniature for those made for it."""
    if data is not None and not data.strip():
        raise UsageError("--data is empty: a data root, or 'miniature'")
    given = data or (MINIATURE if prefer == MINIATURE else os.environ.get(DATA_VARIABLE))
    if not given and not embedded:
        raise UsageError(f"{model} needs data: give --data ROOT, set {DATA_VARIABLE}, or give --data miniature")
    if not given or given == MINIATURE:
        from tasks import miniature

        if not given and not prefer:
            print(f"no --data was given: using the embedded {MINIATURE}", file=sys.stderr)
        return MINIATURE, miniature.ensure()
    root = Path(given).expanduser()
    if not root.is_dir():
        raise DataError(f"the data root {root} is not a folder; `python -m harness data list` says what belongs in it")
    return root.resolve().name, root


def splits_of(task: Task[Any], given: str | None) -> Iterator[str]:
    """The splits asked for; UsageError where the task has no such one."""
    known = (*task.splits, *task.train_splits)
    names = [task.splits[0]] if given is None else list(task.splits) if given == "all" else given.split(",")
    for name in names:
        if name not in known:
            raise UsageError(f"{task.name} has no split {name!r}; it has {', '.join(known)}")
        yield name


def show_run(record: Run, folder: RunFolder, json: bool) -> None:
    print(store.as_json(record) if json else text.describe(record, folder.path), flush=True)


def command_line() -> list[str]:
    """The command line, without the folders of this machine's interpreter."""
    return ["python -m harness", *sys.argv[1:]]
