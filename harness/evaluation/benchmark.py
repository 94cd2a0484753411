"""The record of a benchmark point: a model on a task's questions, measured by the rules of `harness.speed`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import Entry, Setting
from harness.core import Question
from harness.errors import HarnessError, ResourceError, UsageError
from harness.evaluation.cluster_bench import measured_on_workers
from harness.evaluation.evaluate import unanswerable
from harness.evaluation.plan import data_root, load, named, splits_of
from harness.progress import counted
from harness.provenance import provenance

if TYPE_CHECKING:
    from harness.cluster.ray_cluster import Spread
    from harness.speed.levels import Level
    from harness.speed.remote import Remote
    from harness.speed.runtimes import RuntimePeer
    from harness.speed.systems import Ours, Queries, Subject

BATCHES_PER_ROUND = 3  # of an offline comparison with a peer
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Point:
    """What differs between the points of a sweep: the task, the number of images, and settings of the model."""

    task: str
    images: int
    batch_size: int | None = None
    dtype: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What all points of a sweep share; the help of `bench` describes each field."""

    entry: Entry
    scenario: str
    split: str | None = None
    data: str | None = None
    weights: str | None = None
    level: str = "default"
    new_tokens: int | None = None
    device: str | None = None
    against: Sequence[str] = ()
    rate: float | None = None
    target: float | None = None
    stages: bool = True
    spread: Spread | None = None


def measure(plan: Plan, point: Point, command: Sequence[str]) -> dict[str, Any]:
    """The record of a point: latency or throughput, stages with their floors, and the ratio to each peer.

    UsageError for settings that cannot be measured, ResourceError where memory is short.
    """
    with _enough_memory():
        if plan.spread is not None:
            _, questions, about = _questions(plan, point)
            return measured_on_workers(plan, point, plan.spread, questions, about, command)
        return _measured(plan, point, command) if plan.entry.bench else _measured_whole(plan, point, command)


def _measured_whole(plan: Plan, point: Point, command: Sequence[str]) -> dict[str, Any]:
    """The record of a model without a `bench` hook: from decoded images to values, without stages and peers.

    UsageError for settings that need the hook.
    """
    import torch

    from harness.speed import bench as rules
    from harness.speed import levels
    from harness.speed.meters import device_name
    from harness.speed.models import WholeModel, decoded
    from harness.speed.systems import RANDOM

    entry = plan.entry
    for option, given in (
        ("--against", plan.against), ("--new-tokens", plan.new_tokens), ("--weights random", plan.weights == RANDOM),
    ):  # fmt: skip
        if given:
            raise UsageError(f"{option}: for Florence-2 only; {entry.name} is measured as a whole")
    if entry.sees_targets:
        raise UsageError(f"{entry.name} answers with the targets: there is no time to measure")
    options = entry.options_from(point.options)
    batch = point.batch_size or (1 if plan.scenario == "single_stream" else None)
    taken = batch if "batch_size" in entry.uses else None
    setting = Setting(weights=plan.weights, device=plan.device, dtype=point.dtype, batch_size=taken)
    entry.check(setting, options)
    root, questions, about = _questions(plan, point)
    model = entry.build(replace(setting, root=root), options)
    size = batch or int(model.provenance.get("batch size", len(questions)))
    system = WholeModel(model, decoded(root, questions), size)
    device = torch.device(model.provenance.get("device", "cpu"))
    with counted(f"{plan.scenario}, {point.task}", "queries") as tick:
        measured = rules.measure(
            system,
            len(questions),
            plan.scenario,
            levels.find(plan.level),
            device,
            target=plan.target,
            rate=plan.rate,
            tick=tick,
        )
    return {
        "device": device_name(device),
        "model": entry.name,
        "weights": model.provenance.get("weights sha256", ""),
        "set": about,
        "settings": {
            "task": point.task,
            "batch size": size,
            "beams": 0,
            "dtype": model.provenance.get("precision", ""),
            "resolution": "",
            "new tokens": 0,
            "threads": torch.get_num_threads(),
            "rate": plan.rate,
            "target s": plan.target,
        },
        **measured.record(),
        "against": {},
        "provenance": provenance(command, **model.provenance, load=os.getloadavg()),
    }


