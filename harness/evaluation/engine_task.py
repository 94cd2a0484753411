"""An engine folder as training data: `--data ENGINE` with the task `fld`, for `finetune` and `train`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core import Task
from harness.data import manifest
from harness.errors import DataError, UsageError
from harness.evaluation.engine_data import root_of
from harness.evaluation.plan import DATA_VARIABLE, MINIATURE, chosen_data
from tasks import fld


@dataclass(frozen=True, slots=True)
class EngineData:
    """An engine folder as a task.

    `root` is the data root of its images, and `benchmarks` one of benchmarks whose images are kept out.  `about` is
    what a training history says of it.
    """

    path: Path
    root: Path
    benchmarks: Path
    task: Task[Any]
    about: dict[str, Any]

    def trainable(self, names: str | None) -> list[Task[Any]]:
        """The task; UsageError if `names` has another."""
        if names is not None and (others := {name.strip() for name in names.split(",")} - {fld.NAME, "all"}):
            raise UsageError(f"{self.path} is an engine folder: its task is {fld.NAME}, and not {sorted(others)[0]}")
        return [self.task]

    def guards(self, tasks: Sequence[Task[Any]]) -> list[Task[Any]]:
        """Those of the tasks whose annotations `benchmarks` holds."""
        return [task for task in tasks if not manifest.missing(task, self.benchmarks, task.splits)]


def engine_data(data: str | None) -> EngineData | None:
    """The engine where `data` (else the environment variable) names an engine folder; None for other data.

    DataError for a damaged folder, for one without an annotation, and if the folder of its images is gone.
    """
    from harness.data_engine.shards import Engine

    name = chosen_data(data)
    path = Path(name).expanduser() if name is not None else None
    if path is None or not (path / "engine.json").is_file():
        return None
    engine = Engine.open(path)
    if next((True for record in engine.records() for _ in record.kept()), None) is None:
        raise DataError(f"{path} has no annotations; `python -m harness engine annotate` makes them")
    try:
        root = root_of(engine.data)
    except DataError as error:
        raise DataError(f"the images of {path} are gone: {error}") from error
    about = {
        "folder": path.resolve().name,
        "recipe": engine.recipe.name,
        "recipe digest": engine.recipe.digest,
        "images": engine.images_digest,
        "rounds": engine.current + 1,
        "origins": sorted(
            f"{each.kind} {each.name} {each.fingerprint}" for each in engine.origins_of(engine.current).values()
        ),
    }
    return EngineData(path, root, _benchmarks(engine.data, root), fld.of(path, root), {"engine": about})


def no_engine(data: str | None) -> UsageError:
    """The error of a training on the task of an engine without an engine folder."""
    given = f"{data} is none" if data else "none was given"
    return UsageError(
        f"the task {fld.NAME} needs --data ENGINE, a folder that `python -m harness engine annotate` made; {given}"
    )


def _benchmarks(data: str, root: Path) -> Path:
    """The data root of benchmarks: that of the environment, or the one that the images are of."""
    if data == MINIATURE:
        from tasks import miniature

        return miniature.ensure()
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named and Path(named).expanduser().is_dir() else root
