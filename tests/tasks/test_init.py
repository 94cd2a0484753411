"""Tasks by name, and tasks of other packages: by module and name, and by entry point."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from tasks import TASKS, every, origin_of, select

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/tasks.md"


@pytest.mark.parametrize(("patterns", "expected"), [
    ("refcoco", ["refcoco"]),
    ("refcocog_res,refcoco", ["refcocog_res", "refcoco"]),
    ("refcoco, refcoco", ["refcoco"]),
    ("*_res", ["refcoco_res", "refcoco_plus_res", "refcocog_res", "grefcoco_res"]),
    (["refcoco", "refcocog*"], ["refcoco", "refcocog", "refcocog_res", "refcocog_caption"]),
    ("all", list(TASKS)),
    ("coco_*", ["coco_caption", "coco_detection", "coco_retrieval", "coco_rerank"]),
    ("odinw*", ["odinw13", "odinw35", "odinw_miniature"]),
])  # fmt: skip
def test_select_gives_matching_tasks_once_in_order(patterns: str | list[str], expected: list[str]) -> None:
    assert [task.name for task in select(patterns)] == expected


@pytest.mark.parametrize(("patterns", "message"), [
    ("refcoco_rse", "did you mean refcoco_res"),
    ("voc*", f"no task is called 'voc\\*'; there are {len(TASKS)}"),
    ("refcoco,", "no task is called ''"),
    ([], "no task was named"),
])  # fmt: skip
def test_select_without_a_match_is_a_usage_error(patterns: str | list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(patterns)


# ---------------------------------------------------------------------------- other packages


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    """Removes the module `outside` of another test before and after each test."""
    sys.modules.pop("outside", None)
    yield
    sys.modules.pop("outside", None)


def package(root: Path, code: str, entry: str = "") -> Path:
    """A package `outside` as pip installs it: its module, and its metadata."""
    (root / "outside.py").write_text(code)
    if entry:
        info = root / "outside-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[florence2_harness.tasks]\noutside = {entry}\n")
    return root


def page_example() -> str:
    """The Python block of the documentation page that defines a task."""
    [code] = [block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if "Task(" in block]
    assert len(code.splitlines()) <= 45
    return str(code)


@pytest.mark.parametrize("entry", ["", "outside:TASK"])
def test_task_of_the_documentation_runs(tmp_path: Path, entry: str) -> None:
    package(tmp_path, page_example(), entry)
    name = "house_hunt" if entry else "outside:TASK"
    command = [sys.executable, "-m", "harness", "run", "--task", name, "--model", "whole-image", "--data", "miniature",
               "--out", str(tmp_path / "results")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert (tmp_path / "results/miniature/house_hunt").is_dir()


def test_broken_entry_point_is_logged_and_other_tasks_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    package(tmp_path, "raise RuntimeError('half installed')", "outside:TASK")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert list(every()) == list(TASKS)
    assert "the tasks of outside:TASK cannot be loaded: half installed" in caplog.text
    assert [task.name for task in select("refcoco")] == ["refcoco"]


@pytest.mark.parametrize(("name", "message"), [
    ("nowhere.to_be:TASK", "No module named 'nowhere'"),
    ("json:TASK", "has no attribute 'TASK'"),
    ("json:", "module:NAME"),
    ("json:loads", "neither a Task nor several"),
])  # fmt: skip
def test_name_of_a_module_without_a_task_is_a_usage_error(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(name)


def test_origin_is_recorded_for_tasks_of_other_packages_only() -> None:
    assert origin_of(TASKS["refcoco"], "refcoco") == {}
    assert origin_of(replace(TASKS["refcoco"], name="other"), "a.b:TASK") == {"task from": "a.b:TASK"}
