"""The throughput of a cluster of models: its answers, its record, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import baselines
from harness import store
from harness.cluster.ray_cluster import Spread, connected
from harness.errors import UsageError
from harness.evaluation import benchmark
from harness.evaluation.benchmark import Plan, Point
from harness.report.speed import describe

ray = pytest.importorskip("ray")
SPREAD = Spread(workers=2)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with connected(SPREAD):
        yield


def measured(**more: Any) -> dict[str, Any]:
    plan = Plan(
        entry=baselines.find("clip-nano"), scenario="offline", data="miniature", level="smoke", spread=SPREAD
    )  # fmt: skip
    return benchmark.measure(replace(plan, **more), Point("flickr30k_retrieval", 16), ["bench"])


def test_record_has_the_workers_and_the_answers_of_one_process(tmp_path: Path) -> None:
    """The answers are checksums of the values, as of any model that is measured as a whole."""
    record, alone = measured(), measured(spread=None)
    assert record["device"] == "cluster of 2 x cpu"
    assert record["settings"]["workers"] == 2
    assert record["answers"] == alone["answers"] and len(record["answers"]) == 16
    assert record["answers that differ"] == 0
    passes = record["queries"] / 16
    assert passes == round(passes)
    assert record["throughput"]["images/s"] == pytest.approx(record["queries"] / record["seconds"], rel=0.05)
    assert not [reason for reason in record["reasons"] if "shared" in reason]  # the work is other processes'
    assert store.read_speed(store.keep_speed(tmp_path, record["device"], "a", record))["set"] == record["set"]
    assert "cluster of 2 x cpu" in describe(record)


@pytest.mark.parametrize(("changes", "said"), [
    ({"scenario": "server", "rate": 1.0}, "--scenario server: a cluster is measured offline"),
    ({"against": ("transformers",)}, "--against with --executor ray"),
    ({"weights": "random"}, "--weights random with --executor ray"),
    ({"entry": baselines.find("oracle")}, "oracle is built from a task's samples"),
])  # fmt: skip
def test_measurement_of_one_process_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        measured(**changes)
