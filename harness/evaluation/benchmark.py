"""A benchmark point: a model on a task's questions, measured by the rules of `harness.speed`, as a record."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

import tasks
from baselines import Entry, Setting
from harness.errors import HarnessError, ResourceError, UsageError
from harness.evaluation.plan import data_root, load, splits_of
from harness.provenance import provenance

if TYPE_CHECKING:
    from harness.speed.levels import Level
    from harness.speed.systems import Queries, Subject

BATCHES = 3  # in a round of an offline comparison
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
    """What all points of a sweep share; see the options of `bench`."""

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


def measure(plan: Plan, point: Point, command: Sequence[str]) -> dict[str, Any]:
    """The record of a point; UsageError for choices that cannot be measured, ResourceError where memory is short."""
    with _enough_memory():
        return _measured(plan, point, command)


def _measured(plan: Plan, point: Point, command: Sequence[str]) -> dict[str, Any]:
    import torch

    from harness.speed import bench as rules
    from harness.speed import levels
    from harness.speed.meters import device_name
    from harness.speed.scenarios import ask
    from harness.speed.systems import PEERS, RANDOM, Ours, Peer, in_fewer_bits

    for name in plan.against:
        if name not in PEERS:
            raise UsageError(f"--against {name}: one of {', '.join(PEERS)}")
    chosen = levels.find(plan.level)
    if plan.against and chosen.rounds < rules.TOO_FEW_ROUNDS:
        log.warning("comparisons will be INVALID: the %d rounds of %s have no interval", chosen.rounds, chosen.name)
    if point.batch_size is None and plan.scenario == "single_stream":
        point = replace(point, batch_size=1)
    subject, queries, told = prepare(plan, point)
    slots = min(subject.batch, len(queries)) if plan.scenario != "server" else subject.batch
    ours = Ours(subject.model, subject.preprocess, subject.decoding, queries, slots)
    with tqdm(desc=f"{plan.scenario}, {point.task}", unit=" queries", disable=None) as bar:
        measured = rules.measure(
            ours,
            len(queries),
            plan.scenario,
            chosen,
            subject.device,
            target=plan.target,
            rate=plan.rate,
            tick=lambda done: bar.update(done - bar.n),
        )
    batch = [place % len(queries) for place in range(ours.engine.slots)]
    # Offline, a round has several batches, so that finished sequences free their slots for waiting ones.
    size = len(batch) * (BATCHES if plan.scenario == "offline" else 1)
    asked = [[(first + place) % len(queries) for place in range(size)] for first in range(0, len(queries), size)]
    record: dict[str, Any] = {
        "device": device_name(subject.device),
        "model": plan.entry.name,
        "weights": subject.sha256,
        "set": queries.about,
        "settings": {
            "task": point.task if plan.weights != RANDOM else "",
            "batch size": len(batch),
            "beams": subject.decoding.beams,
            "dtype": str(subject.dtype).removeprefix("torch."),
            "resolution": f"{subject.preprocess.width}x{subject.preprocess.height}",
            "new tokens": subject.decoding.min_new_tokens,
            "threads": torch.get_num_threads(),
            "rate": plan.rate,
            "target s": plan.target,
        },
        **measured.record(),
    }
    if plan.stages:
        record |= _staged(subject, queries, len(batch), chosen, round(measured.throughput["tokens an answer"]))
    record["against"] = {}
    for name in plan.against:
        whole = subject.model
        if in_fewer_bits(whole):
            whole = subject.in_full().to(subject.device, subject.model.vision.dtype)
        try:
            peer = Peer(name, whole, subject.preprocess, subject.decoding, queries, len(batch))
            for some in asked if name == "transformers-compile" else asked[:1]:  # every length is compiled by itself
                ask(peer, some)
        except (
            RuntimeError,
            TypeError,
            ValueError,
            AttributeError,
        ) as error:  # an error of the peer's; ours does not run here
            record["against"][name] = {"cannot run": (str(error).splitlines() or [repr(error)])[0]}
        else:
            record["against"][name] = asdict(rules.beside(ours, peer, name, asked, chosen.rounds, subject.device))
    record["provenance"] = provenance(command, **told, load=os.getloadavg())
    return record


def prepare(plan: Plan, point: Point) -> tuple[Subject, Queries, dict[str, Any]]:
    """The model, the queries with their images opened, and what a record says of the model."""
    from harness.speed.systems import RANDOM, Request

    entry = plan.entry
    if entry.bench is None:
        raise ValueError(f"{entry.name} has no bench")
    options = entry.options_from(point.options)
    setting = Setting(weights=plan.weights, device=plan.device, dtype=point.dtype, batch_size=point.batch_size)
    entry.check(setting, options)
    if plan.weights == RANDOM:
        asked = Request(images=point.images, new_tokens=plan.new_tokens)
    else:
        name, root = data_root(plan.data, entry.name, embedded=entry.embedded)
        [task] = tasks.select(point.task)
        [part] = splits_of(task, plan.split)
        by_image = {sample.question.image: sample.question for sample in load(task, root, part)}
        questions = list(by_image.values())[: point.images]  # one for an image
        about = f"{len(questions)} of {name}, {task.name} {part}"
        asked = Request(questions=questions, about=about, new_tokens=plan.new_tokens)
        setting = replace(setting, root=root)
    prepared: tuple[Subject, Queries, dict[str, Any]] = entry.bench(setting, options, asked)
    return prepared


def _staged(subject: Subject, queries: Queries, batch: int, level: Level, tokens: int) -> dict[str, Any]:
    """What a record says of stages and ceilings."""
    from harness.florence2.fast.quantised import HalfLinear
    from harness.speed import ceilings
    from harness.speed.bench import beside_floors
    from harness.speed.stages import staged

    found = staged(
        subject.model, subject.preprocess, subject.decoding, queries, batch, level.rounds,
        opening=queries.opening, parsing=queries.parsing,
    )  # fmt: skip
    most, size = ceilings.measured(subject.device, subject.dtype), subject.dtype.itemsize
    work = ceilings.counted(
        subject.model.config,
        batch=batch,
        beams=subject.decoding.beams,
        side=subject.preprocess.width,
        prompt=max(map(len, queries.prompts)),
        written=tokens,
        size=size,
        text_size=1 if size == 1 else subject.model.embedding.weight.element_size(),
        writing_size=2 if isinstance(subject.model.lm_head, HalfLinear) else 0,
    )
    return {
        "stages": {"batch": batch, "steps": found.steps, "lines": beside_floors(found, work, most)},
        "ceilings": asdict(most),
    }


@contextmanager
def _enough_memory() -> Iterator[None]:
    """Turns out-of-memory errors outside the engine (stages are timed apart) into a ResourceError of one line."""
    from harness.florence2.decoding.engine import is_out_of_memory

    try:
        yield
    except HarnessError:
        raise
    except Exception as error:  # devices and libraries have their own types for out of memory
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            "this point does not fit in memory: try a smaller --batch-size, fewer --beams, or --no-stages"
        ) from error
