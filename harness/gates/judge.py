"""Judges a file of promises: makes the runs and timings that each promise needs, and gives a verdict on each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import baselines
from harness import comparison, runner, store
from harness.cluster.ray_cluster import Spread, connected
from harness.core import Run, Task
from harness.errors import DataError, HarnessError, UsageError
from harness.evaluation.benchmark import Plan, Point, prepare
from harness.evaluation.comparing import disagreement, side_of
from harness.evaluation.evaluate import answerable
from harness.evaluation.plan import MINIATURE, data_root, own_of, selected, with_data
from harness.gates import frozen, verdicts
from harness.gates.comparable import refuse_unlike
from harness.gates.promises import PARITY, RUN, SPEED, Gates, Promise
from harness.gates.runs import Runs, run_folder
from harness.gates.verdicts import Verdict
from harness.store import RunFolder

ROUNDS, MOST_ROUNDS = 6, 48  # of timings: at first, and at most while a promise is undecided


def judge(
    gates: Gates, path: Path, only: str | None, data: str | None, out: Path | None, spread: Spread | None = None
) -> list[Verdict]:
    """A verdict on each promise of the file `path`; UsageError where `only` (names or globs, with commas) matches none.

    `data` replaces the data of every promise.  Runs go to `out`, or to a temporary folder.  `spread` puts their models
    on the workers of a cluster; speed and parity are measured in this process.
    """
    patterns = [pattern.strip() for pattern in only.split(",")] if only else ["*"]
    promises = [
        replace(promise, data=data or promise.data)
        for promise in gates.promises
        if any(fnmatchcase(promise.name, pattern) for pattern in patterns)
    ]
    judged: list[Verdict] = []
    with run_folder(out) as folder, connected(spread):
        runs = Runs(folder, spread)
        for promise in promises:
            judged += _judged(promise, runs, path.parent)
        if gates.frozen is not None:
            judged += frozen.judged(gates.frozen, patterns)
    if not judged:
        raise UsageError(f"--only {only}: no promise of {path} has that name")
    return judged


def _judged(promise: Promise, runs: Runs, home: Path) -> list[Verdict]:
    """The verdicts on a promise, one for each of its tasks; an error that prevents the judgement breaks the promise.

    `home` is the folder of the file of promises, which its paths are relative to.
    """
    try:
        if promise.timings:
            return [_recorded(promise, home / promise.timings)]
        if promise.base:
            return _no_slower(promise, home)
        tasks = _tasks_of(promise)
    except HarnessError as error:
        return [Verdict(promise.name, "broken", _promised(promise), str(error))]
    several = len(tasks) > 1
    return [
        _judged_task(promise, task, f"{promise.name} {task.name}" if several else promise.name, runs, home)
        for task in tasks
    ]


def _judged_task(promise: Promise, task: Task[Any], name: str, runs: Runs, home: Path) -> Verdict:
    """The verdict on a promise about a model, on one task."""
    try:
        if promise.metric in (SPEED, PARITY):
            return _versus_peer(promise, task, name)
        if promise.not_worse_than:
            return _no_worse(promise, task, name, runs, home)
        return verdicts.bounded(promise, name, runs.run(promise, task)[1], _command(promise, task))
    except HarnessError as error:
        return Verdict(name, "broken", _promised(promise), str(error), more=_command(promise, task))


def _tasks_of(promise: Promise) -> list[Task[Any]]:
    """The tasks of a promise whose data is there; of "all" and globs, those whose questions the model answers."""
    entry = baselines.find(promise.model)
    name, root = data_root(promise.data, promise.model, embedded=entry.embedded, prefer=MINIATURE)
    own = own_of(promise.data, prefer=MINIATURE)
    names = promise.task if own is None else own.full(promise.task)
    tasks = with_data(selected(names, name, root, own), root, promise.split, names)
    named = [task for task in tasks if task.name in names.split(",")]
    others = [task for task in tasks if task not in named]
    known = partial(entry.categories, promise.weights) if entry.categories is not None else None
    answered = answerable(others, entry.answers(promise.options), root, promise.split, known)
    return [task for task in tasks if task in named or task in answered]


# ---------------------------------------------------------------------------- runs


def _no_worse(promise: Promise, task: Task[Any], name: str, runs: Runs, home: Path) -> Verdict:
    """The verdict on the paired difference of a new run from its reference."""
    run = runs.run(promise, task)
    base = _reference(promise, run[1], home)
    comparison.refuse(base[1], run[1])
    _, base_side, _ = side_of(base, promise.data)
    _, run_side, _ = side_of(run, promise.data)
    refuse_unlike(base_side, run_side, promise.differs)
    metric = promise.metric or task.headline
    compared = comparison.compare(task, base_side, run_side, partial(runner.mark, task), only=metric)
    if problem := disagreement(task, base_side, compared):
        raise DataError(problem)
    if metric not in compared.metrics:
        names = ", ".join([*task.metrics, "unreadable", "truncated"])
        return Verdict(name, "broken", _promised(promise), f"no {metric} of both runs; {task.name} has {names}")
    more = f"python -m harness compare {base[0].path} RUN, where RUN is the run of `{_command(promise, task)}`"
    return verdicts.no_worse(promise, name, metric, compared.metrics[metric], compared.images, more)


def _reference(promise: Promise, new_run: Run, home: Path) -> tuple[RunFolder, Run]:
    """The reference run of `not_worse_than`: named by its id or folder, or the matching run under a folder.

    A run matches with the same data, task and split; of several, the run of the same model.  UsageError where no run,
    or more than one, matches.
    """
    folder = home / promise.not_worse_than
    if not folder.is_dir() or (folder / "run.json").is_file():
        return store.find(home, str(folder) if folder.is_dir() else promise.not_worse_than)
    spec = new_run.spec
    same_task = [
        (kept, run)
        for kept, run in store.runs(folder)
        if (run.spec.data, run.spec.task, run.spec.split) == (spec.data, spec.task, spec.split) and run.finished
    ]
    matching = [(kept, run) for kept, run in same_task if run.spec.model == spec.model] or same_task
    if len(matching) != 1:
        ids = ", ".join(run.id for _, run in matching) or "none"
        raise UsageError(f"not_worse_than: one run of {spec.task} {spec.split} in {folder}; there are {ids}")
    return matching[0]


# ---------------------------------------------------------------------------- speed


def _recorded(promise: Promise, path: Path) -> Verdict:
    """The verdict on the seconds in a file; DataError where the file has none."""
    try:
        seconds = json.loads(path.read_bytes())
        return verdicts.quick(promise, seconds["base"], seconds["head"], str(path))
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise DataError(f"{path} holds no timings (base and head, seconds of alternating rounds): {error}") from error


def _no_slower(promise: Promise, home: Path) -> list[Verdict]:
    """The verdicts on this checkout's micro-benchmarks versus the base's.

    Rounds alternate between the two; there are more rounds while any verdict is undecided.  DataError where the two
    checkouts have no benchmark in common.
    """
    from harness.speed import checkouts

    here = Path.cwd()
    more = f"python -m pytest {promise.benchmarks} -o addopts= -p benchmark --benchmark-only"
    times: dict[str, dict[str, list[float]]] = {}
    done = 0
    with checkouts.checkout(promise.base, here, home) as base:
        while True:
            rounds = done or ROUNDS
            new_times = checkouts.interleaved(base, here, promise.benchmarks, rounds, done)
            done += rounds
            for benchmark, sides in new_times.items():
                of_benchmark = times.setdefault(benchmark, {"base": [], "head": []})
                for side, seconds in sides.items():
                    of_benchmark[side] += seconds
            judged = [
                verdicts.quick(promise, sides["base"], sides["head"], more, f"{promise.name} {benchmark}")
                for benchmark, sides in times.items()
            ]
            if not judged:
                raise DataError(f"{promise.base} and {here} have no benchmark in common in {promise.benchmarks}")
            if all(verdict.state != "undecided" for verdict in judged) or done >= MOST_ROUNDS // 2:
                return judged


def _versus_peer(promise: Promise, task: Task[Any], name: str) -> Verdict:
    """The verdict on speed or parity versus a peer in this process; more rounds while the speed is undecided.

    Parity is the percentage of answers that are equal token for token.
    """
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
    peer = Peer(promise.peer, subject.model, subject.preprocess, subject.decoding, queries, len(every))
    more = f"python -m harness bench --task {task.name} --model {promise.model} --against {promise.peer}"
    parity = promise.metric == PARITY
    times: dict[str, list[float]] = {"base": [], "head": []}
    rounds = 1 if parity else ROUNDS
    while True:
        new_times, answers = rounds_of(
            {"base": lambda: ask(peer, every), "head": lambda: ask(ours, every)}, rounds, time.perf_counter
        )
        if parity:
            return _parity(promise, name, answers["base"], answers["head"], more)
        for side, seconds in new_times.items():
            times[side] += seconds
        verdict = verdicts.quick(promise, times["base"], times["head"], more, name)
        if verdict.state != "undecided" or len(times["base"]) >= MOST_ROUNDS:
            return verdict
        rounds = len(times["base"])


def _parity(
    promise: Promise, name: str, peer_tokens: Sequence[Sequence[int]], our_tokens: Sequence[Sequence[int]], more: str
) -> Verdict:
    """The verdict on the percentage of answers whose tokens are equal."""
    equal = [list(of_peer) == list(ours) for of_peer, ours in zip(peer_tokens, our_tokens, strict=True)]
    percent = 100 * sum(equal) / len(equal)
    promised = f"parity at least {promise.at_least:g}"
    measured = f"{percent:.4g} % of {len(equal)} answers the same as {promise.peer}'s, token for token"
    kept = percent >= (promise.at_least or 0.0)
    return Verdict(name, "kept" if kept else "broken", promised, measured, "", more)


def _promised(promise: Promise) -> str:
    """The promise in words, for a verdict without a measurement."""
    if promise.not_worse_than:
        return f"{promise.metric or 'the headline'} not worse than {promise.not_worse_than}"
    least = f"at least {promise.at_least:g}" if promise.at_least is not None else f"at most {promise.at_most}"
    return f"{promise.metric or ('speed' if promise.timings or promise.base else 'the headline')} {least}"


def _command(promise: Promise, task: Task[Any]) -> str:
    """The command that makes the run of a promise, so that it can be inspected."""
    options = {name: getattr(promise, name) for name in RUN if name != "seed"} | {"seed": promise.seed or None}
    options |= promise.options
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items() if value is not None]
    return " ".join(["python -m harness run --task", task.name, "--model", promise.model, *words])
