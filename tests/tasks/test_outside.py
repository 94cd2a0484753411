"""A task from somebody else's package: by module and name, and by entry point."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UsageError
from tasks import TASKS, every, select

PAGE = Path(__file__).parents[2] / "docs/tasks.md"


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    """No test finds the `outside` that another imported."""
    sys.modules.pop("outside", None)
    yield
    sys.modules.pop("outside", None)


def package(root: Path, code: str, entry: str = "") -> Path:
    """A package `outside` as pip leaves it: its module, and its metadata."""
    (root / "outside.py").write_text(code)
    if entry:
        info = root / "outside-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[florence2_harness.tasks]\noutside = {entry}\n")
    return root


def page_example() -> str:
    """The one Python block of the page that defines a task."""
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "Task(" in block]
    assert len(code.splitlines()) <= 45
    return str(code)


@pytest.mark.parametrize("entry", ["", "outside:TASK"])
def test_task_of_the_page_runs(tmp_path: Path, entry: str) -> None:
    package(tmp_path, page_example(), entry)
    name = "house_hunt" if entry else "outside:TASK"
    command = [sys.executable, "-m", "harness", "run", "--task", name, "--model", "whole-image", "--data", "miniature",
               "--out", str(tmp_path / "results")]  # fmt: skip
    done = subprocess.run(
        command, env=environment(tmp_path), capture_output=True, text=True, cwd=PAGE.parents[1], check=False
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert (tmp_path / "results/miniature/house_hunt").is_dir()


def environment(path: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}


def test_an_entry_point_is_listed_and_a_broken_one_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "raise RuntimeError('half installed')", "outside:TASK")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(every()) == list(TASKS)
    assert "the tasks of outside:TASK cannot be loaded: half installed" in caplog.text
    assert [task.name for task in select("refcoco")] == ["refcoco"]  # nobody else's mistake stops it


@pytest.mark.parametrize(("given", "said"), [
    ("nowhere.to_be:TASK", "No module named 'nowhere'"),
    ("json:TASK", "has no attribute 'TASK'"),
    ("json:", "module:NAME"),
    ("json:loads", "neither a Task nor several"),
])  # fmt: skip
def test_what_is_no_task(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select(given)
