"""The tables of the papers: every published figure in its place, and our runs beside it."""

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


def of(runs: list[Run]) -> dict[str, Table]:
    return {table.key: table for table in papers.tables(published.every(), published.tables(), runs)}


def test_every_published_row_has_a_place() -> None:
    found = of([])
    assert sum(table.placed for table in found.values()) == len(ROWS) == 1653
    keys = {row["table"] for row in ROWS}
    assert [table.key for table in found.values()] == [key for key in published.tables() if key in keys]
    printed = {key: " ".join(cell for row in table.rows for cell in row) for key, table in found.items()}
    for row in ROWS:
        number = row["value"].removeprefix("~")
        assert re.search(rf"(?<![\d.]){re.escape(number)}(?![\d.]\d)", printed[row["table"]]), row


def test_a_table_without_a_place_is_refused() -> None:
    lost = replace(published.every()[0], table="T99")
    with pytest.raises(ValueError, match="T99"):
        papers.tables([lost], published.tables(), [])


def test_our_run_stands_beside_with_interval_difference_count_date_and_device() -> None:
    table = of([a_run()])["T4_zero_shot"]
    [ours] = [row for row in table.rows if row[0] == "florence2-l (ours)"]
    place = table.head.index("COCO caption Karpathy test CIDEr")
    assert ours[place] == "136.1 [135.1, 137.1]; +0.5"  # Table 4: 135.6
    assert ours.count("not measured") == len(table.head) - 5
    [note] = [note for note in table.notes if "run abc" in note]
    assert "2026-11-26 on cuda:0, n = 5,000" in note


@pytest.mark.parametrize("other", [{"data": "miniature"}, {"protocol": "fine_tuned"}, {"limit": 10}, {"split": "val"}])
def test_run_of_another_protocol_split_or_part_is_not_shown(other: dict[str, Any]) -> None:
    run = a_run()
    table = of([replace(run, spec=replace(run.spec, **other))])["T4_zero_shot"]
    assert not any("136.1" in cell for row in table.rows for cell in row)


def test_contradictions_of_the_paper_are_noted() -> None:
    notes = " ".join(note for table in of([]).values() for note in table.notes)
    for said in ("140.0 CIDEr", "81.5 TextVQA", "82.2", "+4.9", "44.5", "134.6 for both others", "43.4 is sometimes"):
        assert said in notes, said


def test_figure_with_a_remark_stands_in_the_row_of_its_training() -> None:
    """One training of Table 6 has a remark in published.csv; Florence-2-B still has one row, with all 11 figures."""
    table = of([])["T6_region"]
    [row] = [row for row in table.rows if row[0] == "Florence-2-B"]
    assert row[table.head.index("RefCOCOg REC test Acc@0.5")] == "~82.2"
    assert row[3] == "generalist joint ft (one model, Table 14 datasets)"
    assert "–" not in row


def test_a_data_set_of_several_names_is_one_row_and_other_tables_models_stand_beside() -> None:
    """OWLv2's paper prints its 35 sets together (appendix A.8.2); GLIP calls five of the 13 by other names."""
    table = of([])["ODinW13_per_dataset"]
    sets, work = table.rows[:13], table.rows[13:]
    assert not any("–" in row for row in sets)
    assert [row[0] for row in work] == ["mean, computed", "median, computed", "average, printed"]
    by_name = {row[0]: dict(zip(table.head, row, strict=True)) for row in table.rows}
    ensemble = next(name for name in table.head if name.startswith("OWLv2 OWL-ST/FT"))
    drone = by_name["AerialMaritimeDrone"]
    assert (drone["GLIP-T"], drone["GDINO-T (O365,GoldG,Cap4M)"], drone[ensemble]) == ("12.5", "17.3", "21.7")
    assert by_name["mean, computed"][ensemble] == "56.33" and by_name["average, printed"][ensemble] == "56.3"
    assert table.placed == sum(row["table"] == "ODinW13_per_dataset" for row in ROWS)  # the others are counted there
    whole = of([])["ODinW35_per_dataset"]
    assert len(whole.rows) == 35 + 4  # mean and median, computed and printed
    assert not any("–" in row for row in whole.rows[:37])
