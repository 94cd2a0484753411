"""What the keys of tables.toml say of a figure."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.published import DataSetAverages, DataSets, Figure, OurModel, SplitAverage, TableSpec

FIGURE = Figure("T1", "M", "1B", "zero_shot", "web", "Set pistols", "test", "AP", "10.0", "a paper", "Table 1", "high")
AVERAGES = DataSetAverages("T1", "Set pistols", "zero_shot", {"mean": "AP", "median": "AP median"})


@pytest.mark.parametrize(("other", "same"), [({}, True), ({"model": "N"}, False), ({"protocol": "fine_tuned"}, False)])
def test_figure_is_of_our_model_by_name_and_protocol(other: dict[str, str], same: bool) -> None:
    assert OurModel("m", "zero_shot", "M").publishes(replace(FIGURE, **other)) is same


def test_model_without_a_published_name_has_no_figure() -> None:
    assert not OurModel("M", "zero_shot").publishes(FIGURE)


def test_parts_of_an_average_are_every_split_of_every_task() -> None:
    average = SplitAverage("all", "average", "Acc", {"a": ("val", "test"), "b": ("val",)})
    assert average.parts == {("a", "val", "Acc"), ("a", "test", "Acc"), ("b", "val", "Acc")}
    assert average.column == ("all", "average", "Acc")


@pytest.mark.parametrize(
    ("other", "prints"),
    [({}, (True, False)), ({"metric": "AP median"}, (False, True)), ({"table": "T2"}, (False, False))],
)
def test_printed_average_is_known_by_table_task_protocol_and_metric(
    other: dict[str, str], prints: tuple[bool, bool]
) -> None:
    figure = replace(FIGURE, **other)
    assert (AVERAGES.prints(figure, "mean"), AVERAGES.prints(figure, "median")) == prints


def test_data_set_has_its_name_in_the_table() -> None:
    layout = DataSets("Set ", AVERAGES, same={"Pistols": ("pistols", "guns")})
    names = [layout.name_of(replace(FIGURE, task=f"Set {name}")) for name in ("pistols", "guns", "Pistols", "boats")]
    assert names == ["Pistols", "Pistols", "Pistols", "boats"]


def test_training_of_a_row_replaces_a_training_with_a_remark() -> None:
    spec = TableSpec("title", same_training={"web [a remark]": "web"})
    assert [spec.training_of(replace(FIGURE, training=text)) for text in ("web [a remark]", "web", "books")] == [
        "web",
        "web",
        "books",
    ]