def _measured(plan: Plan, point: Point, command: Sequence[str]) -> dict[str, Any]:
    from harness.florence2.exported.runtimes import RUNTIMES
    from harness.speed import bench as rules
    from harness.speed import levels
    from harness.speed.meters import device_name
    from harness.speed.remote import Remote
    from harness.speed.runtimes import build
    from harness.speed.systems import PEERS, Ours

    for name in plan.against:
        if name not in (*PEERS, *RUNTIMES):
            raise UsageError(f"--against {name}: one of {', '.join((*PEERS, *RUNTIMES))}")
    level = levels.find(plan.level)
    if plan.against and level.rounds < rules.TOO_FEW_ROUNDS:
        log.warning("comparisons will be INVALID: the %d rounds of %s have no interval", level.rounds, level.name)
    if point.batch_size is None and plan.scenario == "single_stream":
        point = replace(point, batch_size=1)
    subject, queries, described = prepare(plan, point)
    if isinstance(subject, Remote):
        return _measured_remote(plan, point, command, subject, described)
    slots = min(subject.batch, len(queries)) if plan.scenario != "server" else subject.batch
    runtimes = {name: build(name, subject, queries, slots) for name in plan.against if name in RUNTIMES}
    ours = Ours(subject.model, subject.preprocess, subject.decoding, queries, slots)
    with counted(f"{plan.scenario}, {point.task}", "queries") as tick:
        measured = rules.measure(
            ours,
            len(queries),
            plan.scenario,
            level,
            subject.device,
            target=plan.target,
            rate=plan.rate,
            tick=tick,
        )
    slots = ours.engine.slots  # the engine lowers the number where memory is short
    record: dict[str, Any] = {
        "device": device_name(subject.device),
        "model": plan.entry.name,
        "weights": subject.sha256,
        "set": queries.about,
        "settings": _settings(plan, point, subject, slots),
        **measured.record(),
    }
    if plan.stages:
        record |= _staged(subject, queries, slots, level, round(measured.throughput["tokens an answer"]))
    record["against"] = {
        name: _versus_runtime(name, runtimes[name], plan, ours, subject, queries, slots, level)
        if name in runtimes
        else _versus(name, plan, ours, subject, queries, slots, level)
        for name in plan.against
    }
    record["provenance"] = provenance(command, **described, load=os.getloadavg())
    return record


def _measured_remote(
    plan: Plan, point: Point, command: Sequence[str], system: Remote, described: Mapping[str, Any]
) -> dict[str, Any]:
    """The record of a model on another machine: no stages and no peers; with the time to the first text.

    After a search for the highest rate there is no time to the first text, since the rate that counts is not the last.
    """
    import torch

    from harness.speed import bench as rules
    from harness.speed import levels

    if plan.against:
        system.close()
        raise UsageError(f"--against {','.join(plan.against)}: a model on another machine has no peers here")
    try:
        with counted(f"{plan.scenario}, {point.task}", "queries") as tick:
            measured = rules.measure(
                system,
                system.queries,
                plan.scenario,
                levels.find(plan.level),
                torch.device("cpu"),
                target=plan.target,
                rate=plan.rate,
                tick=tick,
                repeatable=False,
            )
    finally:
        system.close()
    record = measured.record()
    if plan.scenario != "server" or plan.rate is not None:
        first = system.first_text(measured.queries)
        record["latency s"] |= {name: asdict(estimate) for name, estimate in first.items()}
    settings = {
        "task": point.task, "batch size": system.most, "beams": 1, "dtype": "of the server", "resolution": "as sent",
        "new tokens": None, "rate": plan.rate, "target s": plan.target,
    }  # fmt: skip
    return {
        "device": system.server, "model": plan.entry.name, "weights": system.served, "set": system.about,
        "settings": settings, **record, "against": {},
        "provenance": provenance(command, **described, load=os.getloadavg()),
    }  # fmt: skip


def _settings(plan: Plan, point: Point, subject: Subject, slots: int) -> dict[str, Any]:
    """The settings in a record: what tables and figures tell points apart by."""
    import torch

    from harness.speed.systems import RANDOM

    backend = subject.model.backend
    return {
        "task": point.task if plan.weights != RANDOM else "",
        "batch size": slots,
        "beams": subject.decoding.beams,
        "dtype": str(subject.dtype).removeprefix("torch.") + (f" ({backend})" if backend else ""),
        "resolution": f"{subject.preprocess.width}x{subject.preprocess.height}",
        "new tokens": subject.decoding.min_new_tokens,
        "threads": torch.get_num_threads(),
        "rate": plan.rate,
        "target s": plan.target,
    }


def _versus(
    peer_name: str, plan: Plan, ours: Ours, subject: Subject, queries: Queries, slots: int, level: Level
) -> dict[str, Any]:
    """The comparison with a peer, interleaved in this process; {"cannot run": message} where the peer raises an error.

    Offline, a round has several batches, so that finished sequences free their slots for waiting ones.
    """
    from harness.speed import bench as rules
    from harness.speed.scenarios import ask
    from harness.speed.systems import Peer, in_fewer_bits

    rounds = _rounds(plan, queries, slots)
    model = subject.model
    if in_fewer_bits(model) or model.backend:
        model = subject.in_full().to(subject.device, model.vision.dtype)
    try:
        peer = Peer(peer_name, model, subject.preprocess, subject.decoding, queries, slots)
        # Warm-up outside the timed rounds: transformers-compile compiles every length separately.
        for batch in rounds if peer_name == "transformers-compile" else rounds[:1]:
            ask(peer, batch)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:  # of the peer: no code of ours runs here
        return {"cannot run": (str(error).splitlines() or [repr(error)])[0]}
    return asdict(rules.versus(ours, peer, peer_name, rounds, level.rounds, subject.device))


