"""The counts and the headline of a run that is being queried, for its progress."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from harness.core import Answer, Row, Sample, Task
from harness.statistics import estimate

BUDGET = 1.0  # seconds of scoring for one report, and of resampling
RESAMPLES = 200  # of an interval, where they keep the budget
log = logging.getLogger(__name__)


class Tally:
    """Counts unparsable, truncated and failed predictions, and computes the headline of the answers so far.

    `task` is None for a run without scores, such as a shard.  There is no headline for a task whose scores depend on
    all samples together (CIDEr), for unpublished targets, and until every answer is scored: scoring stops after
    `BUDGET` seconds of a report and goes on in the next.
    """

    def __init__(
        self, task: Task[Any] | None, samples: Iterable[Sample[Any]], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.unparsable = self.truncated = self.failed = 0
        scorable = task is not None and task.corpus is None and all(sample.target is not None for sample in samples)
        self._task = task if scorable else None
        self._waiting: deque[tuple[Sample[Any], Answer]] = deque()
        self._rows: list[Row[Any]] = []
        self._clock = clock

    def answered(self, sample: Sample[Any], answer: Answer) -> None:
        """Counts an answer."""
        self.unparsable += answer.value is None
        self.truncated += answer.truncated
        if self._task is not None:
            self._waiting.append((sample, answer))

    def numbers(self) -> dict[str, float]:
        """The counts as ints, and the headline with the bounds of its interval as floats, by name."""
        counts: dict[str, float] = {
            "unparsable": self.unparsable, "truncated": self.truncated, "failed": self.failed,
        }  # fmt: skip
        if self._task is None:
            return counts
        try:
            return counts | self._headline(self._task)
        except Exception as error:  # a bug of the task, which scoring after the queries raises
            log.warning("no headline until the run ends: %s: %s", type(error).__name__, error)
            self._task = None
            return counts

    def _headline(self, task: Task[Any]) -> dict[str, float]:
        until = self._clock() + BUDGET
        while self._waiting and self._clock() < until:
            sample, answer = self._waiting.popleft()
            self._rows.append(Row(sample, answer, task.score(sample, answer)))
        if self._waiting or not self._rows:
            return {}
        metric = task.metrics[task.headline]
        statistic = metric.prepare(self._rows)
        before = self._clock()
        value = float(statistic(np.ones(len({row.sample.cluster for row in self._rows}))))
        if not math.isfinite(value):
            return {}
        if (self._clock() - before) * RESAMPLES > BUDGET:
            return {task.headline: value}
        strata = task.intervals.stratified
        drawn = estimate(metric, self._rows, seed=0, stratified=strata, resamples=RESAMPLES)
        bounds = {f"{task.headline} low": drawn.low, f"{task.headline} high": drawn.high}
        return {task.headline: value, **{name: bound for name, bound in bounds.items() if bound is not None}}
