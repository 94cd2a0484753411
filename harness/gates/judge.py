"""Judges a file of promises: runs what each one needs afresh, and gives a verdict on each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import baselines
from harness import comparison, runner, store
from harness.core import Run, Task
from harness.errors import DataError, HarnessError, UsageError
from harness.evaluation.benchmark import Plan, Point, prepare
from harness.evaluation.comparing import side_of
from harness.evaluation.plan import MINIATURE, data_root, selected, with_data
from harness.gates import frozen, verdicts
from harness.gates.comparable import refuse_unlike
from harness.gates.promises import PARITY, RUN, SPEED, Gates, Promise
from harness.gates.runs import Runs, run_folder
from harness.gates.verdicts import Verdict
from harness.store import RunFolder

ROUNDS, MOST_ROUNDS = 6, 48


def judge(gates: Gates, path: Path, only: str | None, data: str | None, out: Path | None) -> list[Verdict]:
    """A verdict on every promise of the file `path`; UsageError where `only` (names or globs, with commas) fits none.

    Runs go to `out`, or to a folder that is removed afterwards.
    """
    with run_folder(out) as folder:
        found = list(_judged(gates, path, only, data, folder))
    if not found:
        raise UsageError(f"--only {only}: no promise of {path} is called that")
    return found


def _judged(gates: Gates, path: Path, only: str | None, data: str | None, out: Path) -> Iterator[Verdict]:
    """A verdict for each promise and task; what keeps a promise from being judged breaks it."""
    patterns = [pattern.strip() for pattern in only.split(",")] if only else ["*"]
    asked = Runs(out)
    for promise in gates.promises:
        if not any(fnmatchcase(promise.name, pattern) for pattern in patterns):
            continue
        promise = replace(promise, data=data or promise.data)
        try:
            if promise.timings:
                yield _recorded(promise, path.parent / promise.timings)
                continue
            if promise.base:
                yield from _no_slower(promise, path.parent)
                continue
            chosen = _tasks_of(promise)
        except HarnessError as error:
            yield Verdict(promise.name, "broken", _promised(promise), str(error))
            continue
        for task in chosen:
            name = promise.name if len(chosen) == 1 else f"{promise.name} {task.name}"
            try:
                if promise.metric in (SPEED, PARITY):
                    yield _versus_peer(promise, task, name)
                elif promise.not_worse_than:
                    yield _no_worse(promise, task, name, asked, path.parent)
                else:
                    yield verdicts.bounded(promise, name, asked.run(promise, task)[1], _command(promise, task))
            except HarnessError as error:
                yield Verdict(name, "broken", _promised(promise), str(error), more=_command(promise, task))
    if gates.frozen is not None:
        yield from frozen.judged(gates.frozen, patterns)


def _tasks_of(promise: Promise) -> list[Task[Any]]:
    """The tasks of a promise that its data has."""
    entry = baselines.find(promise.model)
    name, root = data_root(promise.data, promise.model, embedded=entry.embedded, prefer=MINIATURE)
    return with_data(selected(promise.task, name, root), root, promise.split, promise.task)


# ---------------------------------------------------------------------------- runs


def _no_worse(promise: Promise, task: Task[Any], name: str, asked: Runs, home: Path) -> Verdict:
    """Paired with the run that it must not be worse than; `home` is the folder of the file of promises."""
    made = asked.run(promise, task)
    base = _reference(promise, made[1], home)
    comparison.refuse(base[1], made[1])
    _, before, _ = side_of(base, promise.data)
    _, after, _ = side_of(made, promise.data)
    refuse_unlike(before, after, promise.differs)
    metric = promise.metric or task.headline
    held = comparison.compare(task, before, after, partial(runner.mark, task), only=metric)
    if metric not in held.metrics:
        there = ", ".join([*task.metrics, "unreadable", "truncated"])
        return Verdict(name, "broken", _promised(promise), f"no {metric} of both runs; {task.name} has {there}")
    more = f"python -m harness compare {base[0].path} RUN, where RUN is what `{_command(promise, task)}` makes"
    return verdicts.no_worse(promise, name, metric, held.metrics[metric], held.images, more)


def _reference(promise: Promise, made: Run, home: Path) -> tuple[RunFolder, Run]:
    """The run meant by `not_worse_than`: by its id or folder, or of the same task and data under a folder.

    UsageError where there is none, or more than one that could be meant.
    """
    folder = home / promise.not_worse_than
    if not folder.is_dir() or (folder / "run.json").is_file():
        return store.find(home, str(folder) if folder.is_dir() else promise.not_worse_than)
    spec = made.spec
    same = [
        (kept, run)
        for kept, run in store.runs(folder)
        if (run.spec.data, run.spec.task, run.spec.split) == (spec.data, spec.task, spec.split) and run.finished
    ]
    of_model = [one for one in same if one[1].spec.model == spec.model] or same
    if len(of_model) != 1:
        many = ", ".join(run.id for _, run in of_model) or "none"
        raise UsageError(f"not_worse_than: one run of {spec.task} {spec.split} in {folder}; there are {many}")
    return of_model[0]


# ---------------------------------------------------------------------------- speed


def _recorded(promise: Promise, path: Path) -> Verdict:
    try:
        found = json.loads(path.read_bytes())
        return verdicts.quick(promise, found["base"], found["head"], str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no timings (base and head, seconds by turns): {error}") from error


def _no_slower(promise: Promise, home: Path) -> list[Verdict]:
    """Micro-benchmarks of this checkout versus the base's, by turns; more rounds while any is undecided."""
    from harness.speed import checkouts

    here = Path.cwd()
    times: dict[str, dict[str, list[float]]] = {}
    done = 0
    with checkouts.checkout(promise.base, here, home) as base:
        while True:
            rounds = done or ROUNDS
            found = checkouts.by_turns(base, here, promise.benchmarks, rounds, done)
            done += rounds
            for benchmark, sides in found.items():
                mine = times.setdefault(benchmark, {"base": [], "head": []})
                for side, seconds in sides.items():
                    mine[side] += seconds
            more = f"python -m pytest {promise.benchmarks} -o addopts= -p benchmark --benchmark-only"
            found_now = [
                verdicts.quick(promise, sides["base"], sides["head"], more, f"{promise.name} {benchmark}")
                for benchmark, sides in times.items()
            ]
            if not found_now:
                raise DataError(f"{promise.base} and {here} have no benchmark in common in {promise.benchmarks}")
            if all(one.state != "undecided" for one in found_now) or done >= MOST_ROUNDS // 2:
                return found_now


