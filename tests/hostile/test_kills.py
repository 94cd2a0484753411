"""Every long command, killed with SIGKILL at random moments: the same command then gives the uninterrupted outcome.

KILLS is the number of kills before each last attempt.  Children of a killed process are killed with it.
Runs on a cluster are in test_cluster_kills and test_driver_kills.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from safetensors.torch import load_file

import harness
from harness.data import pack as packing
from harness.store import speeds
from tasks import miniature
from tests.hostile import KILLS, SEED

ROOT = Path(__file__).parents[2]
NANO = ("--model", "florence2-nano", "--data", "miniature")


@dataclass(frozen=True)
class Command:
    """A command line and what is compared of its outcome, both for a working folder."""

    arguments: Callable[[Path], list[str]]
    outcome: Callable[[Path], Any]
    prepare: Callable[[Path], object] = lambda folder: None


def metrics_and_answers(folder: Path) -> Any:
    """The metrics of the only run, and the raw answers in the order of their ids: each question answered once."""
    [record] = (folder / "results").rglob("run.json")
    answers = [json.loads(line) for line in (record.parent / "answers.jsonl").read_text().splitlines()]
    return json.loads(record.read_text())["metrics"], sorted((answer["id"], answer["raw"]) for answer in answers)


def weights_and_losses(folder: Path) -> Any:
    """The weights of the checkpoint, and the loss of each step."""
    weights = load_file(folder / "run/checkpoint/model.safetensors")
    digest = {name: hashlib.sha256(weight.numpy().tobytes()).hexdigest() for name, weight in weights.items()}
    [log] = (folder / "run").glob("*.csv")
    with log.open() as file:
        return digest, [row["loss"] for row in csv.DictReader(file)]


def files(folder: Path) -> dict[str, str]:
    """The digest of each file of a report."""
    paths = (path for path in (folder / "report").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def evaluated(folder: Path) -> None:
    """Two runs to report, the same for both folders: a report has their dates, rates and paths."""
    made = folder.parent / "results"
    if not made.exists():
        for model in ("oracle-quantised", "whole-image"):
            harness.evaluate("refcoco", model, data="miniature", limit=30, out=made)


def copied(folder: Path) -> None:
    """A data root of VizWiz alone."""
    shutil.copytree(miniature.ensure() / "vizwiz", folder / "root/vizwiz")


PROMISES = """
[promise.floor]
task = "vizwiz"
model = "florence2-nano"
limit = 20
at_least = 0.0
"""
COMMANDS = {
    "run": Command(
        lambda folder: ["run", "--task", "refcoco", *NANO, "--limit", "40", "--out", str(folder / "results")],
        metrics_and_answers,
    ),
    "finetune": Command(
        lambda folder: [
            "finetune", "--task", "vizwiz", *NANO, "--set", "steps=4", "--set", "save_every=1", "--set", "batch=4",
            "--device", "cpu", "--to", str(folder / "run"),
        ],
        weights_and_losses,
    ),
    "data pack": Command(
        lambda folder: ["data", "pack", "--task", "vizwiz", "--data", str(folder / "root")],
        lambda folder: packing.check(folder / "root", "vizwiz/val"),
        copied,
    ),
    "report": Command(
        lambda folder: [
            "report", "--results", str(folder.parent / "results"), "--to", str(folder / "report"), "--pictures", "2",
        ],
        files,
        evaluated,
    ),
    "bench": Command(
        lambda folder: [
            "bench", *NANO, "--scenario", "offline", "--level", "smoke", "--images", "8", "--no-stages",
            "--batch-size", "1,2", "--out", str(folder / "results"), "--to", str(folder / "speed"),
        ],
        lambda folder: (len(list(speeds(folder / "results"))), (folder / "speed/speed.md").is_file()),
    ),
    "gate": Command(
        lambda folder: ["gate", "--promises", str(folder / "gates.toml"), "--out", str(folder / "results"), "--junit",
                        str(folder / "gate.xml")],
        lambda folder: "floor" in (folder / "gate.xml").read_text(),
        lambda folder: (folder / "gates.toml").write_text(PROMISES),
    ),
}  # fmt: skip


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def finish(arguments: list[str]) -> float:
    """The seconds that the command takes until it ends by itself; it must succeed."""
    began = time.monotonic()
    process = start(arguments)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("name", list(COMMANDS))
def test_killed_command_resumes_to_the_uninterrupted_outcome(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    command, draw = COMMANDS[name], Random(f"{SEED}/{name}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        command.prepare(folder)
    seconds = finish(command.arguments(whole))
    kills = 0
    for _ in range(KILLS):
        process = start(command.arguments(killed))
        try:
            process.communicate(timeout=seconds * draw.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
    finish(command.arguments(killed))
    assert command.outcome(killed) == command.outcome(whole)
    record_property("kills", f"{name:12} {kills} of {KILLS} attempts killed, {seconds:.1f} s uninterrupted")
