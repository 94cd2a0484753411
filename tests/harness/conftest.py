"""Fixtures of commands and of checkouts."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main

Call = Callable[..., tuple[int, str, str]]
BENCHMARK = """
from value import VALUE

def test_one(benchmark):
    assert benchmark(lambda: VALUE) == {}

def test_two(benchmark):
    benchmark(sum, [1, 2])
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A command in this process, in a folder of its own: its status, what it printed, its last line of complaint."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([*map(str, arguments)])
        outcome = capsys.readouterr()
        return status, outcome.out, outcome.err.strip().splitlines()[-1] if outcome.err.strip() else ""

    return called


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of two commits: the module has the value 1 in the first and 2 in the second."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")
    for value in (1, 2):
        (folder / "value.py").write_text(f"VALUE = {value}\n")
        (folder / "test_bench.py").write_text(BENCHMARK.replace("{}", str(value)))
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", str(value))
    return folder
