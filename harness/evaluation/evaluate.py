"""From a Request to Runs: builds the model, queries it, keeps the answers, scores them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import baselines
import tasks
from baselines import Entry
from baselines.entry import Part
from harness import runner, store
from harness.core import Answer, Kind, Model, Question, Row, Run, RunSpec, Score, Task
from harness.errors import HarnessError, UsageError
from harness.evaluation import examples as few_shot
from harness.evaluation import first_run
from harness.evaluation.building import Models, entry_of
from harness.evaluation.plan import (
    MINIATURE,
    DataSource,
    Loaded,
    load,
    named,
    own_of,
    selected,
    source_of,
    splits_of,
    with_data,
)
from harness.evaluation.request import Request
from harness.evaluation.tuning import fine_tuned
from harness.florence2.files import is_adapter
from harness.metrics.labels import category_of
from harness.protocols import zero_shot
from harness.provenance import provenance
from harness.speed import cost
from harness.store import RunFolder
from tasks import miniature

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A run and its folder; whether it was `finished` before; the path of its exported predictions, if any."""

    run: Run
    folder: RunFolder
    finished: bool = False
    exported: Path | None = None


def evaluate(request: Request) -> Run:
    """The run of a request that names one task and one split; UsageError where the request names several.

    Resumes an interrupted run, and returns a finished run without a query: see `runner.run`.
    """
    requested = tasks_of(request)
    splits = [split for task in requested for split in splits_of(task, request.split)]
    if len(splits) != 1:
        raise UsageError(
            f"{len(requested)} tasks with {len(splits)} splits: `evaluate` takes one; `evaluate_each` takes several"
        )
    [evaluated] = evaluate_each(request)
    return evaluated.run


class Watcher(Protocol):
    """Is told what becomes of the runs that are not yielded, by the names of their task and split.

    `several`: the request is for several models, of which this is one.
    """

    @property
    def several(self) -> bool: ...

    def failed(self, task: str, split: str, error: Exception) -> None:
        """A run raised."""
        ...

    def left_out(self, task: str, split: str, reason: str) -> None:
        """The model does not answer the questions of a task."""
        ...


def evaluate_each(request: Request, watcher: Watcher | None = None) -> Iterator[Evaluated]:
    """Evaluates every task and split of a request, one run after another.

    A task with question kinds that the model does not answer is logged and left out where 'all' or a glob selects it.
    UsageError where such a task is named.

    With a `watcher`, a run that raises does not end the others; of several models, one leaves out named tasks too.
    Mistakes in the request, and a model that cannot be built, are raised in any case.
    """
    with ExitStack() as closing:
        yield from _each(request, watcher, closing)


