"""`python -m tasks.miniature`."""

from __future__ import annotations

import hashlib
import json
import runpy
from pathlib import Path

import pytest

from tasks import miniature


def test_main_writes_the_manifest_of_the_drawn_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "manifest.json"
    monkeypatch.setattr(miniature, "MANIFEST", written)
    monkeypatch.setattr(miniature, "write", lambda root: (root / "a.json").write_text("x"))
    runpy.run_module("tasks.miniature.__main__")
    assert json.loads(written.read_text()) == {"a.json": hashlib.sha256(b"x").hexdigest()}
    assert capsys.readouterr().out == f"1 files in {written}\n"