def _versus_runtime(
    name: str, peer: RuntimePeer, plan: Plan, ours: Ours, subject: Subject, queries: Queries, slots: int, level: Level
) -> dict[str, Any]:
    """The comparison with a runtime: the whole answer, its parts, and the settings of the peer."""
    from harness.speed import bench as rules
    from harness.speed.runtimes import parts

    rounds = _rounds(plan, queries, slots)
    whole = asdict(rules.versus(ours, peer.system, name, rounds, level.rounds, subject.device))
    return {**whole, "runtime": peer.described, "parts": parts(peer, subject, queries, slots, level.rounds)}


def _rounds(plan: Plan, queries: Queries, slots: int) -> list[list[int]]:
    """The queries of each round of a comparison."""
    size = slots * (BATCHES_PER_ROUND if plan.scenario == "offline" else 1)
    return [[(first + place) % len(queries) for place in range(size)] for first in range(0, len(queries), size)]


def prepare(plan: Plan, point: Point) -> tuple[Subject, Queries, dict[str, Any]]:
    """The model, the queries with their images opened, and the model's provenance for the record.

    ValueError for an entry without a `bench` hook.
    """
    from harness.speed.systems import RANDOM, Request

    entry = plan.entry
    if entry.bench is None:
        raise ValueError(f"{entry.name} has no bench")
    options = entry.options_from(point.options)
    setting = Setting(weights=plan.weights, device=plan.device, dtype=point.dtype, batch_size=point.batch_size)
    entry.check(setting, options)
    if plan.weights == RANDOM:
        request = Request(images=point.images, new_tokens=plan.new_tokens)
    else:
        root, questions, about = _questions(plan, point)
        request = Request(questions=questions, about=about, new_tokens=plan.new_tokens)
        setting = replace(setting, root=root)
    prepared: tuple[Subject, Queries, dict[str, Any]] = entry.bench(setting, options, request)
    return prepared


def _questions(plan: Plan, point: Point) -> tuple[Path, list[Question], str]:
    """The data root, one question about each of the first images of a task, and what the set is called in records.

    UsageError where several tasks or splits are named.
    """
    name, root = data_root(plan.data, plan.entry.name, embedded=plan.entry.embedded)
    [task, *other_tasks] = named(point.task, plan.data)
    [split, *other_splits] = splits_of(task, plan.split)
    if other_tasks or other_splits:
        raise UsageError(f"--task {point.task} --split {plan.split}: a point is of one task and one split")
    by_image = {sample.question.image: sample.question for sample in load(task, root, split)}
    if reason := unanswerable(plan.entry.answers(point.options), by_image.values()):
        raise UsageError(f"{plan.entry.name} cannot be measured on {task.name}: it {reason}")
    questions = list(by_image.values())[: point.images]
    return root, questions, f"{len(questions)} of {name}, {task.name} {split}"


def _staged(subject: Subject, queries: Queries, batch: int, level: Level, tokens: int) -> dict[str, Any]:
    """The time of each stage with its floor, and the ceilings of the device that the floors follow from.

    `tokens` is the mean number of tokens of an answer.
    """
    from harness.florence2.fast.quantised import HalfLinear, ShortlistHead
    from harness.speed import ceilings
    from harness.speed.bench import versus_floors
    from harness.speed.stages import staged

    stages = staged(
        subject.model, subject.preprocess, subject.decoding, queries, batch, level.rounds,
        opening=queries.opening, parsing=queries.parsing,
    )  # fmt: skip
    device_ceilings, size = ceilings.measured(subject.device, subject.dtype), subject.dtype.itemsize
    work = ceilings.counted(
        subject.model.config,
        batch=batch,
        beams=subject.decoding.beams,
        side=subject.preprocess.width,
        prompt=max(map(len, queries.prompts)),
        written=tokens,
        size=size,
        text_size=1 if size == 1 else subject.model.embedding.weight.element_size(),
        writing_size=2 if any(isinstance(part, HalfLinear) for part in subject.model.decoder.modules()) else 0,
        words_size=1 if isinstance(subject.model.lm_head, ShortlistHead) else 0,
    )
    return {
        "stages": {"batch": batch, "steps": stages.steps, "lines": versus_floors(stages, work, device_ceilings)},
        "ceilings": asdict(device_ceilings),
    }


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Turns an out-of-memory error into a ResourceError of one line.

    The engine handles its own; stages and peers run outside the engine.
    """
    from harness.florence2.decoding.engine import is_out_of_memory

    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # each device and library has its own error type for out of memory
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "this point does not fit in memory: try a smaller --batch-size, fewer --beams, or --no-stages"
        ) from error
