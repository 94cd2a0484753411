"""A cluster of models on Ray: a `core.Model` whose questions go to actors, one for each GPU.

The driver holds the queue (`dispatcher.Dispatcher`).  Actors restart without limit and repeat no task by themselves:
what a dead or silent actor held is dealt again by the driver, and the first answer to a question counts.  So answers
are stored exactly once, whatever Ray repeats or loses.  `ray.wait` in a loop, no ActorPool: its iteration ends at the
first error (ray-project/ray issue 22978).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness import images
from harness.cluster.connection import Spread as Spread
from harness.cluster.connection import connect as connect
from harness.cluster.connection import connected as connected
from harness.cluster.connection import reason_of, resources
from harness.cluster.dispatcher import Chunk, Dispatcher
from harness.cluster.worker import Factory, Facts, Lacking, Root, Worker, versions
from harness.core import Answer, Failure, Question, Ticket
from harness.errors import ModelError, ResourceError

log = logging.getLogger(__name__)
START = 600.0  # seconds for the first worker to load its model
CLOSE = 3.0  # seconds for workers to remove shipped images
TICK = 0.5  # seconds between looks at the clock
HOPELESS = 3  # deaths for each worker before any answer, after which the model itself is at fault


@dataclass(eq=False, slots=True)
class _Actor:
    """A worker by name; what is known of it; the calls under way."""

    name: str
    handle: Any
    facts: Facts | None = None
    checked: bool = False
    call: Any = None  # the ObjectRef under way
    chunk: Chunk | None = None  # that of the call; None: it gets ready, is checked, or its chunk is of an earlier task
    ended: tuple[str, int] = ("", 0)  # host and process that are being killed; they may still answer for a moment
    failed_starts: int = 0  # since it was last ready
    refused: str = ""


@dataclass(slots=True)
class _Told:
    """Counts of all tasks, for the record."""

    chunks: int = 0
    twice: int = 0
    restarts: int = 0
    shipped: int = 0  # images
    refused: list[str] = field(default_factory=list)


class RayCluster:
    """Models on Ray actors as one Model.  Close it, or use it in a `with` statement."""

    def __init__(self, factory: Factory, spread: Spread, root: Path, own: Root | None = None) -> None:
        """Starts the workers and waits for the first to load its model.

        `factory` and `own` must be picklable; `root` is where the driver reads images that are shipped, and `own` says
        where a worker looks for a copy on its machine.  ResourceError where the
        cluster cannot be reached or is too small; the error of the factory where no worker can build the model.
        """
        self._ray, self._owns_cluster = connect(spread.address, spread.workers)
        self._spread, self._root = spread, root
        self._digest: Callable[[], str] | None = None
        self._expected = ""
        self._told = _Told()
        self._actors: list[_Actor] = []
        self._last_death = ""
        try:
            count, gpus = resources(self._ray.cluster_resources(), spread)
            options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": 0}
            kind = self._ray.remote(Worker).options(**options)
            for number in range(1, count + 1):
                handle = kind.remote(factory, ships_images=spread.ship_images, own=own)
                self._actors.append(_Actor(f"worker {number}", handle))
            self._first = self._wait_for_first()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RayCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def fingerprint(self) -> str:
        """That of every worker's model."""
        return self._first.must_agree["fingerprint"]

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The facts of the first worker's model, and those of the cluster."""
        known = [actor.facts for actor in self._actors if actor.facts is not None and not actor.refused]
        return {
            **self._first.provenance,
            "executor": {
                "ray": self._ray.__version__,
                "workers": len(known),
                "hosts": dict(Counter(facts.host for facts in known)),
                "devices": dict(Counter(facts.device for facts in known)),
                "chunks": self._told.chunks,
                "restarts": self._told.restarts,
                "answered twice": self._told.twice,
                **({"images shipped": self._told.shipped} if self._spread.ship_images else {}),
                **({"refused": self._told.refused[:10]} if self._told.refused else {}),
            },
        }

    @property
    def processes(self) -> list[int]:
        """The process ids of the workers that are ready, each on its own host."""
        return [actor.facts.process for actor in self._actors if actor.facts is not None and not actor.refused]

    def wait_for_all(self) -> None:
        """Waits until every worker is ready or refused; ResourceError where that takes too long."""
        deadline, nothing = time.monotonic() + START, Dispatcher(())
        while waiting := [actor.name for actor in self._actors if actor.facts is None and not actor.refused]:
            if time.monotonic() > deadline:
                raise ResourceError(f"{', '.join(waiting)}: not ready after {START:.0f} s; `ray status` shows why")
            self._feed(nothing)
            list(self._collected(nothing))

    def expect(self, digest: Callable[[], str], expected: str) -> None:
        """From now on, a worker whose data has another digest than `expected` gets no questions.

        `digest` is picklable, and is called on each worker once.
        """
        self._digest, self._expected = digest, expected
        for actor in self._actors:
            actor.checked = False

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One Answer or Failure for every ticket, in any order.

        ModelError where no worker can answer anything, or every worker is refused.
        """
        queue = Dispatcher(
            questions,
            size=self._spread.chunk,
            least=self._first.batch_size if self._spread.chunk is None else 1,
            patience=self._spread.patience,
        )
        for actor in self._actors:
            actor.chunk = None  # of an earlier task, if any: its answers came from another worker
        before = self._told.restarts
        with tqdm(bar_format="{desc}", position=1, leave=False, disable=None) as status:
            while not queue.done:
                self._feed(queue)
                yield from self._collected(queue)
                yield from self._late(queue)
                if not queue.counts.answers and self._told.restarts - before > HOPELESS * len(self._actors):
                    raise ModelError(f"no worker has answered anything; the last died of: {self._last_death}")
                status.set_description_str(self._status(queue))
        self._told.chunks += queue.counts.chunks
        self._told.twice += queue.counts.twice

    def close(self) -> None:
        """Ends the workers, and a cluster that was started for them."""
        if self._spread.ship_images:
            closing = [actor.handle.close.remote() for actor in self._actors if actor.facts is not None]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE)
        for actor in self._actors:
            with suppress(Exception):
                self._ray.kill(actor.handle)
        if self._owns_cluster:
            self._ray.shutdown()

    def _wait_for_first(self) -> Facts:
        """The facts of the first worker that is ready; errors of the factory are raised."""
        deadline = time.monotonic() + START
        for actor in self._actors:
            actor.call = actor.handle.ready.remote()
        with tqdm(desc=f"loading on {len(self._actors)} workers", bar_format="{desc} {elapsed}", disable=None) as bar:
            while time.monotonic() < deadline:
                calls = {actor.call: actor for actor in self._actors if actor.call is not None}
                for ref in self._ready(calls, TICK):
                    actor, actor.call = calls[ref], None
                    try:
                        facts: Facts = self._ray.get(ref)
                    except self._ray.exceptions.RayTaskError as error:
                        raise _cause(error) from None
                    except self._ray.exceptions.RayError as error:
                        self._start_failed(actor, error)
                        continue
                    if self._accept(actor, facts, {**versions(), "fingerprint": facts.must_agree["fingerprint"]}):
                        return facts
                if all(actor.refused for actor in self._actors):
                    raise ModelError(f"every worker was refused; the first: {self._told.refused[0]}")
                bar.refresh()
        raise ResourceError(f"no worker was ready after {START:.0f} s; `ray status` shows what the cluster has free")

    def _accept(self, actor: _Actor, facts: Facts, expected: Mapping[str, str]) -> bool:
        """Whether a worker agrees with the driver; it is refused, by name and with the reason, where it does not."""
        for name, value in expected.items():
            if facts.must_agree.get(name) != value:
                self._refuse(actor, facts.host, f"{name} is {facts.must_agree.get(name)!r}; the driver's is {value!r}")
                return False
        actor.facts, actor.failed_starts = facts, 0
        return True

    def _refuse(self, actor: _Actor, host: str, reason: str) -> None:
        actor.refused = f"{actor.name} on {host}: {reason}"
        self._told.refused.append(actor.refused)
        log.error("%s; it gets no questions", actor.refused)

    def _feed(self, queue: Dispatcher) -> None:
        """Gives every idle worker its next call."""
        usable = [actor for actor in self._actors if not actor.refused]
        if not usable:
            raise ModelError(f"every worker was refused; the first: {self._told.refused[0]}")
        for actor in usable:
            if actor.call is not None:
                continue
            if actor.facts is None:
                actor.call = actor.handle.ready.remote()
            elif not actor.checked and self._digest is not None:
                actor.call = actor.handle.check.remote(self._digest)
            elif (chunk := queue.take(actor.name, len(usable), time.monotonic())) is not None:
                actor.chunk = chunk
                if self._spread.ship_images:
                    actor.call = actor.handle.lacking.remote(self._hashes(chunk))
                else:
                    actor.call = actor.handle.answer.remote(list(chunk.questions), {})

    def _hashes(self, chunk: Chunk) -> dict[str, str]:
        """The sha256 of a chunk's images by name."""
        names = dict.fromkeys(question.image_name for _, question in chunk.questions if question.image_name)
        return {name: hashlib.sha256(data).hexdigest() for name, data in self._images(names).items()}

    def _images(self, names: Iterable[str]) -> dict[str, bytes]:
        """The bytes of images by name; an unreadable one is left out, for the worker to report."""
        found: dict[str, bytes] = {}
        for name in names:
            with suppress(images.BadImage):
                found[name] = images.read_bytes(self._root, name)
        return found

    def _ship(self, actor: _Actor, chunk: Chunk, lacking: Lacking) -> None:
        """Sends a chunk with the images that the worker lacks; ResourceError where Ray has no room for them."""
        shipped = self._images(lacking.names)
        try:
            actor.call = actor.handle.answer.remote(list(chunk.questions), shipped, lacking.own)
        except (self._ray.exceptions.ObjectStoreFullError, self._ray.exceptions.OutOfDiskError) as error:
            size = sum(map(len, shipped.values())) / (1 << 20)
            raise ResourceError(
                f"Ray's object store and its disk have no room for the {size:.0f} MiB of a chunk's {len(shipped)} "
                "images: free the disk, give the cluster a larger --object-store-memory, or share the data with workers"
            ) from error
        actor.chunk = chunk
        self._told.shipped += len(shipped)

    def _collected(self, queue: Dispatcher) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """The answers that have come; takes note of deaths and of workers that got ready."""
        calls = {actor.call: actor for actor in self._actors if actor.call is not None}
        for ref in self._ready(calls, TICK):
            actor, actor.call = calls[ref], None
            chunk, actor.chunk = actor.chunk, None
            try:
                result = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:
                if actor.facts is None:
                    self._start_failed(actor, error)
                    continue
                self._restart(actor, reason_of(error), kill=isinstance(error, self._ray.exceptions.RayTaskError))
                yield from queue.lost(actor.name, self._last_death)
                continue
            if isinstance(result, Facts):
                if (result.host, result.process) == actor.ended:
                    continue
                self._accept(actor, result, {**versions(), "fingerprint": self.fingerprint})
            elif isinstance(result, Lacking):
                if chunk is not None:
                    self._ship(actor, chunk, result)
            elif isinstance(result, str):
                actor.checked = True
                if result != self._expected and actor.facts is not None:
                    said = f"its data has the digest {result[:12]}; the driver's is {self._expected[:12]}"
                    self._refuse(actor, actor.facts.host, said)
            elif chunk is not None:  # else of an earlier task, whose questions have their answers
                yield from queue.finished(actor.name, result, time.monotonic())

    def _late(self, queue: Dispatcher) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """Restarts workers that are silent for too long."""
        late = queue.overdue(time.monotonic())
        for actor in self._actors:
            if actor.name in late:
                actor.call = actor.chunk = None
                self._restart(actor, f"silent for more than {self._spread.patience:.0f} s", kill=True)
                yield from queue.lost(actor.name, self._last_death)

    def _ready(self, calls: Mapping[Any, _Actor], timeout: float) -> list[Any]:
        """The calls that have ended, at least one of them within the time."""
        if not calls:
            time.sleep(timeout)
            return []
        waiting = list(calls)
        first, rest = self._ray.wait(waiting, num_returns=1, timeout=timeout)
        more, _ = self._ray.wait(rest, num_returns=len(rest), timeout=0) if rest else ([], [])
        return [*first, *more]

    def _restart(self, actor: _Actor, reason: str, *, kill: bool = False) -> None:
        """Takes note of a worker's death; ends it first where it is alive, so that Ray starts it anew."""
        host = actor.facts.host if actor.facts is not None else "a host not known yet"
        log.warning("%s on %s: %s; it is started again, and its questions are dealt again", actor.name, host, reason)
        self._last_death = reason
        if kill:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor.handle, no_restart=False)
        if actor.facts is not None:
            actor.ended = actor.facts.host, actor.facts.process
        actor.facts, actor.checked = None, False
        self._told.restarts += 1

    def _start_failed(self, actor: _Actor, error: Exception) -> None:
        """Takes note of a worker that did not get ready; refuses it where that happens again and again.

        A worker that Ray is still starting is asked again.
        """
        if isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return
        actor.failed_starts += 1
        if actor.failed_starts > HOPELESS:
            self._refuse(actor, "a host not known yet", f"it dies while it loads the model: {reason_of(error)}")
        else:
            self._restart(actor, reason_of(error), kill=isinstance(error, self._ray.exceptions.RayTaskError))

    def _status(self, queue: Dispatcher) -> str:
        """Workers, questions in flight and rates, in one line."""
        rates = queue.rates()
        busy = sum(actor.chunk is not None for actor in self._actors)
        each = ", ".join(f"{name.split()[1]}: {rate:.1f}/s" for name, rate in itertools.islice(rates.items(), 8))
        return (
            f"{busy} of {len(self._actors)} workers busy, {queue.in_flight} in flight, {self._told.restarts} restarts; "
            f"{sum(rates.values()):.1f}/s ({each})"
        )


def _cause(error: Any) -> BaseException:
    """The exception that was raised on the worker."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else ModelError(reason_of(error))
