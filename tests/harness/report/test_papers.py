"""The tables of the papers: every published figure is in its table, with rows for our runs."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import Any

import pytest

from harness import published
from harness.core import Run
from harness.report import papers
from harness.report.tables import Table
from tests.harness.report.runs import a_run

ROWS = list(csv.DictReader(published.CSV.read_text(encoding="utf-8").splitlines()))


def tables_by_key(runs: list[Run]) -> dict[str, Table]:
    return {table.key: table for table in papers.tables(published.every(), published.tables(), runs)}


def test_tables_contain_every_published_figure() -> None:
    tables = tables_by_key([])
    assert sum(table.figure_count for table in tables.values()) == len(ROWS) == 1760
    keys = {row["table"] for row in ROWS}
    assert [table.key for table in tables.values()] == [key for key in published.tables() if key in keys]
    printed = {key: " ".join(cell for row in table.rows for cell in row) for key, table in tables.items()}
    for row in ROWS:
        number = row["value"].removeprefix("~")
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", printed[row["table"]]), row


def test_tables_figure_of_an_unknown_table_raises_value_error() -> None:
    lost = replace(published.every()[0], table="T99")
    with pytest.raises(ValueError, match="T99"):
        papers.tables([lost], published.tables(), [])


def test_tables_row_of_our_run_has_interval_difference_and_a_note_on_its_origin() -> None:
    table = tables_by_key([a_run()])["T4_zero_shot"]
    [row] = [row for row in table.rows if row[0] == "florence2-l (ours)"]
    place = table.head.index("COCO caption Karpathy test CIDEr")
    assert row[place] == "136.1 [135.1, 137.1]; +0.5"  # Table 4: 135.6
    assert row.count("not run") == len(table.head) - 5
    [note] = [note for note in table.notes if "run abc" in note]
    assert "2026-11-26 on cuda:0, n = 5,000" in note


@pytest.mark.parametrize(
    "changes", [{"data": "miniature"}, {"protocol": "fine_tuned"}, {"limit": 10}, {"split": "val"}]
)
def test_tables_run_of_other_data_protocol_limit_or_split_is_not_shown(changes: dict[str, Any]) -> None:
    run = a_run()
    table = tables_by_key([replace(run, spec=replace(run.spec, **changes))])["T4_zero_shot"]
    assert not any("136.1" in cell for row in table.rows for cell in row)


def test_tables_have_notes_on_contradictions_in_the_paper() -> None:
    notes = " ".join(note for table in tables_by_key([]).values() for note in table.notes)
    for text in ("140.0 CIDEr", "81.5 TextVQA", "82.2", "+4.9", "44.5", "134.6 for both other", "43.4 is sometimes"):
        assert text in notes, text


def test_tables_figure_with_a_remark_is_in_the_row_of_its_training() -> None:
    """published.csv has a remark in a training of Table 6; Florence-2-B still has one row with all 11 figures."""
    table = tables_by_key([])["T6_region"]
    [row] = [row for row in table.rows if row[0] == "Florence-2-B"]
    assert row[table.head.index("RefCOCOg REC test Acc@0.5")] == "~82.2"
    assert row[3] == "generalist joint ft (one model, Table 14 datasets)"
    assert "–" not in row


def test_tables_by_data_set_merge_names_and_add_models_of_another_table() -> None:
    """The OWLv2 paper has one table of 35 data sets (appendix A.8.2); GLIP has other names for five of the 13."""
    table = tables_by_key([])["ODinW13_per_dataset"]
    data_sets, average_rows = table.rows[:13], table.rows[13:]
    assert not any("–" in row for row in data_sets)
    assert [row[0] for row in average_rows] == ["mean (computed)", "median (computed)", "mean (published)"]
    by_name = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    ensemble = next(name for name in table.head if name.startswith("OWLv2 OWL-ST/FT"))
    drone = by_name["AerialMaritimeDrone"]
    assert (drone["GLIP-T"], drone["GDINO-T (O365,GoldG,Cap4M)"], drone[ensemble]) == ("12.5", "17.3", "21.7")
    assert by_name["mean (computed)"][ensemble] == "56.33" and by_name["mean (published)"][ensemble] == "56.3"
    assert table.figure_count == sum(
        row["table"] == "ODinW13_per_dataset" for row in ROWS
    )  # added figures count in their own table
    whole = tables_by_key([])["ODinW35_per_dataset"]
    assert len(whole.rows) == 35 + 4  # mean and median, computed and published
    assert not any("–" in row for row in whole.rows[:37])
