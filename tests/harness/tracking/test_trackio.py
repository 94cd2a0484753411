"""Trackio's local mode, in an environment of its own: Trackio needs Pillow below 13, and this project pins 13."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from tests.harness.tracking.scenario import BYTES
from tests.tools import ROOT, run_with


def test_trackio_keeps_the_numbers_by_step_and_prints_nothing_on_stdout(tmp_path: Path) -> None:
    script = str(ROOT / "tests/harness/tracking/scenario.py")
    done = run_with("trackio", script, "trackio", str(tmp_path / "out"), TRACKIO_DIR=str(tmp_path / "trackio"))
    assert done.stdout == "" and "failed, so the run goes on" not in done.stderr
    with sqlite3.connect(tmp_path / "trackio/florence2-harness.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY step").fetchall()
        [config] = database.execute("SELECT config FROM configs WHERE run_name = 'refcoco val'").fetchone()
    assert [(name, step, json.loads(metrics)) for name, step, metrics in rows] == [
        ("refcoco val", 10, {"Acc_0.5": 50.0, "failed": 1.0}),
        ("refcoco val", 20, {"Acc_0.5": 62.5, "Acc_0.5_low": 60.0}),
        ("refcoco val", BYTES, {"rate": 2.5}),
    ]
    assert json.loads(config)["task"] == "refcoco"
