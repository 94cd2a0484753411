"""What tests of commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A command in this process, in a folder of its own: its status, what it printed, its last line of complaint."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str | Path) -> tuple[int, str, str]:
        status = main([*map(str, arguments)])
        told = capsys.readouterr()
        return status, told.out, told.err.strip().splitlines()[-1] if told.err.strip() else ""

    return called
