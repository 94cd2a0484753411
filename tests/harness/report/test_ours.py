"""Our runs in tables of published figures."""

from __future__ import annotations

from dataclasses import replace

from harness import published
from harness.core import Estimate
from harness.published import Column, OurModel
from harness.report import ours, papers
from tests.harness.report.runs import a_run

CAPTIONS = Column("COCO caption", "Karpathy test", "CIDEr")


def test_row_without_a_run_has_no_number() -> None:
    """Evaluation servers score test-dev of VQAv2, TextVQA and VizWiz, so this harness cannot."""
    tables = {table.key: table for table in papers.tables(published.every(), published.tables(), [])}
    table = tables["T5_caption_vqa"]
    [row] = [row for row in table.rows if row[0] == "florence2-l-ft (ours)"]
    cells = dict(zip(table.head, row, strict=True))
    assert cells["training"] == "not run"
    assert {cells[name] for name in table.head if "VQA" in name or "VizWiz" in name} == {"not scored here"}
    assert cells["COCO caption Karpathy test CIDEr"] == "not run"


def test_row_difference_is_from_the_figure_with_the_published_name() -> None:
    """The model card prints 135.6 for Florence-2-large; 136.1 - 135.6 = 0.5."""
    tables = {table.key: table for table in papers.tables(published.every(), published.tables(), [a_run()])}
    table = tables["HF_card_zero_shot"]
    [row] = [row for row in table.rows if row[0] == "florence2-l (ours)"]
    assert row[table.head.index(CAPTIONS.title)] == "136.1 [135.1, 137.1]; +0.5"


def test_row_without_a_published_figure_of_the_model_has_no_difference() -> None:
    figures = [figure for figure in published.every() if figure.table == "T4_zero_shot"]
    row = ours.row(OurModel("florence2-l", "zero_shot"), [CAPTIONS], figures, [a_run()])
    assert row.cells[4] == "136.1 [135.1, 137.1]"


def test_row_with_an_undefined_metric_has_a_dash() -> None:
    figures = [figure for figure in published.every() if figure.table == "T4_zero_shot"]
    run = replace(a_run(), metrics={"CIDEr": Estimate(None, None, None, 1)})
    row = ours.row(OurModel("florence2-l", "zero_shot", "Florence-2-L"), [CAPTIONS], figures, [run])
    assert row.cells[4] == "–"


def test_representative_of_several_runs_is_the_complete_run_of_the_latest_version() -> None:
    old, new = a_run(value=10.0), a_run(value=20.0, version=2)
    partial = replace(a_run(value=30.0, version=3), status="incomplete")
    runs = [old, replace(new, id="new"), replace(partial, id="partial")]
    assert ours.representative(runs).id == "new"
    row = ours.row(OurModel("florence2-l", "zero_shot"), [CAPTIONS], [], runs)
    assert row.cells[4] == "20.0 [19.0, 21.0]"
    assert "Run new is shown" in row.notes[0] and "other runs: abc (version 1)." in row.notes[0]


def test_highest_runs_are_of_each_task_and_split_in_the_order_given() -> None:
    low, high, middle = (a_run(model, value) for model, value in (("a", 1.0), ("b", 3.0), ("c", 2.0)))
    other, undefined = a_run("d", 0.5, split="val"), replace(a_run("e"), metrics={})
    assert ours.highest([low, high, other, middle, undefined], 2) == [high, other, middle]
    assert ours.highest([low, undefined], 1) == [low]


def test_few_shot_run_is_in_no_zero_shot_row() -> None:
    """Nor does a zero-shot figure stand beside it."""
    figures = [figure for figure in published.every() if figure.table == "T4_zero_shot"]
    run = a_run(protocol="few_shot")
    row = ours.row(OurModel("florence2-l", "zero_shot", "Florence-2-L"), [CAPTIONS], figures, [run])
    assert row.cells[4] == "not run"
    assert published.table.published_names("florence2-l", "few_shot") == frozenset()


def test_row_of_a_run_that_is_not_comparable_says_why() -> None:
    """Six images of 5,000 do not stand beside the figure of the paper."""
    figures = [figure for figure in published.every() if figure.table == "T4_zero_shot"]
    run = a_run(limit=6)
    row = ours.row(OurModel("florence2-l", "zero_shot", "Florence-2-L"), [CAPTIONS], figures, [run])
    assert row.cells[4] == "not compared: a sample of at most 6 images"
    assert row.notes == []