def _each(request: Request, watcher: Watcher | None, closing: ExitStack) -> Iterator[Evaluated]:
    """The runs of a request; `closing` ends its workers."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError(
            "a run is one process: for N processes start N runs with --shard 1/N to N/N, which `merge` joins "
            "(docs/scale.md); torchrun starts `finetune`"
        )
    entry = entry_of(request.model)
    request = _with_checkpoint(_with_full_names(request), entry)
    name = request.called(entry)
    source = source_of(
        request.data,
        name,
        embedded=entry is not None and entry.embedded,
        annotations=request.annotations,
        images=request.images,
        strict=request.strict,
    )
    pairs = [(task, split) for task in _with_data(request, source) for split in splits_of(task, request.split)]
    if request.candidates is not None or any(task.candidates_of for task, _ in pairs):
        source = first_run.with_candidates(source, request, pairs)
        if request.name is None and source.candidates is not None:
            request = replace(request, name=f"{source.candidates.model}+{name}")
    if source.annotations is not None and len(pairs) > 1:
        raise UsageError(f"--annotations are of one task and one split, but {len(pairs)} are named")
    sources = [source.of(task, split) for task, split in pairs]
    for own, (task, split) in zip(sources, pairs, strict=True):
        own.require(task, split)
    of_several = watcher is not None and watcher.several
    kinds = entry.answers(request.options) if entry is not None else None
    known = partial(entry.categories, request.weights) if entry is not None and entry.categories is not None else None
    shots = entry.shots_of(request.options) if entry is not None else 0
    alone = len(pairs) == 1 and not of_several
    models = closing.enter_context(Models(request, entry))
    for source, (task, split) in zip(sources, pairs, strict=True):
        try:
            loaded = source.read(task, split)
            samples = runner.choose(loaded.samples, request.limit, request.seed)
            samples = request.shard.of(samples) if request.shard is not None else samples
        except HarnessError as error:
            if watcher is None or alone:
                raise
            watcher.failed(task.name, split, error)
            continue
        lacking = unanswerable(kinds, (sample.question for sample in samples), known)
        if reason := lacking or few_shot.impossible(task, shots):
            if alone or (not of_several and task.name in _names(request).split(",")):
                raise UsageError(f"{name} cannot be evaluated on {task.name}: it {reason}")
            log.warning("left out: %s, since %s %s", task.name, name, reason)
            if watcher is not None:
                watcher.left_out(task.name, split, reason)
            continue
        part = _part(source, task, split, loaded)
        models.prepare(source, samples, part)
        facts = {**source.facts(task, split, loaded.samples), **loaded.described()}
        chosen = replace(loaded, samples=samples)
        try:
            examples = few_shot.draw(part, shots, request.seed, source.image_root) if shots else None
            facts |= {"examples": few_shot.described(examples, task)} if examples is not None else {}
            model = models.of(samples, part, examples)
            evaluated = _evaluated(request, entry, model, request.scorers.of(task), split, chosen, source, facts)
            del model  # before that of the next task is built
        except Exception as error:  # a model from outside raises any kind
            if watcher is None or alone:
                raise
            watcher.failed(task.name, split, error)
            continue
        yield evaluated


def _with_full_names(request: Request) -> Request:
    """The request with the full names of the tasks of a user's own data set, such as shop-detect for detect."""
    own = own_of(request.data)
    return (
        request if own is None or not isinstance(request.task, str) else replace(request, task=own.full(request.task))
    )


def _with_checkpoint(request: Request, entry: Entry | None) -> Request:
    """The request after fine-tuning, where its protocol needs a checkpoint that the model does not have.

    UsageError for a split, a setting or an option that does not exist: before hours of training.
    """
    requested = tasks_of(request)
    for task in requested:
        list(splits_of(task, request.split))
    if entry is None:
        return request
    entry.check(request.setting(), entry.options_from(request.options))
    _check_shots(request, entry)
    if request.protocol != "fine_tuned" or entry.protocol == "fine_tuned" or request.weights is not None:
        return request
    if request.shard is not None:
        raise UsageError("--protocol fine_tuned with --shard: `finetune` first, then every shard with --weights")
    return replace(request, name=request.called(entry), weights=str(fine_tuned(request, entry, requested)))


def _check_shots(request: Request, entry: Entry) -> None:
    """UsageError where the request's protocol and its number of examples contradict each other."""
    shots = entry.shots_of(request.options)
    if shots and request.protocol not in (None, "few_shot"):
        raise UsageError(f"--protocol {request.protocol} with --shots {shots}: leave one of them out")
    if request.protocol == "few_shot" and not shots:
        how = "give --shots" if entry.shots is not None else f"model {entry.name} takes no examples"
        raise UsageError(f"--protocol few_shot: {how}")


def _with_data(request: Request, source: DataSource) -> list[Task[Any]]:
    """The tasks of a request that its data may have; all of them where the annotations are the user's own."""
    if source.annotations is not None or not isinstance(request.task, str):
        return tasks_of(request)
    if source.copied is not None:
        return source.copied.tasks(request.task)
    candidates = selected(request.task, source.name, source.root, source.dataset)
    return with_data(candidates, source.root, request.split, request.task)


def _names(request: Request) -> str:
    """The names of the request's tasks, as given."""
    return request.task if isinstance(request.task, str) else request.task.name


