"""An engine that is killed at random moments ends with the rows of one that was not, and asks nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from textwrap import dedent

import pytest

from harness.data_engine import tables
from harness.data_engine.images import read_row
from harness.data_engine.recipes import Recipe
from harness.data_engine.regions import Boxes
from harness.data_engine.shards import Engine
from tests.harness.data_engine.engines import drawn
from tests.hostile import KILLS, SEED

ROOT = Path(__file__).parents[2]
IMAGES = 60
TIMES = 2 * KILLS
WORKER = """
    import random, sys, time
    from pathlib import Path
    from harness.core import Answer, Boxes, Text
    from harness.data_engine.annotate import Specialist, annotate
    from harness.data_engine.filtering import filter_annotations
    from harness.data_engine.shards import Engine
    from tests.harness.data_engine.test_annotate import Scripted

    root, path = Path(sys.argv[1]), Path(sys.argv[2])
    log = (path.parent / f"{path.name}.asked").open("a")

    def reply(question):
        log.write(f"{question.kind} {question.image_name} {question.region}\\n")
        log.flush()
        time.sleep(0.01)
        draw = random.Random(question.image_name)
        if question.kind == "describe":
            return Answer(("grey",), Text(("a grey thing",)))
        boxes = [(draw.uniform(0, 40), draw.uniform(0, 30)) for _ in range(4)]
        return Answer(("x",), Boxes(tuple((a, b, a + 30, b + 30) for a, b in boxes), ("cat",) * 4,
                                    tuple(draw.random() for _ in boxes)))

    import pyarrow.parquet
    print("ready", flush=True)
    for kind in ("detect", "describe"):
        annotate(Engine.open(path), Specialist(kind, "one", Scripted(reply)), root)
    filter_annotations(Engine.open(path))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    list(drawn(tmp_path / "photos", IMAGES))
    return tmp_path / "photos"


def made(root: Path, name: str) -> Engine:
    rows = [read_row(root, path.name) for path in sorted(root.iterdir())]
    recipe = Recipe(name="test", stages=(Boxes(),))
    return Engine.create(root.parent / name, rows, recipe, str(root), shard=7)


def started(root: Path, engine: Engine) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", dedent(WORKER), str(root), str(engine.path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(process: subprocess.Popen[str]) -> int:
    """Waits for a process, and returns its exit status."""
    process.communicate()
    return process.returncode


def reach(log: Path, more: int, process: subprocess.Popen[str]) -> None:
    """Waits until a process has logged so many more questions, or has ended."""
    before = len(log.read_text().splitlines()) if log.exists() else 0
    while process.poll() is None and (not log.exists() or len(log.read_text().splitlines()) < before + more):
        time.sleep(0.005)


def outcome(engine: Engine) -> dict[str, str]:
    """A digest over the rows of each kind of file."""
    forms: dict[str, tables.Form] = {"raw": "annotations", "answers": "answers", "told": "told"}
    return {
        part: tables.rows_digest(
            row for path in sorted(engine.path.glob(f"round0/{part}/*.parquet")) for row in tables.read(path, form)
        )
        for part, form in forms.items()
    }


def test_engine_killed_anywhere_ends_with_the_same_rows(
    root: Path, record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    undisturbed, killed = made(root, "undisturbed"), made(root, "killed")
    assert finish(started(root, undisturbed)) == 0
    expected = (tmp_path / "undisturbed.asked").read_text().splitlines()
    draw = Random(SEED)
    for _ in range(TIMES):
        process = started(root, killed)
        reach(tmp_path / "killed.asked", draw.randrange(30), process)
        time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        finish(process)
    assert finish(started(root, killed)) == 0
    assert outcome(killed) == outcome(undisturbed)
    asked = (tmp_path / "killed.asked").read_text().splitlines()
    assert set(asked) == set(expected)
    assert len(asked) <= len(expected) + TIMES  # at most the question that each kill interrupted
    record_property("kills", f"an engine killed {TIMES} times: {len(asked) - len(expected)} questions asked again")
