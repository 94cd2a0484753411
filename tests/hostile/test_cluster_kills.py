"""A run on a cluster whose workers and nodes die at random: the answers of one process, each stored once.

DEATHS is the number of deaths of each kind.  At most what was in flight is asked twice.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.cluster.ray_cluster import RayCluster, Spread
from harness.core import Answer, Failure, Question, Ticket
from tests import toy
from tests.hostile import DEATHS, SEED
from tests.hostile.nodes import lose_a_node

ray = pytest.importorskip("ray")
CHUNK, PAUSE = 8, 0.01  # questions of a chunk, and seconds for each
PER_DEATH = 120  # questions between two deaths, more or less
ROOM = 256 << 20  # bytes that a worker may allocate


class Mortal(toy.Counting):
    """Logs number and process; at a number in `fatal`, memory is short at first, and then the process is killed."""

    def __init__(self, log: Path, fatal: frozenset[int]) -> None:
        super().__init__(None, PAUSE)
        self.events, self.fatal = log, fatal
        if fatal:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, resource.RLIM_INFINITY))

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            number = int(question.text.split()[1])
            with self.events.open("a") as stream:
                stream.write(f"{number} {os.getpid()}\n")
            if number in self.fatal:
                self._dies(self.events.with_name(f"fatal-{number}"))
            yield from super().answer([(ticket, question)])

    def _dies(self, before: Path) -> None:
        times = before.stat().st_size if before.exists() else 0
        with before.open("a") as stream:
            stream.write(".")
        if times == 0:
            bytearray(4 * ROOM)  # MemoryError
        if times == 1:
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory is short


def mortal(log: Path, fatal: frozenset[int], shipped: Path | None) -> Mortal:
    return Mortal(log, fatal)


@dataclass
class Struck:
    """A cluster as a model: `strike` happens DEATHS times, each a moment after a random number of answers.

    `repair` follows each, before the next.
    """

    cluster: RayCluster
    strike: Callable[[], object]
    repair: Callable[[], object]
    moments: list[int]
    draw: Random
    fingerprint: str = "counting"
    struck: threading.Thread | None = None
    log: Path | None = None
    pause: float = 0.0
    asked: list[str] = field(default_factory=list)

    @property
    def provenance(self) -> dict[str, Any]:
        return dict(self.cluster.provenance)

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for count, answer in enumerate(self.cluster.answer(questions), 1):
            if self.moments and count >= self.moments[0]:
                self.moments.pop(0)
                self._repair()
                self.struck = threading.Thread(target=self._later, args=(self.draw.uniform(0, 2 * CHUNK * PAUSE),))
                self.struck.start()
            yield answer
        self._repair()

    def _repair(self) -> None:
        if self.struck is not None:
            self.struck.join()
            self.repair()

    def _later(self, seconds: float) -> None:
        time.sleep(seconds)
        self.strike()


def signal_to_a_worker(number: int, log: Path, draw: Random) -> None:
    """Sends a signal to one of the last processes that answered, as soon as one is alive."""
    for _ in range(600):
        recent = list(dict.fromkeys(line.split()[1] for line in log.read_text().splitlines()[-10 * CHUNK :]))
        for process in draw.sample(recent, len(recent)):
            state = Path(f"/proc/{process}/stat")
            if state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZXT":
                os.kill(int(process), number)
                return
        time.sleep(0.1)
    raise TimeoutError("no worker was alive for a minute")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["killed worker", "stopped worker", "worker out of memory", "lost node"])
def test_run_survives_deaths_and_stores_every_answer_once(
    kind: str, nodes: Any, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    draw, count, log = Random(f"{SEED}/{kind}"), PER_DEATH * (DEATHS + 1), tmp_path / "asked.log"
    moments = sorted(draw.sample(range(1, count - PER_DEATH), DEATHS))
    strikes: dict[str, Callable[[], object]] = {
        "killed worker": partial(signal_to_a_worker, signal.SIGKILL, log, draw),
        "stopped worker": partial(signal_to_a_worker, signal.SIGSTOP, log, draw),
        "lost node": partial(lose_a_node, nodes, draw),
    }
    fatal = frozenset(moments if kind not in strikes else ())
    task = replace(toy.task(), load=partial(toy.load, count=count))
    alone = toy.go(tmp_path / "alone", toy.Counting(), task_=task)
    began = time.monotonic()
    spread = Spread(workers=2, chunk=CHUNK, patience=3.0)
    with RayCluster(partial(mortal, log, fatal), spread, tmp_path) as cluster:
        repair = partial(nodes.add_node, num_cpus=1) if kind == "lost node" else lambda: None
        model: Any = Struck(cluster, strikes.get(kind, lambda: None), repair, [] if fatal else moments, draw)
        run = toy.go(tmp_path / "spread", model, task_=task)
    seconds = time.monotonic() - began
    assert (run.status, run.metrics, run.counts) == (alone.status, alone.metrics, alone.counts)
    answers = [toy.folder(tmp_path / name, run.spec).path / "answers.jsonl" for name in ("alone", "spread")]
    one, many = (sorted(map(stable, path.read_text().splitlines())) for path in answers)
    assert many == one and len(many) == count
    asked = Counter(line.split()[0] for line in log.read_text().splitlines())
    assert asked.keys() == {str(number) for number in range(count)}
    twice = asked.total() - count
    in_flight = CHUNK * (2 if kind in ("lost node", "worker out of memory") else 1)
    assert twice <= in_flight * DEATHS + 2 * CHUNK  # the last chunks may be given to a second worker
    restarts = run.provenance["model"]["executor"]["restarts"]
    record_property(
        "kills", f"{kind:12} {DEATHS} in {seconds:.0f} s: {restarts} restarts, {twice} of {count} questions asked again"
    )


def stable(line: str) -> str:
    """A stored answer without its time."""
    kept = json.loads(line)
    kept.pop("seconds", None)
    return json.dumps(kept, sort_keys=True)
