"""The gate: asks afresh, marks, and says which promises hold."""

from __future__ import annotations

import json as encoder
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import baselines
import tasks
from harness import comparison, runner, store
from harness.cli.compare import side_of
from harness.cli.options import Data, Json, command_line, load, root_of, samples_of, splits_of
from harness.core import Phrase, Question, Run, RunSpec, Task
from harness.data import manifest
from harness.errors import DataError, GateError, HarnessError, UsageError
from harness.gates import promises as promising
from harness.gates import rendering as shown
from harness.gates import verdicts as judging
from harness.gates.promises import PARITY, SPEED, Promise
from harness.gates.verdicts import Verdict
from harness.provenance import provenance
from harness.store import RunFolder

app = App()
GATES = Path("baselines/gates.toml")
PROMPTS = "prompts.json"
FROZEN_MODEL, FROZEN_IMAGES = "florence2-nano-ft", 6
ROUNDS, MOST_ROUNDS = 6, 48
GOLDEN = Question("", None, "caption", "a red cup", (Phrase("a red cup"), Phrase("dogs", said="dogs of all kinds")))


@app.command
def gate(
    *,
    promises: Annotated[Path, Parameter(name="--promises", help="A TOML file of promises.")] = GATES,
    only: Annotated[str | None, Parameter(help="Promises by name, with commas or globs.")] = None,
    data: Data = None,
    out: Annotated[
        Path | None, Parameter(help="Keep the runs that are made in this folder, which is emptied first of them.")
    ] = None,
    junit: Annotated[Path | None, Parameter(help="Write JUnit's XML to this file.")] = None,
    github: Annotated[
        bool | None, Parameter(help="Print annotations, and append to the job's summary [default: in GitHub Actions].")
    ] = None,
    freeze: Annotated[
        bool, Parameter(negative=(), help="Write the frozen answers and prompts anew, and judge nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Judge promises about a model: ask afresh, mark, and fail (exit status 5) where one is broken or cannot be told.

    Every question is asked anew in a folder of its own; a record that is kept is only ever what a run is held against.

    python -m harness gate                                             # the project's own promises

    python -m harness gate --promises mine.toml --junit gate.xml
    """
    found = promising.read(promises)
    if freeze:
        _freeze(found.frozen, promises)
        return
    with _folder(out) as folder:
        try:
            verdicts = list(_judged(found, promises, only, data, folder))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("nothing is judged: a gate asks everything afresh, and begins anew") from None
    if not verdicts:
        raise UsageError(f"--only {only}: no promise of {promises} is called that")
    if junit is not None:
        store.replace_file(junit, shown.junit(verdicts))
    print(encoder.dumps(shown.as_json(verdicts), indent=1) if json else shown.describe(verdicts), flush=True)
    if github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true":
        print(shown.github(verdicts), file=sys.stderr if json else sys.stdout, flush=True)
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as stream:
                stream.write(shown.summary(verdicts))
    red = [one.name for one in verdicts if one.red]
    if red:
        raise GateError(f"{len(red)} of {len(verdicts)} promises do not hold: {', '.join(red)}")


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Where runs go: as given, else one that is gone afterwards."""
    if out is not None:
        yield out
        return
    folder = Path(tempfile.mkdtemp(prefix="gate-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _judged(
    found: promising.Gates, path: Path, only: str | None, data: str | None, out: Path
) -> Iterator[Verdict]:  # fmt: skip
    """A verdict for each promise, one task at a time; what keeps one from being judged breaks it."""
    wanted = only.split(",") if only else ["*"]
    asked = Asked(out)
    for promise in found.promises:
        if not any(fnmatchcase(promise.name, pattern.strip()) for pattern in wanted):
            continue
        promise = replace(promise, data=data or promise.data)
        try:
            if promise.timings:
                yield _recorded(promise, path.parent / promise.timings)
                continue
            if promise.base:
                yield from _no_slower(promise, path.parent)
                continue
            chosen = tasks.select(promise.task, embedded=_root(promise)[0] == "miniature")
        except HarnessError as error:
            yield Verdict(promise.name, "broken", _told(promise), str(error))
            continue
        for task in chosen:
            name = promise.name if len(chosen) == 1 else f"{promise.name} {task.name}"
            try:
                if promise.metric in (SPEED, PARITY):
                    yield _beside(promise, task, name)
                elif promise.not_worse_than:
                    yield _no_worse(promise, task, name, asked, path.parent)
                else:
                    yield judging.bounded(promise, name, asked.run(promise, task)[1], _again(promise, task))
            except HarnessError as error:
                yield Verdict(name, "broken", _told(promise), str(error), more=_again(promise, task))
    if found.frozen is not None:
        yield from (one for one in _frozen(found.frozen) if any(fnmatchcase(one.name, p.strip()) for p in wanted))


# ---------------------------------------------------------------------------- runs


class Asked:
    """Runs made for this gate; each once, whatever is promised of it."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._made: dict[tuple[Any, ...], tuple[RunFolder, Run]] = {}

    def run(self, promise: Promise, task: Task[Any]) -> tuple[RunFolder, Run]:
        """A finished run, asked afresh; DataError where questions failed."""
        split = next(iter(splits_of(task, promise.split)))
        key = (task.name, split, promise.model, promise.weights, promise.data, promise.limit, promise.seed)
        if key not in self._made:
            self._made[key] = self._run(promise, task, split)
        return self._made[key]

    def _run(self, promise: Promise, task: Task[Any], split: str) -> tuple[RunFolder, Run]:
        entry = baselines.find(promise.model)
        name, root = _root(promise)
        samples = runner.choose(load(task, root, split), promise.limit, promise.seed)
        model = entry.build(baselines.Setting(root=root, samples=samples, weights=promise.weights))
        spec = RunSpec(
            data=name,
            data_hash=manifest.digest(manifest.annotation_files(task, root, split)),
            task=task.name,
            version=task.version,
            split=split,
            model=promise.model,
            fingerprint=model.fingerprint,
            protocol=entry.protocol,
            limit=promise.limit,
            seed=promise.seed,
        )
        folder = RunFolder(store.run_folder(self.out, spec))
        run = runner.run(task, samples, model, spec, folder, root, provenance(command_line()), fresh=True)
        if not run.finished:
            first = next(iter(run.provenance.get("failures", {}).values()), "")
            raise DataError(f"{run.counts.get('failed', 0)} questions failed, the first: {first}")
        return folder, run


def _root(promise: Promise) -> tuple[str, Path]:
    return root_of(promise.data, promise.model, baselines.find(promise.model).embedded, prefer="miniature")


def _no_worse(promise: Promise, task: Task[Any], name: str, asked: Asked, beside: Path) -> Verdict:
    """Paired with the run that it must not be worse than."""
    made = asked.run(promise, task)
    base = _reference(promise, made[1], beside)
    comparison.refuse(base[1], made[1])
    _, before, _ = side_of(base, promise.data)
    _, after, _ = side_of(made, promise.data)
    metric = promise.metric or task.headline
    held = comparison.compare(task, before, after, partial(runner.mark, task), only=metric)
    if metric not in held.metrics:
        there = ", ".join([*task.metrics, "unreadable", "truncated"])
        return Verdict(name, "broken", _told(promise), f"no {metric} of both runs; {task.name} has {there}")
    more = f"python -m harness compare {base[0].path} RUN, where RUN is what `{_again(promise, task)}` makes"
    return judging.no_worse(promise, name, metric, held.metrics[metric], held.images, more)


def _reference(promise: Promise, made: Run, beside: Path) -> tuple[RunFolder, Run]:
    """The run meant by `not_worse_than`: by its id or folder, or of the same task and data under a folder.

    UsageError where there is none, or more than one that could be meant.
    """
    folder = beside / promise.not_worse_than
    if not folder.is_dir() or (folder / "run.json").is_file():
        return store.find(beside, str(folder) if folder.is_dir() else promise.not_worse_than)
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
        found = encoder.loads(path.read_bytes())
        return judging.quick(promise, found["base"], found["head"], str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no timings (base and head, seconds by turns): {error}") from error


def _no_slower(promise: Promise, beside: Path) -> list[Verdict]:
    """Micro-benchmarks of this checkout beside the base's, by turns; more rounds while any cannot be told."""
    from harness.speed import checkouts

    here = Path.cwd()
    times: dict[str, dict[str, list[float]]] = {}
    done = 0
    with checkouts.checkout(promise.base, here, beside) as base:
        while True:
            rounds = done or ROUNDS
            found = checkouts.by_turns(base, here, promise.benchmarks, rounds, done)
            done += rounds
            for benchmark, sides in found.items():
                mine = times.setdefault(benchmark, {"base": [], "head": []})
                for side, seconds in sides.items():
                    mine[side] += seconds
            more = f"python -m pytest {promise.benchmarks} -o addopts= -p benchmark --benchmark-only"
            verdicts = [
                judging.quick(promise, sides["base"], sides["head"], more, f"{promise.name} {benchmark}")
                for benchmark, sides in times.items()
            ]
            if not verdicts:
                raise DataError(f"{promise.base} and {here} have no benchmark in common in {promise.benchmarks}")
            if all(one.state != "undecided" for one in verdicts) or done >= MOST_ROUNDS // 2:
                return verdicts


def _beside(promise: Promise, task: Task[Any], name: str) -> Verdict:
    """Beside a peer in this process, by turns; more rounds while it cannot be told.  Parity: of what both wrote."""
    import time

    from harness.cli.subjects import Wanted, prepared
    from harness.speed.scenarios import ask
    from harness.speed.systems import PEERS, Ours, Peer, rounds_of

    if promise.peer not in PEERS:
        raise UsageError(f"peer = {promise.peer!r}: one of {', '.join(PEERS)}")
    parity = promise.metric == PARITY
    wanted = Wanted(task.name, promise.images, None, None, "float32", None, None)
    subject, queries, _ = prepared(
        wanted, promise.model, promise.split, promise.data or "miniature", promise.weights, None, None
    )
    every = list(range(len(queries)))
    ours = Ours(subject.model, subject.preprocess, subject.decoding, queries, len(every))
    theirs = Peer(promise.peer, subject.model, subject.preprocess, subject.decoding, queries, len(every))
    more = f"python -m harness bench --task {task.name} --model {promise.model} --against {promise.peer}"
    times: dict[str, list[float]] = {"base": [], "head": []}
    rounds = 1 if parity else ROUNDS
    while True:
        now, wrote = rounds_of(
            {"base": lambda: ask(theirs, every), "head": lambda: ask(ours, every)}, rounds, time.perf_counter
        )
        if parity:
            same = [list(one) == list(two) for one, two in zip(wrote["base"], wrote["head"], strict=True)]
            share = 100 * sum(same) / len(same)
            promised = f"parity at least {promise.at_least:g}"
            came = f"{share:.4g} % of {len(same)} answers the same as {promise.peer}'s, token for token"
            kept = share >= (promise.at_least or 0.0)
            return Verdict(name, "kept" if kept else "broken", promised, came, "", more)
        for side, seconds in now.items():
            times[side] += seconds
        verdict = judging.quick(promise, times["base"], times["head"], more, name)
        if verdict.state != "undecided" or len(times["base"]) >= MOST_ROUNDS:
            return verdict
        rounds = len(times["base"])


# ---------------------------------------------------------------------------- what is frozen


def _frozen(folder: Path) -> Iterator[Verdict]:
    """The marking of frozen answers, task by task, and the golden prompts."""
    path = folder / PROMPTS
    try:
        before = encoder.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        yield Verdict("prompts", "broken", f"golden prompts in {path}", str(error), more="gate --freeze")
    else:
        yield from judging.same_prompts(before, _prompts())
    runs = list(store.runs(folder))
    for kept, run in runs:
        name = f"marking {run.spec.task}"
        try:
            task, samples, _ = samples_of(run, None)
            rows = runner.mark(task, samples, runner.kept_answers(samples, kept, run.spec.fingerprint))
            marks = {row.sample.id: row.score for row in rows}
            metrics = runner.reduce(task, rows, run.spec.seed)
            again = f"python -m harness score {kept.path}"
            yield judging.same_marking(name, run, task.version, marks, kept.scores(), metrics, again)
        except HarnessError as error:
            yield Verdict(name, "broken", f"marks of version {run.spec.version} as they were", str(error))
    for lacking in sorted({name for name, task in tasks.TASKS.items() if task.embedded is not False} - {
        run.spec.task for _, run in runs
    }):  # fmt: skip
        yield Verdict(f"marking {lacking}", "broken", "a frozen marking", "none is kept", more="gate --freeze")


def _freeze(folder: Path | None, promises: Path) -> None:
    if folder is None:
        raise UsageError(f'{promises} names no folder: frozen = "frozen"')
    with _folder(None) as made:
        asked = Asked(made)
        for task in tasks.select("all", embedded=True):
            promise = Promise(name="frozen", task=task.name, model=FROZEN_MODEL, limit=FROZEN_IMAGES)
            kept, _ = asked.run(promise, task)
            store.pack(kept)
        for old in [kept for kept, _ in store.runs(folder)]:
            old.remove()
        shutil.copytree(made, folder, dirs_exist_ok=True)
    text = encoder.dumps(_prompts(), indent=1, ensure_ascii=False) + "\n"
    store.replace_file(folder / PROMPTS, text.encode())
    print(f"frozen in {folder}: look at what `git diff` says of it", file=sys.stderr)


def _prompts() -> Mapping[str, Sequence[str]]:
    """The texts of every form of every kind, for a question that stays as it is."""
    from harness.florence2 import prompts

    return {
        f"{kind} {form}": list(prompts.prompts_of(replace(GOLDEN, kind=kind), form))
        for kind, forms in prompts.FORMS.items()
        for form in forms
    }


def _told(promise: Promise) -> str:
    if promise.not_worse_than:
        return f"{promise.metric or 'the headline'} not worse than {promise.not_worse_than}"
    least = f"at least {promise.at_least:g}" if promise.at_least is not None else f"at most {promise.at_most}"
    return f"{promise.metric or ('speed' if promise.timings or promise.base else 'the headline')} {least}"


def _again(promise: Promise, task: Task[Any]) -> str:
    """The command that makes the run, so that it can be looked at."""
    given = [
        f"--{name} {value}"
        for name, value in (
            ("weights", promise.weights), ("data", promise.data), ("split", promise.split), ("limit", promise.limit),
            ("seed", promise.seed or None),
        )
        if value is not None
    ]  # fmt: skip
    return " ".join(["python -m harness run --task", task.name, "--model", promise.model, *given])
