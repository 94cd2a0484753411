"""The runs of a gate: each is queried once, without kept answers."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import baselines
from harness.cluster.ray_cluster import Spread
from harness.core import Run, Task
from harness.errors import DataError
from harness.evaluation import spreading
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.plan import MINIATURE, splits_of
from harness.evaluation.request import Request, Scorers
from harness.gates.promises import MEMORY, RUN, Promise
from harness.store import RunFolder

log = logging.getLogger(__name__)


@contextmanager
def run_folder(out: Path | None) -> Iterator[Path]:
    """The folder for runs: `out`, else a temporary folder that is removed afterwards."""
    if out is not None:
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="gate-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Runs:
    """The runs of one gate; several promises about one run share it.

    With `spread`, models answer on the workers of a cluster.  A promise of memory is about one process, and a model
    that workers cannot build answers in this process; the log says so.
    """

    def __init__(self, out: Path, spread: Spread | None = None) -> None:
        self.out = out
        self._spread = spread
        self._runs: dict[tuple[Any, ...], tuple[RunFolder, Run]] = {}

    def run(self, promise: Promise, task: Task[Any]) -> tuple[RunFolder, Run]:
        """The finished run of a promise on a task, and its folder; DataError where questions failed."""
        split = next(iter(splits_of(task, promise.split)))
        settings = {name: getattr(promise, name) for name in RUN if name not in ("data", "split")}
        spread = self._spread_of(promise)
        key = (
            spread is None,
            task.name,
            split,
            promise.model,
            promise.data,
            *settings.values(),
            *sorted(promise.options.items()),
        )
        if key not in self._runs:
            request = Request(
                task=task,
                model=promise.model,
                name=promise.model.rpartition(":")[2],
                split=split,
                data=promise.data or MINIATURE,
                options=promise.options,
                out=self.out,
                fresh=True,
                spread=spread,
                scorers=Scorers(meteor=False),  # so that no verdict depends on an installed Java
                command=("python -m harness gate",),
                **settings,
            )
            [evaluated] = evaluate_each(request)
            run = evaluated.run
            if not run.finished:
                first = next(iter(run.provenance.get("failures", {}).values()), "")
                raise DataError(f"{run.counts.get('failed', 0)} questions failed, the first: {first}")
            self._runs[key] = evaluated.folder, run
        return self._runs[key]

    def _spread_of(self, promise: Promise) -> Spread | None:
        """The workers for the run of a promise; None: this process."""
        if self._spread is None:
            return None
        reason = spreading.impossible(baselines.find(promise.model), promise.options)
        if promise.metric == MEMORY:
            reason = "peak memory is that of one process"
        if reason:
            log.warning("%s runs in this process: %s", promise.name, reason)
        return None if reason else self._spread
