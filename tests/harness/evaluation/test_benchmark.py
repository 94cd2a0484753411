"""A benchmark point: what is queried, and what is refused before anything is timed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import baselines
from harness.errors import ResourceError, UsageError
from harness.evaluation import benchmark
from harness.evaluation.benchmark import Plan, Point
from harness.report.speed import describe

NANO = baselines.find("florence2-nano")


def test_one_question_is_queried_about_each_image() -> None:
    subject, queries, _ = benchmark.prepare(Plan(entry=NANO, scenario="offline"), Point("refcoco", 5))
    assert len(queries) == 5 and queries.about == "5 of miniature, refcoco val"
    assert subject.decoding.beams == 3  # as the published checkpoints decode


def test_random_weights_need_no_data() -> None:
    plan = Plan(entry=NANO, scenario="offline", weights="random", new_tokens=4)
    subject, queries, _ = benchmark.prepare(plan, Point("", 3, options={"beams": 1}))
    assert len(queries) == 3
    assert (subject.decoding.beams, subject.decoding.min_new_tokens, subject.decoding.max_new_tokens) == (1, 4, 4)


def test_unknown_peer_is_refused_before_the_model_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "prepare", lambda *_: pytest.fail("it was built"))
    with pytest.raises(UsageError, match="--against vllm: one of transformers"):
        benchmark.measure(Plan(entry=NANO, scenario="offline", against=("vllm",)), Point("refcoco", 1), ["bench"])


def test_task_that_the_model_cannot_answer_is_refused(miniature: Path) -> None:
    with pytest.raises(UsageError, match="florence2-nano cannot be measured on coco_retrieval: it answers no embed"):
        benchmark.prepare(Plan(entry=NANO, scenario="offline", data="miniature"), Point("coco_retrieval", 1))


def test_memory_that_is_short_is_a_line_and_other_errors_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def raised(error: Exception) -> None:
        monkeypatch.setattr(benchmark, "_measured", lambda *_: (_ for _ in ()).throw(error))
        benchmark.measure(Plan(entry=NANO, scenario="offline"), Point("refcoco", 1), ["bench"])

    with pytest.raises(ResourceError, match="try a smaller --batch-size"):
        raised(MemoryError("out of memory"))
    with pytest.raises(ZeroDivisionError):
        raised(ZeroDivisionError())


def test_model_without_a_hook_is_measured_as_a_whole() -> None:
    """The floor counts no tokens and needs no torch; the record has the fields of any other."""
    floor = baselines.find("whole-image")
    plan = Plan(entry=floor, scenario="offline", level="smoke")
    record = benchmark.measure(plan, Point("refcoco", 3), ["bench"])
    assert (record["model"], record["set"]) == ("whole-image", "3 of miniature, refcoco val")
    assert record["throughput"]["images/s"] > 0
    assert record["against"] == {} and "stages" not in record
    assert record["settings"]["batch size"] == 3
    shown = describe(record)
    assert "whole-image offline" in shown and "beams" not in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"against": ("transformers",)}, "--against: for Florence-2 only; whole-image is measured as a whole"),
        ({"new_tokens": 5}, "--new-tokens: for Florence-2 only"),
        ({"weights": "random"}, "--weights random: for Florence-2 only"),
    ],
)
def test_setting_of_the_engine_is_refused_for_other_models(changes: dict[str, Any], message: str) -> None:
    plan = Plan(entry=baselines.find("whole-image"), scenario="offline", **changes)
    with pytest.raises(UsageError, match=message):
        benchmark.measure(plan, Point("refcoco", 1), ["bench"])


def test_question_that_the_model_does_not_answer_is_refused() -> None:
    entry = replace(baselines.find("whole-image"), kinds=frozenset({"vqa"}))
    with pytest.raises(UsageError, match="whole-image cannot be measured on refcoco: it answers no refer questions"):
        benchmark.measure(Plan(entry=entry, scenario="offline"), Point("refcoco", 1), ["bench"])
