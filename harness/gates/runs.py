"""The runs that a gate makes: queried afresh, each once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.core import Run, Task
from harness.errors import DataError
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.plan import MINIATURE, splits_of
from harness.evaluation.request import Request, Scorers
from harness.gates.promises import RUN, Promise
from harness.store import RunFolder


@contextmanager
def run_folder(out: Path | None) -> Iterator[Path]:
    """Where runs go: as given, else a folder that is removed afterwards."""
    if out is not None:
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="gate-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Runs:
    """Runs made for one gate; each once, however many promises are about it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._made: dict[tuple[Any, ...], tuple[RunFolder, Run]] = {}

    def run(self, promise: Promise, task: Task[Any]) -> tuple[RunFolder, Run]:
        """A finished run, queried afresh; DataError where questions failed."""
        split = next(iter(splits_of(task, promise.split)))
        given = {name: getattr(promise, name) for name in RUN if name not in ("data", "split")}
        key = (task.name, split, promise.model, promise.data, *given.values(), *sorted(promise.options.items()))
        if key not in self._made:
            request = Request(
                task=task,
                model=promise.model,
                name=promise.model.rpartition(":")[2],
                split=split,
                data=promise.data or MINIATURE,
                options=promise.options,
                out=self.out,
                fresh=True,
                scorers=Scorers(meteor=False),  # no score may depend on whether there is a Java
                command=("python -m harness gate",),
                **given,
            )
            [made] = evaluate_each(request)
            if not made.run.finished:
                first = next(iter(made.run.provenance.get("failures", {}).values()), "")
                raise DataError(f"{made.run.counts.get('failed', 0)} questions failed, the first: {first}")
            self._made[key] = made.folder, made.run
        return self._made[key]
