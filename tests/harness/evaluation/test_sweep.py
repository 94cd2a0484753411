"""A sweep that is interrupted goes on; a torn list of finished points measures them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import baselines
from harness.evaluation import sweep
from harness.evaluation.benchmark import Plan, Point
from tests.speeds import record

PLAN = Plan(entry=baselines.find("florence2-nano"), scenario="offline")
POINTS = [Point("refcoco", 2, batch_size=size) for size in (1, 2, 4)]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Batch sizes in the order in which they are measured; the third one raises the first time."""
    seen: list[int | None] = []

    def measure(plan: Plan, point: Point, command: Any) -> dict[str, Any]:
        seen.append(point.batch_size)
        if seen == [1, 2, 4]:
            raise KeyboardInterrupt
        return record(settings={"batch size": point.batch_size})

    monkeypatch.setattr(sweep, "measure", measure)
    return seen


def test_interrupted_sweep_measures_only_what_is_left(measured: list[int | None], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]))
    records = list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]))
    assert measured == [1, 2, 4, 4]
    assert [record["settings"]["batch size"] for record, _ in records] == [1, 2, 4]
    assert len({path for _, path in records}) == 3 and all(path.is_file() for _, path in records)
    assert not list(tmp_path.rglob("unfinished-*"))


def test_torn_list_and_another_command_measure_all(measured: list[int | None], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]))
    [left] = tmp_path.rglob("unfinished-*")
    left.write_text("{")
    list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]))
    list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench", "--dtype", "int8"]))
    assert measured == [1, 2, 4, 1, 2, 4, 1, 2, 4]


def test_damaged_record_of_a_measured_point_is_measured_again(measured: list[int | None], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]))
    first, _ = sorted((tmp_path / "speed").glob("*/*.json"), key=lambda path: path.stat().st_mtime_ns)
    first.write_text(first.read_text().replace('"batch size": 1', '"batch size": null'))
    list(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]))
    assert measured == [1, 2, 4, 1, 4]
