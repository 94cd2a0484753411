"""From a Request to Runs: build the model, query it, keep the answers, score them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import baselines
import tasks
from baselines import Entry
from harness import runner, store
from harness.core import Model, Run, RunSpec, Sample, Task
from harness.errors import UsageError
from harness.evaluation.plan import DataSource, selected, source_of, splits_of, with_data
from harness.evaluation.request import Request
from harness.evaluation.tuning import fine_tuned
from harness.protocols import zero_shot
from harness.provenance import provenance
from harness.store import RunFolder

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A run, its folder, whether it was `finished` before, and where its predictions were exported to."""

    run: Run
    folder: RunFolder
    finished: bool = False
    exported: Path | None = None


def evaluate(request: Request) -> Run:
    """The one run that a request is of; UsageError where it names several tasks or splits.

    Resumes, and returns a finished run without querying anything: see `runner.run`.
    """
    chosen = tasks_of(request)
    splits = [split for task in chosen for split in splits_of(task, request.split)]
    if len(splits) != 1:
        raise UsageError(f"{len(chosen)} tasks with {len(splits)} splits: `evaluate` is of one; see `evaluate_each`")
    [one] = evaluate_each(request)
    return one.run


def evaluate_each(request: Request) -> Iterator[Evaluated]:
    """Every task and split of a request, one run after another.

    A task whose question kinds the model does not answer is left out where several were asked for by 'all' or a glob,
    and is a UsageError where it was named.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("a run is one process: torchrun starts `finetune`, whose checkpoint `--weights` then takes")
    chosen = tasks_of(request)
    for task in chosen:
        list(splits_of(task, request.split))  # a wrong split is found before hours of training
    named = request.task if isinstance(request.task, str) else request.task.name
    entry = entry_of(request.model)
    embedded = entry is not None and entry.embedded
    if entry is not None:
        entry.check(request.setting(), entry.options_from(request.options))
        if request.protocol == "fine_tuned" and entry.protocol != "fine_tuned" and request.weights is None:
            name = request.called(entry)
            request = replace(request, name=name, weights=str(fine_tuned(request, entry, chosen)))
    name = request.called(entry)
    source = source_of(
        request.data, name, embedded=embedded, annotations=request.annotations, images=request.images
    )  # fmt: skip
    pairs = [(task, split) for task in _with_data(request, source, named) for split in splits_of(task, request.split)]
    if source.annotations is not None and len(pairs) > 1:
        raise UsageError(f"--annotations are of one task and one split, but {len(pairs)} are named")
    for task, split in pairs:
        source.require(task, split)
    built: Model | None = None
    for task, split in pairs:
        samples = runner.choose(source.load(task, split), request.limit, request.seed)
        if reason := unanswerable(entry, samples):
            if len(pairs) == 1 or task.name in named.split(","):
                raise UsageError(f"{name} cannot be evaluated on {task.name}: it {reason}")
            log.warning("left out: %s, since %s %s", task.name, name, reason)
            continue
        if built is None or (entry is not None and entry.sees_targets):
            built = build(request, entry, source.image_root, samples)
        yield _evaluated(request, entry, built, scored(request, task), split, samples, source)


def _with_data(request: Request, source: DataSource, named: str) -> list[Task[Any]]:
    """The tasks of a request that its data may have; all of them where the annotations are the user's own."""
    if source.annotations is not None or not isinstance(request.task, str):
        return tasks_of(request)
    found = selected(request.task, source.name, source.root)
    return with_data(found, source.root, request.split, named)


def tasks_of(request: Request) -> list[Task[Any]]:
    """The tasks that a request names."""
    return tasks.select(request.task) if isinstance(request.task, str) else [request.task]


def entry_of(model: str | Entry | Model) -> Entry | None:
    """The Entry that is meant; None for a Model of one's own, which has none."""
    if isinstance(model, str):
        return baselines.find(model)
    return model if isinstance(model, Entry) else None


def build(request: Request, entry: Entry | None, root: Path, samples: Sequence[Sample[Any]]) -> Model:
    """The model, ready to answer; UsageError where settings are given to a Model that is built already."""
    if entry is not None:
        return entry.load(request.setting(root, samples), **request.options)
    if isinstance(request.model, str | Entry):
        raise ValueError(f"{request.model!r} has an entry")
    if request.options or request.setting().given:
        raise UsageError(f"{request.called(None)} is built already: its settings cannot be changed here")
    return request.model


