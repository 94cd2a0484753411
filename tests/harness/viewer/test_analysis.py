"""Charts and paired differences, against plain counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.report.breakdown import Breakdown, Confidence
from harness.report.page import Shown
from harness.viewer.analysis import charts, pair
from tests.harness.viewer.viewed import run_of, shown_of


def test_recall_counts_overlaps_at_each_threshold() -> None:
    drawn = dict(map(tuple, charts(Breakdown(overlaps=(0.05, 0.5, 0.5, 0.97)))["recall"]))
    assert drawn[0.05] == 100 and drawn[0.1] == 75 and drawn[0.5] == 75 and drawn[0.55] == 25 and drawn[0.95] == 25


def test_precision_keeps_boxes_of_equal_confidence_together() -> None:
    """Sorted: 0.9 right; 0.5 right and wrong; 0.1 wrong.  So 1 of 1, 2 of 3, and 2 of 4 are right."""
    confidences = [Confidence(0.5, True), Confidence(0.9, True), Confidence(0.1, False), Confidence(0.5, False)]
    drawn = charts(Breakdown(confidences=confidences))
    assert drawn["precision"] == [[25.0, 100.0], [75.0, pytest.approx(200 / 3)], [100.0, 50.0]]


def test_pair_is_the_difference_of_the_mean_hits(tmp_path: Path) -> None:
    a, b = shown_of("alpha", tmp_path, 60), shown_of("be", tmp_path, 60)
    hits = [100 * sum(row.score.values["hit"] for row in shown.rows) / 60 for shown in (a, b)]
    found = pair(a, b)
    metric = found["metrics"][0]  # the headline; the others follow
    assert [each["metric"] for each in found["metrics"]][-2:] == ["unreadable", "truncated"]
    assert found["problem"] == "" and metric["metric"] == "Acc@0.5"
    assert metric["a"] == pytest.approx(hits[0]) and metric["value"] == pytest.approx(hits[1] - hits[0])
    assert metric["low"] <= metric["value"] <= metric["high"] and 0 < metric["p"] <= 1


def test_pair_that_cannot_be_compared_says_why(tmp_path: Path) -> None:
    a, b = shown_of("alpha", tmp_path), shown_of("be", tmp_path)
    assert "are not here" in pair(a, Shown(run_of("none"), None, (), Path()))["problem"]
    assert "version 99" in pair(a, replace(b, task=replace(b.task, version=99)))["problem"]  # type: ignore[type-var]
    other = replace(b, run=replace(b.run, spec=replace(b.run.spec, split="testA")))
    assert "differ in split" in pair(a, other)["problem"]
    assert "do not pair" in pair(a, replace(b, rows=b.rows[1:]))["problem"]
