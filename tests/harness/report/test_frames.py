"""All runs as a data frame, and its export."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.core import Estimate
from harness.errors import ResourceError
from harness.report import frames
from tests.harness.report.runs import a_run

THIRD = 100 / 3  # needs all digits of a double


def test_table_has_one_row_per_metric_in_order() -> None:
    run = replace(
        a_run("m", limit=3, seed=7), timings={"seconds": 2.5}, counts={"samples": 9, "images": 3},
        metrics={"BLEU-4": Estimate(None, None, None, 9), "CIDEr": Estimate(THIRD, 1.0, 99.0, 9)},
    )  # fmt: skip
    frame = frames.table([run, a_run("other")])
    assert list(frame.columns) == list(frames.COLUMNS)
    assert list(zip(frame["model"], frame["metric"], frame["headline"], strict=True)) == [
        ("m", "BLEU-4", False), ("m", "CIDEr", True), ("other", "CIDEr", True),
    ]  # fmt: skip
    row = frame.iloc[1]
    assert (row["value"], row["low"], row["n"], row["limit"], row["seed"]) == (THIRD, 1.0, 9, 3, 7)
    assert (row["device"], row["date"], row["seconds"], row["images"]) == ("cuda:0", "2026-11-26T08:00:00Z", 2.5, 3)


def test_table_of_no_runs_has_the_columns() -> None:
    frame = frames.table([])
    assert list(frame.columns) == list(frames.COLUMNS) and frame.empty


def test_as_jsonl_keeps_the_digits_of_a_value() -> None:
    run = replace(a_run(), metrics={"CIDEr": Estimate(THIRD, None, None, 9)})
    [line] = frames.as_jsonl(frames.table([run])).splitlines()
    record = json.loads(line)
    assert record["value"] == pytest.approx(THIRD, abs=1e-15 * THIRD + 5e-16)  # 15 decimals
    assert record["low"] is None and record["metric"] == "CIDEr"


def test_as_parquet_without_pyarrow_raises_resource_error(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frames.table([a_run()])

    def missing(*_: object, **__: object) -> None:
        raise ImportError("no pyarrow")

    monkeypatch.setattr(type(frame), "to_parquet", missing)
    with pytest.raises(ResourceError, match="pip install pyarrow"):
        frames.as_parquet(frame)


def test_table_of_models_with_facts_of_other_types_is_text() -> None:
    """A model may state any facts; Parquet needs one type in a column."""
    run = a_run("m")
    facts = replace(run, provenance={**run.provenance, "model": {"device": ["cuda:0", "cuda:1"], "precision": 16}})
    frame = frames.table([run, facts])
    assert list(frame["device"]) == ["cuda:0", "['cuda:0', 'cuda:1']"]
    assert frame["precision"][1] == "16"
