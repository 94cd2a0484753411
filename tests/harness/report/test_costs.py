"""The table of costs: its rows, its order, and records that have no costs."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.report import costs
from tests.harness.report.runs import a_box_run


def with_costs(model: str, data: str = "coco", **cost: Any) -> Any:
    provenance = {"model": {"parameters": 1_234, "device": "cpu", "batch size": 8}, "cost": cost}
    timings = {"peak memory MiB": 512.25, "peak GPU memory MiB": 1536.5, "images/s": 2.5}
    return a_box_run(data=data, model=model, provenance=provenance, timings=timings)


def test_row_has_headline_and_costs_of_the_record() -> None:
    [row] = costs.rows([with_costs("b", GFLOPs=12.3456, of="one refer query alone: 1 image")])
    assert dict(zip(costs.COLUMNS, row, strict=True)) == {
        "data": "coco", "task": "refcoco", "split": "val", "model": "b", "metric": "Acc@0.5",
        "value": "55.2 [54.0, 56.5]", "parameters": "1,234", "GFLOPs of a query": "12.35",
        "counted": "one refer query alone: 1 image", "peak memory MiB": "512.2",
        "peak GPU memory MiB": "1536", "images/s": "2.5", "device": "cpu",
        "batch size": "8", "id": "cocob",
    }  # fmt: skip


def test_run_on_a_cpu_has_an_empty_cell_for_the_memory_of_a_gpu() -> None:
    run = with_costs("b", GFLOPs=1.0, of="x")
    [row] = costs.rows([replace(run, timings={"peak memory MiB": 5.0, "images/s": 2.5})])
    assert dict(zip(costs.COLUMNS, row, strict=True))["peak GPU memory MiB"] == ""


def test_query_that_was_not_counted_has_empty_cells() -> None:
    [row] = costs.rows([with_costs("b", of="not counted: x")])
    by_column = dict(zip(costs.COLUMNS, row, strict=True))
    assert by_column["GFLOPs of a query"] == by_column["counted"] == "" and by_column["parameters"] == "1,234"


def test_files_hold_every_run_in_order_and_say_that_the_miniature_is_not_comparable(tmp_path: Path) -> None:
    costs.write([with_costs("b|c", "miniature"), with_costs("a", "coco"), a_box_run()], tmp_path)
    lines = (tmp_path / "costs.md").read_text().splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")] == ["| data", "| coco", "| miniature"]
    assert any("not comparable with published numbers" in line for line in lines)
    with (tmp_path / "costs.csv").open(newline="") as file:
        assert [row[3] for row in csv.reader(file)] == ["model", "a", "b|c"]


def test_runs_without_costs_write_nothing(tmp_path: Path) -> None:
    costs.write([a_box_run()], tmp_path)
    assert not list(tmp_path.iterdir())