def tasks_of(request: Request) -> list[Task[Any]]:
    """The tasks that a request names."""
    return named(request.task, request.data) if isinstance(request.task, str) else [request.task]


def _part(source: DataSource, task: Task[Any], split: str, loaded: Loaded) -> Part:
    """The evaluated part of a data set, for models that are built for each task."""
    digest = source.annotation_digest(task, split)
    root = miniature.ensure_training if source.name == MINIATURE else lambda: source.root
    return Part(task=task, split=split, data_hash=digest, samples=loaded.all, training_root=root)


def unanswerable(
    kinds: Collection[Kind] | None,
    questions: Iterable[Question],
    known: Callable[[], Collection[str]] | None = None,
) -> str:
    """The reason why a model of these kinds cannot answer all questions, as the end of a sentence; "" where it can.

    `known` returns the categories of a model that detects no others: it must know every category of the questions,
    since a mean over categories that it cannot name says little.  A name is compared without case.
    """
    asked = list(questions)
    lacking = sorted({question.kind for question in asked} - set(kinds)) if kinds is not None else []
    if kinds is not None and lacking:
        return f"answers no {', '.join(lacking)} questions, only {', '.join(sorted(kinds))}"
    lists = {id(question.phrases): question.phrases for question in asked if question.kind in ("detect", "find")}
    if known is None or not lists:
        return ""
    phrases = tuple({phrase.text: phrase for phrases in lists.values() for phrase in phrases}.values())
    named = {category_of(name, phrases, {}) for name in known()} - {None}
    strange = [phrase.text for place, phrase in enumerate(phrases) if place not in named]
    return f"detects {len(named):,} of its {len(phrases):,} categories, and not {strange[0]!r}" if strange else ""


def answerable(
    tasks: Sequence[Task[Any]],
    kinds: Collection[Kind],
    root: Path,
    split: str | None = None,
    known: Callable[[], Collection[str]] | None = None,
) -> list[Task[Any]]:
    """Those of the tasks that a model of these kinds can answer (see `unanswerable`), on their data under a root.

    A task whose data cannot be read is one of them: its run says what is wrong.
    """

    def answered(task: Task[Any]) -> bool:
        try:
            samples = [sample for name in splits_of(task, split) for sample in load(task, root, name)]
        except HarnessError:
            return True
        return not unanswerable(kinds, (sample.question for sample in samples), known)

    return [task for task in tasks if answered(task)]


def spec_of(task: Task[Any], split: str, source: DataSource, model: str, fingerprint: str, **more: Any) -> RunSpec:
    """The RunSpec of a task's split on this data; `more` are `protocol`, `limit` and `seed`."""
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
    request: Request, entry: Entry | None, model: Model, task: Task[Any], split: str, loaded: Loaded,
    source: DataSource, facts: Mapping[str, Any],
) -> Evaluated:  # fmt: skip
    """One run: resumed, queried or returned as it is, and exported where the request says so.

    `facts` of the data go into the record.
    """
    seen = zero_shot.seen(task, *_checkpoint(request, entry))
    default = entry.protocol if entry is not None else "zero_shot"
    if entry is not None and entry.shots_of(request.options):
        protocol = "few_shot"
    else:
        protocol = _protocol(task, request.protocol, default, seen)
    spec = spec_of(
        task, split, source, request.called(entry), model.fingerprint,
        protocol=protocol, limit=request.limit, seed=request.seed,
    )  # fmt: skip
    folder = RunFolder(store.run_folder(request.out, spec))
    folder.inherit(spec)
    before = None if request.fresh else folder.read_run()
    record = {**provenance(request.command), "seen": seen.said(), **source.described(), **facts}
    record |= _origin(request, entry, task if source.dataset is None else None)
    if request.shard is not None:
        return _asked(request, model, task, loaded, spec, folder, source.image_root, record)
    queried_before = before is not None and before.finished
    if not queried_before and request.spread is None and "parameters" in model.provenance:  # a network of this process
        record["cost"] = cost.of_query(model, loaded.samples[0].question)
    run = runner.run(task, loaded.samples, model, spec, folder, source.image_root, record, fresh=request.fresh)
    exported = None
    if request.export is not None and run.finished:
        exported = _export(task, loaded, folder, spec.fingerprint, request.export / f"{task.name}_{split}")
    return Evaluated(run, folder, before is not None and run == before, exported)


