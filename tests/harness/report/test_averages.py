"""Published averages, recomputed from the figures that they cover."""

from __future__ import annotations

import csv
from dataclasses import replace

from harness import published
from harness.published import DataSetAverages, Figure, SplitAverage
from harness.report import averages, papers

SETS = DataSetAverages("Whole", "Sets", "zero_shot", {"mean": "AP average", "median": "AP median"})
SPLITS = SplitAverage("all", "average", "Acc", {"RefCOCO": ("val", "testA"), "RefCOCOg": ("val",)})


def a_figure(model: str, task: str, split: str, metric: str, text: str, table: str = "T1") -> Figure:
    return Figure(table, model, "", "zero_shot", "web", task, split, metric, text, "a paper", "Table 1", "high")


def by_data_set(*values: str, model: str = "M") -> list[Figure]:
    return [a_figure(model, f"Set {place}", "test", "AP", text) for place, text in enumerate(values)]


def published_average(metric: str, text: str, model: str = "M") -> Figure:
    return a_figure(model, "Sets", "test", metric, text, table="Whole")


def test_of_data_sets_of_odinw35_notes_the_misprinted_average() -> None:
    rows = list(csv.DictReader(published.CSV.read_text(encoding="utf-8").splitlines()))
    tables = {table.key: table for table in papers.tables(published.every(), published.tables(), [])}
    table = tables["ODinW35_per_dataset"]
    place = table.head.index("MM-GDINO-T (O365,GoldG,GRIT,V3Det)")
    values = [float(row["value"]) for row in rows if row["table"] == table.key and row["model"] == table.head[place]]
    assert len(values) == 35
    cells = {row[0]: row[place] for row in table.rows}
    assert cells["mean (computed)"] == f"{sum(values) / 35:.2f}" == "23.17"
    assert cells["mean (published)"] == "~28.4"  # marked as a suspected misprint
    assert any("the source prints AP average 28.4" in note for note in table.notes)


def test_of_data_sets_mean_and_median_that_agree_have_no_note() -> None:
    shown = by_data_set("10.0", "20.0", "60.0")  # mean 30, median 20
    result = averages.of_data_sets(
        SETS, shown, [published_average("AP average", "30.0"), published_average("AP median", "20.0")]
    )
    assert result.rows == [
        ["mean (computed)", "30.00"],
        ["median (computed)", "20.0"],
        ["mean (published)", "30.0"],
        ["median (published)", "20.0"],
    ]
    assert result.notes == []


def test_of_data_sets_mean_and_median_that_disagree_have_notes() -> None:
    shown = by_data_set("10.0", "20.0", "60.0")
    result = averages.of_data_sets(
        SETS, shown, [published_average("AP average", "30.1"), published_average("AP median", "30.0")]
    )
    assert result.notes == [
        "M: the source prints AP average 30.1; the 3 rows give 30.00.",
        "M: the source prints AP median 30; the 3 rows give 20.00.",
    ]


def test_of_data_sets_rounding_of_the_published_mean_has_no_note() -> None:
    shown = by_data_set("10.0", "10.1")  # mean 10.05, which rounds to 10.0 or to 10.1
    for text in ("10.0", "10.1"):
        assert averages.of_data_sets(SETS, shown, [published_average("AP average", text)]).notes == []


def test_of_data_sets_average_of_another_table_task_protocol_or_model_is_ignored() -> None:
    right = published_average("AP average", "99.0")
    others = [
        replace(right, table="T9"),
        replace(right, task="Sets (another setting)"),
        replace(right, protocol="fine_tuned"),
        replace(right, metric="AP"),
        replace(right, model="another"),
        replace(right, text="~99.0"),
    ]
    result = averages.of_data_sets(SETS, by_data_set("10.0", "20.0"), others)
    assert (len(result.rows), result.notes, result.published) == (2, [], [])


def test_of_data_sets_model_without_a_published_average_has_a_dash() -> None:
    shown = [*by_data_set("10.0", "20.0"), *by_data_set("30.0", model="N")]
    result = averages.of_data_sets(SETS, shown, [published_average("AP average", "15.0")])
    assert result.rows[2] == ["mean (published)", "15.0", "–"]


def splits(average: str, *values: str) -> list[Figure]:
    places = [("RefCOCO", "val"), ("RefCOCO", "testA"), ("RefCOCOg", "val")]
    parts = [a_figure("M", *place, "Acc", text) for place, text in zip(places, values, strict=False)]
    return [*parts, a_figure("M", "all", "average", "Acc", average)]


def test_of_splits_average_that_disagrees_has_a_note() -> None:
    # (80 + 82 + 75) / 3 = 79
    assert averages.of_splits(SPLITS, splits("79.0", "80.0", "82.0", "75.0")) == []
    [note] = averages.of_splits(SPLITS, splits("79.5", "80.0", "82.0", "75.0"))
    assert note == "M: the source prints 79.5; the 3 splits give 79.00."


def test_of_splits_missing_or_approximate_split_has_no_note() -> None:
    assert averages.of_splits(SPLITS, splits("79.5", "80.0", "82.0")) == []
    assert averages.of_splits(SPLITS, splits("~79.5", "80.0", "82.0", "75.0")) == []


def test_of_splits_other_training_metric_or_task_is_ignored() -> None:
    figures = splits("79.0", "80.0", "82.0", "75.0")
    others = [replace(figure, training="other data", text="10.0") for figure in figures[:3]]
    others += [replace(figure, metric="mIoU", text="10.0") for figure in figures[:3]]
    others += [replace(figures[0], task="RefCOCO+", text="10.0")]
    assert averages.of_splits(SPLITS, [*others, *figures]) == []


def test_parts_of_the_refcoco_average_are_eight_splits() -> None:
    average = published.tables()["peers_REC"].average
    assert average is not None
    assert len(average.parts) == 8 and {metric for _, _, metric in average.parts} == {"Acc@0.5"}