def scored(request: Request, task: Task[Any]) -> Task[Any]:
    """The task with the scorers that the request names."""
    return request.scorers.of(task)


def unanswerable(entry: Entry | None, samples: Sequence[Sample[Any]]) -> str:
    """Why a model cannot answer these questions; "" where it can."""
    if entry is None or entry.kinds is None:
        return ""
    lacking = sorted({sample.question.kind for sample in samples} - entry.kinds)
    return f"answers no {', '.join(lacking)} questions, only {', '.join(sorted(entry.kinds))}" if lacking else ""


def spec_of(task: Task[Any], split: str, source: DataSource, model: str, fingerprint: str, **more: Any) -> RunSpec:
    """What a run is of; `more` are `protocol`, `limit` and `seed`."""
    return RunSpec(
        data=source.name,
        data_hash=source.annotation_digest(task, split),
        task=task.name,
        version=task.version,
        split=split,
        model=model,
        fingerprint=fingerprint,
        **more,
    )


def _evaluated(
    request: Request, entry: Entry | None, model: Model, task: Task[Any], split: str, samples: Sequence[Sample[Any]],
    source: DataSource,
) -> Evaluated:  # fmt: skip
    seen = zero_shot.seen(task, _checkpoint(request, entry))
    protocol = _protocol(task, request.protocol, entry.protocol if entry is not None else "zero_shot", seen)
    spec = spec_of(
        task, split, source, request.called(entry), model.fingerprint,
        protocol=protocol, limit=request.limit, seed=request.seed,
    )  # fmt: skip
    folder = RunFolder(store.run_folder(request.out, spec))
    folder.inherit(spec)
    before = None if request.fresh else folder.read_run()
    about = {**provenance(request.command), "seen": seen.said(), **source.described(), **_origin(request, entry, task)}
    run = runner.run(task, samples, model, spec, folder, source.image_root, about, fresh=request.fresh)
    exported = None
    if request.export is not None and run.finished:
        exported = _export(task, samples, folder, spec.fingerprint, request.export / f"{task.name}_{split}")
    return Evaluated(run, folder, before is not None and run == before, exported)


def _origin(request: Request, entry: Entry | None, task: Task[Any]) -> dict[str, Any]:
    """What a record keeps of how its model and task were named, so that both can be found again."""
    told: dict[str, Any] = {}
    if entry is not None:
        told["entry"] = entry.name
        if isinstance(request.model, str):
            told |= baselines.origin_of(entry, request.model)
    if request.weights is not None:
        told["weights from"] = request.weights
    if isinstance(request.task, str):
        told |= tasks.origin_of(task, next((p for p in request.task.split(",") if ":" in p), request.task))
    return told


def _checkpoint(request: Request, entry: Entry | None) -> Path | None:
    """The folder that says what the weights were trained on, where there is one."""
    return entry.checkpoint(request.weights) if entry is not None and entry.checkpoint is not None else None


def _protocol(task: Task[Any], asked: str | None, usual: str, seen: zero_shot.Seen) -> str:
    """What a run is filed under: as asked, else by what the weights say they have seen, else the model's usual.

    UsageError where what was asked for and what the weights say contradict each other.
    """
    if asked == "zero_shot" and seen.splits:
        raise UsageError(f"--protocol zero_shot: these weights were {seen.said()}; leave --protocol out")
    if asked == "fine_tuned" and seen.known and not seen.splits and task.train_splits:
        raise UsageError(f"--protocol fine_tuned: these weights were {seen.said()}; `finetune` does it first")
    return asked or ("fine_tuned" if seen.splits else usual)


def _export(task: Task[Any], samples: Sequence[Sample[Any]], folder: RunFolder, fingerprint: str, to: Path) -> Path:
    """Writes the official result file, or a folder where the format is one; its path."""
    to.parent.mkdir(parents=True, exist_ok=True)
    path = to if task.predictions.folder else to.with_name(f"{to.name}.json")
    task.predictions.write(path, runner.answered(samples, runner.kept_answers(samples, folder, fingerprint)))
    return path
