"""A run on a cluster whose driver is killed: the same command resumes it, and asks only what was not stored."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.hostile import DEATHS, SEED
from tests.hostile.nodes import lose_a_node
from tests.hostile.test_kills import NANO, finish, start

pytest.importorskip("ray")


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
