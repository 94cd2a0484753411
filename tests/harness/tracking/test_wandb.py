"""Weights & Biases in its offline mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.harness.tracking.scenario import BYTES, send, without_secret
from tests.harness.tracking.wandb_file import records

wandb = pytest.importorskip("wandb")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which W&B writes offline runs."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "out"


def test_wandb_holds_the_numbers_by_step_and_no_secret(
    offline: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with without_secret(offline, monkeypatch):
        send("wandb", offline)
        wandb.teardown()  # its service has then written everything
    first, second = sorted((offline / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    kept = list(records(first))
    [run] = [record.run for record in kept if record.WhichOneof("record_type") == "run"]
    assert (run.project, run.display_name) == ("florence2-harness", "refcoco val")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["task"] == "refcoco" and config["seed"] == 0
    history = []
    for record in kept:
        if record.WhichOneof("record_type") == "history":
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            history.append({key: value for key, value in items.items() if not key.startswith("_") or key == "_step"})
    assert history == [
        {"_step": 10, "Acc_0.5": 50.0, "failed": 1.0},
        {"_step": 20, "Acc_0.5": 62.5, "Acc_0.5_low": 60.0},
        {"_step": BYTES, "rate": 2.5},
    ]
    exits = [
        [r.exit.exit_code for r in records(path) if r.WhichOneof("record_type") == "exit"] for path in (first, second)
    ]
    assert exits == [[0], [1]]
    assert any("run_json" in str(record.request) or "run_json" in str(record.artifact) for record in kept)
    assert capfd.readouterr().out == ""  # stdout is for results
