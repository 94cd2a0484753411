"""A sweep that is interrupted goes on; a torn list of finished points measures them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import baselines
from harness import tracking
from harness.evaluation import sweep
from harness.evaluation.benchmark import Plan, Point
from tests.speeds import PEER, record
from tests.tracked import sent

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


def test_each_point_is_sent_to_the_trackers_when_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run is open during a measurement; a point that is read from its file is not sent again."""
    folder = tmp_path / "tracking"
    seen: list[int] = []

    def measure(plan: Plan, point: Point, command: Any) -> dict[str, Any]:
        seen.append(len(list(folder.rglob("events*"))))
        if len(seen) == 2:
            raise KeyboardInterrupt
        against = {"transformers": PEER, "other": {"cannot run": "x"}}
        return record(settings={"batch size": point.batch_size}, against=against)

    monkeypatch.setattr(sweep, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        list(tracking.sent(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]), ["tensorboard"], folder))
    list(tracking.sent(sweep.sweep(PLAN, POINTS, tmp_path, ["bench"]), ["tensorboard"], folder))
    assert seen == [0, 1, 1, 2]
    first, *others = sent(folder / "tensorboard")
    assert first.name == "single_stream_florence2-b" and len(others) == 2
    assert "batch size: 1" in first.texts["facts"] and first.texts["status"] == "finished"
    assert first.numbers == {
        "images/s": [(64, 2.5)], "tokens/s": [(64, 52.0)], "latency_s/p50": [(64, 0.25)],
        "latency_s/p50_low": [(64, pytest.approx(0.2))], "latency_s/p50_high": [(64, 1.5)],
        "ratio/transformers": [(64, 2.5)],
    }  # fmt: skip
    assert any(name.startswith("artifacts/") for name in first.texts)
