"""The entry point: the search path, and the variables that libraries read once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import __main__ as entry
from tests.harness.cli.calling import ROOT


def test_current_folder_is_searched_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for first in ("", str(tmp_path), "."):  # `python -m` puts the folder first, in one of these forms
        monkeypatch.setattr(sys, "path", [first, "/elsewhere"])
        entry._search_current_folder_last()
        assert sys.path == ["/elsewhere", str(tmp_path)]


def test_project_folder_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", ["", "/elsewhere"])
    entry._search_current_folder_last()
    assert sys.path == ["", "/elsewhere"]


def test_variables_of_the_user_are_kept() -> None:
    code = "import os, harness.__main__; print(os.environ['OMP_WAIT_POLICY'], os.environ['LRU_CACHE_CAPACITY'])"
    environment = {**os.environ, "OMP_WAIT_POLICY": "ACTIVE"}
    environment.pop("LRU_CACHE_CAPACITY", None)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["ACTIVE", "128"]
