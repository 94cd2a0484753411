"""Runs and tables as plain text, and escaped cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import Estimate
from harness.report import text
from tests.harness.report.runs import a_box_run


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(81.25, 79.96, 82.04, 5), "81.2 [80.0, 82.0]"),
        (Estimate(81.25, None, None, 5), "81.2"),
        (Estimate(None, None, None, 5), "–"),
        (None, "–"),
    ],
)
def test_number_of_an_estimate_has_one_decimal(estimate: Estimate | None, expected: str) -> None:
    assert text.number(estimate) == expected


def test_table_columns_are_as_wide_as_their_widest_cell() -> None:
    assert text.table(("a", "b"), [("long", "x")]) == "a     b\nlong  x"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-5, "0 min"), (90, "2 min"), (119 * 60, "119 min"), (2 * 3600, "2 h"), (47 * 3600, "47 h"), (48 * 3600, "2 d")],
)
def test_age_of_a_date_is_in_minutes_hours_or_days(seconds: float, expected: str) -> None:
    assert text.age("1970-01-02T00:00:00+00:00", 86_400 + seconds) == expected
    assert text.age("yesterday", 0) == ""


def test_describe_run_has_title_counts_speed_and_latency() -> None:
    timings = {
        "seconds": 2.0, "answers/s": 5.0, "images/s": 2.0, "tokens/s": 40.0, "latency of": "an answer, at batch size 1",
        "p50 s": 0.125, "peak memory MiB": 512.0,
    }  # fmt: skip
    described = text.describe(a_box_run(timings=timings), Path("results/x"))
    assert described.splitlines()[0] == "refcoco val · florence2-l · coco · zero_shot (complete)"
    assert "10 of 10 answered, 4 images" in described
    assert "5.0 answers/s" in described and "median latency 125 ms (an answer, at batch size 1)" in described
    assert "peak memory 512 MiB" in described and "on a GPU" not in described
    on_gpu = text.describe(a_box_run(timings=timings | {"peak GPU memory MiB": 2048.4}), Path("results/x"))
    assert "peak memory 512 MiB, 2048 MiB on a GPU" in on_gpu
    assert "miniature" not in described
    assert text.MINIATURE in text.describe(a_box_run(data="miniature"), Path("results/x"))


def test_describe_run_has_the_parameters_and_operations_of_its_model() -> None:
    cost = {"GFLOPs": 12.3456, "of": "one vqa query alone: 1 image, 3 generated tokens"}
    record = a_box_run(provenance={"model": {"parameters": 1234567}, "cost": cost})
    line = "1,234,567 parameters; 12.35 GFLOPs (one vqa query alone: 1 image, 3 generated tokens)"
    assert line in text.describe(record, Path("x"))
    assert "GFLOPs" not in text.describe(
        a_box_run(provenance={"model": {"parameters": 5}, "cost": {"of": "no"}}), Path("x")
    )
    assert "parameters" not in text.describe(a_box_run(provenance={}), Path("x"))


def test_describe_incomplete_run_names_the_first_failure() -> None:
    run = a_box_run(metrics={}, counts={"failed": 2}, provenance={"failures": {"3": "x.png is bad"}})
    described = text.describe(replace(run, status="incomplete"), Path("results/x"))
    assert "2 questions failed, so there is no result; first failure: x.png is bad" in described


def test_describe_run_without_published_targets_names_export() -> None:
    described = text.describe(a_box_run(metrics={}), Path("results/x"))
    assert "the targets of this split are not published; `export` writes the submission file" in described


def test_line_replaces_control_characters() -> None:
    assert text.line("a\x1b[2J\r\nb") == "a [2J  b"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("zero_shot 55.2 [54.0, 56.5]", "zero_shot 55.2 [54.0, 56.5]"),
        ("_a_ *b* `c` a|b \\", "\\_a\\_ \\*b\\* \\`c\\` a\\|b \\\\"),
        ("[x](y) [a [b] c](d) [1, 2](y)", "\\[x\\](y) \\[a \\[b\\] c\\](d) \\[1, 2\\](y)"),
        ("<b>&amp;~~x~~\n\x1b[2Jy", "&lt;b&gt;&amp;amp;\\~\\~x\\~\\~ \\[2Jy"),
    ],
)
def test_cell_escapes_markup_by_the_rules_of_github(written: str, expected: str) -> None:
    """Underscores inside words and the brackets of an interval are no markup."""
    assert text.cell(written) == expected


def test_matrix_finds_the_run_of_a_model_that_re_ranks_under_both_names() -> None:
    runs = [a_box_run(model=f"first+{name}", value=50.0, provenance={"entry": name}) for name in ("one", "two")]
    [head, row] = text.matrix(["one", "two", "three"], runs).splitlines()
    assert head.split() == ["task", "split", "metric", "one", "two", "three"]
    assert row.split() == ["refcoco", "val", "Acc@0.5", *("50.0", "[48.8,", "51.2]") * 2]


def test_aligned_numbers_have_their_decimal_points_below_each_other() -> None:
    estimates = [Estimate(100.0, 9.96, 100.0, 5), Estimate(7.04, None, None, 5), None, Estimate(-3.2, -10.0, 4.0, 5)]
    assert text.aligned(estimates) == ["100.0 [ 10.0, 100.0]", "  7.0", "    –", " -3.2 [-10.0,   4.0]"]
    assert text.aligned([]) == []


def test_painted_table_pads_before_it_paints() -> None:
    rows = [("long", "x"), ("y", "")]
    shown = text.table(("a", "b"), rows, lambda row, column: f"{row}{column}", lambda style, cell: f"<{style}>{cell}")
    assert shown == "<title>a     <title>b\n<00>long  <01>x\n<10>y"
