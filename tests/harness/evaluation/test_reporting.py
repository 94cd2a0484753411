"""What a report is of: every run once, whatever lies beside them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.evaluation.reporting import write_report


def test_copy_of_a_run_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = harness.evaluate("vizwiz", "oracle", data="miniature", limit=2, out=tmp_path / "r")
    [folder] = [path.parent for path in (tmp_path / "r").rglob("run.json")]
    shutil.copytree(folder, folder.with_name("a copy"))
    with caplog.at_level(logging.WARNING):
        report = write_report(tmp_path / "r", tmp_path / "page", "miniature", pictures=1)
    assert f"a copy is a copy of run {run.id}" in caplog.text  # that of the folder of its name is kept
    assert report.page.read_text().count(f'id="{run.id}"') <= 1
    assert not report.again


def test_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are no runs in"):
        write_report(tmp_path, tmp_path / "page")
