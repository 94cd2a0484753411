"""The canvas of run figures: the choice of runs, styles, and the table of plotted numbers."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from harness.report.breakdown import Breakdown
from harness.report.canvas import (
    MOST_RUNS,
    AnalysedRun,
    Canvas,
    PlottedNumber,
    as_csv,
    on_common_split,
    representative_runs,
)
from tests.harness.report.runs import a_box_run


def analysed(model: str, split: str = "val", task: str = "refcoco", protocol: str = "zero_shot") -> AnalysedRun:
    run = a_box_run(model=model)
    spec = replace(run.spec, split=split, task=task, protocol=protocol)
    return AnalysedRun(replace(run, id=f"{task} {split} {model} {protocol}", spec=spec), Breakdown(), model)


def test_on_common_split_keeps_the_split_with_the_most_models() -> None:
    runs = [analysed("a", "testA"), analysed("a", "val"), analysed("b", "val"), analysed("a", "test", "refcocog")]
    assert on_common_split(runs) == [runs[1], runs[2], runs[3]]


def test_on_common_split_of_a_tie_keeps_the_first_split_by_name() -> None:
    runs = [analysed("a", "val"), analysed("a", "testA")]
    assert on_common_split(runs) == [runs[1]]


def test_representative_runs_of_two_protocols_have_the_protocol_in_the_label() -> None:
    runs = [analysed("a"), analysed("a", protocol="fine_tuned"), analysed("b")]
    assert [chosen.model for chosen in representative_runs(runs)] == ["a, zero-shot", "a, fine-tuned", "b"]


def test_representative_runs_of_one_model_and_split_are_the_complete_run() -> None:
    whole = analysed("a")
    partial = replace(whole, run=replace(whole.run, status="partial", provenance={"date": "2099"}))
    assert [chosen.run for chosen in representative_runs([partial, whole])] == [whole.run]


def test_representative_runs_of_many_models_are_those_with_the_highest_headlines() -> None:
    runs = [AnalysedRun(a_box_run(model=f"m{number}", value=float(number)), Breakdown()) for number in range(45)]
    assert [each.model for each in representative_runs(runs)] == [f"m{number}" for number in range(5, 45)]
    assert len(representative_runs(runs[:40])) == MOST_RUNS == 40


def test_representative_runs_label_with_an_underscore_gets_a_space() -> None:
    """matplotlib leaves labels that start with an underscore out of the legend."""
    assert [chosen.model for chosen in representative_runs([analysed("_a")])] == [" _a"]


def test_style_of_more_models_than_colours_changes_the_line() -> None:
    canvas = Canvas("coco", Path(), [f"m{place:02d}" for place in range(15)])
    styles = [tuple(canvas.style(f"m{place:02d}").values()) for place in range(15)]
    assert len(set(styles)) == 15  # 7 colours: the next 7 models have another line style
    assert styles[0][0] == styles[7][0] and styles[0][1] != styles[7][1]
    assert canvas.marker("m00") not in (canvas.marker("m07"), canvas.marker("m01"))  # m07 has the colour of m00


def test_as_csv_of_a_missing_value_is_an_empty_cell() -> None:
    numbers = [PlottedNumber("coco", "iou", "refcoco val", "a, b", "AUROC", None, None, None, 3)]
    [row] = csv.DictReader(io.StringIO(as_csv(numbers)))
    assert (row["model"], row["value"], row["low"], row["n"]) == ("a, b", "", "", "3")


def test_keep_of_a_value_without_interval_has_no_ends() -> None:
    canvas = Canvas("coco", Path(), ["a"])
    canvas.keep("iou", "refcoco val", "a", "x", [50.0], 3)
    canvas.keep("iou", "refcoco val", "a", "x", [50.0, 40.0, 60.0], 3)
    assert [(number.value, number.low, number.high) for number in canvas.numbers] == [
        (50.0, None, None),
        (50.0, 40.0, 60.0),
    ]