def _asked(
    request: Request, model: Model, task: Task[Any], loaded: Loaded, spec: RunSpec, folder: RunFolder, root: Path,
    record: Mapping[str, Any],
) -> Evaluated:  # fmt: skip
    """The run of one shard, whose answers `merge` joins with those of the others."""
    shard = folder.shard(request.shard.folder if request.shard is not None else "")
    before = None if request.fresh else shard.read_run()
    record = {**record, "shard": str(request.shard)}
    run = runner.ask(loaded.samples, model, spec, shard, root, record, task.headline, fresh=request.fresh)
    return Evaluated(run, shard, before is not None and run == before)


def _origin(request: Request, entry: Entry | None, task: Task[Any] | None) -> dict[str, Any]:
    """The names of the model and the task in a record's provenance, from which both can be found again.

    `task` is None for one of the user's own data set, whose dataset.toml the record names.
    """
    origin: dict[str, Any] = {}
    if entry is not None:
        origin["entry"] = entry.name
        if isinstance(request.model, str):
            origin |= baselines.origin_of(entry, request.model)
    if request.weights is not None:
        origin["weights from"] = request.weights
    elif entry is not None and "/" in entry.repo:
        origin["weights revision"] = f"{entry.repo}@{entry.revision}"
    if isinstance(request.task, str) and task is not None:
        names = request.task.split(",")
        origin |= tasks.origin_of(task, next((name for name in names if ":" in name), request.task))
    return origin


def _checkpoint(request: Request, entry: Entry | None) -> tuple[Path | None, Path | None]:
    """The checkpoint folder and that of its base model if it is an adapter.

    Their training histories name the data the weights were trained on.  None without such a folder.
    """
    if entry is None or entry.checkpoint is None:
        return None, None
    folder = entry.checkpoint(request.weights)
    return folder, entry.base(folder) if entry.base is not None and is_adapter(folder) else None


def _protocol(task: Task[Any], requested: str | None, default: str, seen: zero_shot.Seen) -> str:
    """The protocol of a run: the requested one, else `fine_tuned` for weights trained on the task, else `default`.

    UsageError where the requested protocol contradicts the training history of the weights.
    """
    if requested == "zero_shot" and seen.splits:
        raise UsageError(f"--protocol zero_shot: these weights were {seen.said()}; leave --protocol out")
    if requested == "fine_tuned" and seen.known and not seen.splits and task.train_splits:
        raise UsageError(f"--protocol fine_tuned: these weights were {seen.said()}; run `finetune` first")
    return requested or ("fine_tuned" if seen.splits else default)


def _export(task: Task[Any], loaded: Loaded, folder: RunFolder, fingerprint: str, to: Path) -> Path:
    """Writes the answers in the official result format and returns the path: a file, or a folder of files."""
    to.parent.mkdir(parents=True, exist_ok=True)
    path = to if task.predictions.folder else to.with_name(f"{to.name}{task.predictions.ending}")
    write_predictions(path, task, loaded, runner.kept_answers(loaded.samples, folder, fingerprint))
    return path


def write_predictions(path: Path, task: Task[Any], loaded: Loaded, answers: Mapping[str, Answer]) -> int:
    """Writes answers as a task's official result file; returns the number of entries without an answer.

    An excluded sample gets an empty prediction, because official evaluators want every sample.  Such a file is read
    again, under the condition of VQA's official loader: exactly one entry for each sample.  DataError where an answer
    is missing.
    """
    empty = [Row(sample, Answer(("",), None), Score({}, readable=False)) for sample in loaded.excluded]
    task.predictions.write(path, [*runner.answered(loaded.samples, answers), *empty])
    if empty:
        task.predictions.read(path, [replace(sample, excluded="") for sample in loaded.all])
    return len(empty)