def _versus_peer(promise: Promise, task: Task[Any], name: str) -> Verdict:
    """Versus a peer in this process, by turns; more rounds while it is undecided.  Parity: token for token."""
    import time

    from harness.speed.scenarios import ask
    from harness.speed.systems import PEERS, Ours, Peer, rounds_of

    if promise.peer not in PEERS:
        raise UsageError(f"peer = {promise.peer!r}: one of {', '.join(PEERS)}")
    plan = Plan(
        entry=baselines.find(promise.model), scenario="offline", split=promise.split, data=promise.data or MINIATURE,
        weights=promise.weights,
    )  # fmt: skip
    point = Point(task=task.name, images=promise.images, dtype="float32")
    subject, queries, _ = prepare(plan, point)
    every = list(range(len(queries)))
    ours = Ours(subject.model, subject.preprocess, subject.decoding, queries, len(every))
    theirs = Peer(promise.peer, subject.model, subject.preprocess, subject.decoding, queries, len(every))
    more = f"python -m harness bench --task {task.name} --model {promise.model} --against {promise.peer}"
    parity = promise.metric == PARITY
    times: dict[str, list[float]] = {"base": [], "head": []}
    rounds = 1 if parity else ROUNDS
    while True:
        now, wrote = rounds_of(
            {"base": lambda: ask(theirs, every), "head": lambda: ask(ours, every)}, rounds, time.perf_counter
        )
        if parity:
            return _parity(promise, name, wrote["base"], wrote["head"], more)
        for side, seconds in now.items():
            times[side] += seconds
        verdict = verdicts.quick(promise, times["base"], times["head"], more, name)
        if verdict.state != "undecided" or len(times["base"]) >= MOST_ROUNDS:
            return verdict
        rounds = len(times["base"])


def _parity(
    promise: Promise, name: str, theirs: Sequence[Sequence[int]], ours: Sequence[Sequence[int]], more: str
) -> Verdict:
    same = [list(one) == list(two) for one, two in zip(theirs, ours, strict=True)]
    share = 100 * sum(same) / len(same)
    promised = f"parity at least {promise.at_least:g}"
    came = f"{share:.4g} % of {len(same)} answers the same as {promise.peer}'s, token for token"
    kept = share >= (promise.at_least or 0.0)
    return Verdict(name, "kept" if kept else "broken", promised, came, "", more)


def _promised(promise: Promise) -> str:
    if promise.not_worse_than:
        return f"{promise.metric or 'the headline'} not worse than {promise.not_worse_than}"
    least = f"at least {promise.at_least:g}" if promise.at_least is not None else f"at most {promise.at_most}"
    return f"{promise.metric or ('speed' if promise.timings or promise.base else 'the headline')} {least}"


def _command(promise: Promise, task: Task[Any]) -> str:
    """The command that makes the run, so that it can be looked at."""
    given = {name: getattr(promise, name) for name in RUN if name != "seed"} | {"seed": promise.seed or None}
    given |= promise.options
    words = [f"--{name.replace('_', '-')} {value}" for name, value in given.items() if value is not None]
    return " ".join(["python -m harness run --task", task.name, "--model", promise.model, *words])
