"""Which pairs of runs the pages on disk compare: all that can be computed in a few minutes, the useful ones first.

The server compares any pair when a page asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from harness.core import Run
from harness.viewer.given import Library
from harness.viewer.overview import role

MOST = 200_000  # samples of all pairs together, besides the pairs of the best models

Pair = tuple[str, str]  # the ids of two runs, sorted


def chosen(library: Library) -> tuple[list[Pair], list[Pair]]:
    """The pairs in order, and those that are left out.  The ids of a pair are sorted.

    The best model of each task, split and data set is paired with every other run; then the other pairs follow while
    their samples fit into `MOST`.
    """
    taken: list[Pair] = []
    others: list[tuple[Pair, int]] = []
    for runs in _groups(library):
        best = _best([run for run, _ in runs])
        for (a, count), (b, _) in combinations(runs, 2):
            if best is not None and best.id in (a.id, b.id):
                taken.append(_pair(a, b))
            else:
                others.append((_pair(a, b), count))
    samples = 0
    left_out = []
    for pair, count in others:
        if samples + count > MOST:
            left_out.append(pair)
        else:
            samples += count
            taken.append(pair)
    return taken, left_out


def _pair(a: Run, b: Run) -> Pair:
    return (a.id, b.id) if a.id < b.id else (b.id, a.id)


def _groups(library: Library) -> Iterator[list[tuple[Run, int]]]:
    """The finished runs with samples of each task, split and data set, with the number of their samples."""
    groups: dict[tuple[str, str, str], list[tuple[Run, int]]] = {}
    for item in library.listed():
        run = item.run
        if run.finished and (count := library.count(run.id)):
            groups.setdefault((run.spec.data, run.spec.task, run.spec.split), []).append((run, count))
    yield from groups.values()


def _best(runs: list[Run]) -> Run | None:
    """The model with the highest headline; None without one."""
    valued = [
        (value, run.id, run)
        for run in runs
        if role(run.spec.model) == "model"
        and (estimate := run.metrics.get(run.headline)) is not None
        and (value := estimate.value) is not None
    ]
    return max(valued)[2] if valued else None
