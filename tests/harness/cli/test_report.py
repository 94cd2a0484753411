"""The command `report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import store
from tests.harness.cli.calling import Call


def test_report_follows_run_in_progress(here: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written while the run holds its lock, then once more when it is done; a stopped run is called so."""
    out = tmp_path / "results"
    ran = here("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--out", out)
    assert ran.status == 0
    [(folder, record)] = store.runs(out)
    finished = folder.path.joinpath("run.json").read_bytes()
    folder.write_run(store.with_status(record, status="running", metrics={}, counts={}))
    lines = (folder.path / "answers.jsonl").read_text().splitlines(keepends=True)
    (folder.path / "answers.jsonl").write_text("".join(lines[:40]))
    assert "interrupted" in here("ls", "--out", out).out
    seen: list[str] = []
    lock = folder.locked()
    lock.__enter__()
    assert "running" in here("ls", "--out", out).out

    def wait(seconds: float) -> None:
        assert seconds == 2
        seen.append((tmp_path / "report/index.html").read_text())
        (folder.path / "answers.jsonl").write_text("".join(lines))
        folder.path.joinpath("run.json").write_bytes(finished)
        lock.__exit__(None, None, None)

    monkeypatch.setattr("harness.cli.report.time.sleep", wait)
    outcome = here("report", "--results", out, "--to", tmp_path / "report", "--pictures", "4", "--watch", "2")
    assert outcome.status == 0
    [during] = seen
    assert '<meta http-equiv="refresh" content="2">' in during
    assert '<td class="number">40</td>' in during and "running" in during
    after = (tmp_path / "report/index.html").read_text()
    assert "refresh" not in after and f'<td class="number">{len(lines)}</td>' in after
