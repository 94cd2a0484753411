"""A round that is killed at random writes and answers ends as one that was not, and asks nothing twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.harness.protocols.round_worlds import World
from tests.hostile import KILLS, SEED

ROOT = Path(__file__).parents[2]


def started(folder: Path, kill_at: int) -> int:
    """Makes the round, and kills it at a write, or at an answer for a negative number; the exit status."""
    command = [sys.executable, "-m", "tests.harness.protocols.round_worlds", str(folder), "60", str(kill_at)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode


def test_round_killed_anywhere_ends_with_the_same_rows(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    world = World(tmp_path / "undisturbed").annotated()
    shutil.copytree(world.folder, tmp_path / "whole")
    assert started(world.folder, 0) == 0
    expected, state, asked = world.digest(), world.engine.state(1), sorted(world.asked())
    draw = Random(SEED)
    kills = again = 0
    while kills < 2 * KILLS:
        folder = tmp_path / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "whole", folder)
        answers = 0
        while True:  # until a process comes to its end
            point = draw.choice((draw.randrange(1, 40), -draw.randrange(1, 15)))
            if started(folder, point) == 0:
                break
            kills, answers = kills + 1, answers + (point < 0)
        killed = World(folder)
        assert killed.digest() == expected
        assert killed.engine.state(1) == state
        assert sorted(set(killed.asked())) == asked
        assert len(killed.asked()) <= len(asked) + answers  # at most the question that a kill interrupted
        again += len(killed.asked()) - len(asked)
    record_property("kills", f"rounds killed {kills} times: {again} questions asked again")
