"""The command `export`: the metrics of all runs as one table.  Exports of one run: `evaluation/test_exporting.py`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import store
from tests.harness.cli.calling import Call


def test_export_writes_metrics_of_all_runs_as_one_table(here: Call, tmp_path: Path) -> None:
    out = tmp_path / "results"
    assert here("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--out", out).status == 0
    [(_, record)] = store.runs(out)
    jsonl, parquet = tmp_path / "runs.jsonl", tmp_path / "runs.parquet"
    assert here("export", "--jsonl", jsonl, "--parquet", parquet, "--out", out).status == 0
    pandas = pytest.importorskip("pandas")
    for frame in (pandas.read_json(jsonl, lines=True, dtype=False), pandas.read_parquet(parquet)):
        assert list(frame["metric"]) == list(record.metrics)
        [headline] = frame[frame["headline"]]["value"]
        assert headline == record.metrics[record.headline].value
    assert here("export", "--out", out).status == 2
    assert here("export", record.id, "--jsonl", jsonl, "--out", out).status == 2
