"""A run on a cluster whose workers, nodes and driver die at random: the answers of one process, each stored once.

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
from tests.hostile.test_kills import NANO, finish, start

ray = pytest.importorskip("ray")
CHUNK, PAUSE = 8, 0.01  # questions of a chunk, and seconds for each
PER_DEATH = 120  # questions between two deaths, more or less
ROOM = 256 << 20  # bytes that a worker may allocate
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of a head without CPUs and two nodes of one CPU, which notices the death of a node in 1.5 s."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": QUICK})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    ray.init(cluster.address, logging_level="CRITICAL", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


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


def lose_a_node(nodes: Any, draw: Random) -> None:
    """Kills the raylet of a node, which ends the node's workers."""
    nodes.remove_node(draw.choice(list(nodes.worker_nodes)), allow_graceful=False)


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


@pytest.mark.slow
def test_killed_driver_keeps_what_was_stored_and_asks_only_the_rest(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each attempt is killed after a random number of new answers; one process gives the uninterrupted outcome.

    `asked now` of the last attempt is what no earlier attempt had stored.
    """
    draw = Random(f"{SEED}/driver")
    run = ["run", "--task", "refcoco", *NANO, "--limit", "20", "--batch-size", "4", "--beams", "1"]
    on_a_cluster = [*run, "--executor", "ray", "--workers", "2", "--chunk", "4", "--out", str(tmp_path / "killed")]
    finish([*run, "--out", str(tmp_path / "whole")])
    count = len(stored_in(tmp_path / "whole"))
    stored: dict[str, Any] = {}
    kills = 0
    for _ in range(DEATHS):
        process = start(on_a_cluster)
        enough = len(stored) + draw.randint(0, count // (2 * DEATHS))
        while process.poll() is None and len(stored_in(tmp_path / "killed")) <= enough:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
        before, stored = stored, stored_in(tmp_path / "killed")
        assert before.items() <= stored.items()
    finish(on_a_cluster)
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    [record] = (tmp_path / "killed").rglob("run.json")
    if len(stored) < count:
        assert json.loads(record.read_text())["counts"]["asked now"] == count - len(stored)
    record_property("kills", f"{'driver':12} {kills}: {len(stored)} of {count} answers stored before the last start")


def outcome(results: Path) -> Any:
    """The metrics of the only run, and the raw answers by id."""
    [record] = results.rglob("run.json")
    return json.loads(record.read_text())["metrics"], stored_in(results)


def stored_in(folder: Path) -> dict[str, Any]:
    """The raw answers of whole lines by id, each id once."""
    found: dict[str, Any] = {}
    for path in folder.rglob("answers.jsonl"):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                kept = json.loads(line)
                assert kept["id"] not in found
                found[kept["id"]] = kept["raw"]
    return found


@pytest.mark.slow
@pytest.mark.skipif(DEATHS == 1, reason="takes minutes; make hostile sets HOSTILE_DEATHS")
def test_run_of_all_tasks_survives_a_death_of_each_kind(nodes: Any, tmp_path: Path) -> None:
    """One death follows another each time that two more tasks have ended; the last is the driver's, which resumes."""
    run = ["run", "--task", "all", *NANO, "--limit", "3", "--no-meteor"]
    finish([*run, "--out", str(tmp_path / "alone")])
    on_workers = [*run, "--executor", "ray", "--address", nodes.address, "--out", str(tmp_path / "spread")]
    draw = Random(f"{SEED}/all")
    process = start(on_workers)
    strikes: list[Callable[[], object]] = [
        partial(signal_to_an_actor, signal.SIGKILL, draw),  # also what the kernel does when memory is short
        partial(signal_to_an_actor, signal.SIGSTOP, draw),
        partial(lose_a_node, nodes, draw),
        partial(os.killpg, process.pid, signal.SIGKILL),
    ]
    for number, strike in enumerate(strikes, 1):
        while process.poll() is None and ended(tmp_path / "spread") < 2 * number:
            time.sleep(0.1)
        assert process.poll() is None, process.communicate()
        strike()
        if len(nodes.worker_nodes) < 2:
            nodes.add_node(num_cpus=1)
    process.communicate()
    finish(on_workers)
    alone, spread = (tasks_of(tmp_path / name) for name in ("alone", "spread"))
    assert spread.keys() == alone.keys() and len(alone) > 20
    assert spread == alone


def signal_to_an_actor(number: int, draw: Random) -> None:
    """Sends a signal to a process that Ray named after its actor."""
    found = [path.parent.name for path in Path("/proc").glob("[0-9]*/cmdline") if b"ray::Worker" in read(path)]
    os.kill(int(draw.choice(found)), number)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process has ended
        return b""


def ended(results: Path) -> int:
    """How many runs have their metrics."""
    return sum(json.loads(path.read_text())["status"] == "partial" for path in results.rglob("run.json"))


def tasks_of(results: Path) -> dict[str, Any]:
    """The metrics, but their intervals, and the raw answers of each run."""
    found = {}
    for path in results.rglob("run.json"):
        record = json.loads(path.read_text())
        metrics = {name: each["value"] and round(each["value"], 3) for name, each in record["metrics"].items()}
        found[f"{record['spec']['task']} {record['spec']['split']}"] = record["status"], metrics, stored_in(path.parent)
    return found
