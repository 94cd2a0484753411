"""The lock of a run's folder, within a process and between processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ResourceError, UsageError
from harness.store import lock

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from harness.store import lock
with lock.locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_folder_is_locked_only_inside_the_block(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert not lock.is_locked(folder)
    with lock.locked(folder):
        assert lock.is_locked(folder)
        assert lock.is_locked(folder)  # asking does not take the lock
    assert not lock.is_locked(folder)


def test_second_lock_is_refused_until_the_other_process_ends(tmp_path: Path) -> None:
    """A killed process leaves the lock file but not the lock."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert lock.is_locked(tmp_path)
        with pytest.raises(UsageError, match="another process is running this very run"), lock.locked(tmp_path):
            pass
        process.kill()
    assert (tmp_path / "lock").is_file()
    with lock.locked(tmp_path):
        assert lock.is_locked(tmp_path)


def test_lock_in_a_place_that_is_no_folder_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ResourceError, match=r"^cannot write results: Not a directory"),
        lock.locked(tmp_path / "file/run"),
    ):
        pass
