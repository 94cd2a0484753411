"""The types behind tables.toml, applied to figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.published import DataSetAverages, DataSets, Figure, OurModel, SplitAverage, TableSpec

FIGURE = Figure("T1", "M", "1B", "zero_shot", "web", "Set pistols", "test", "AP", "10.0", "a paper", "Table 1", "high")
AVERAGES = DataSetAverages("T1", "Set pistols", "zero_shot", {"mean": "AP", "median": "AP median"})


@pytest.mark.parametrize(
    ("changes", "matches"), [({}, True), ({"model": "N"}, False), ({"protocol": "fine_tuned"}, False)]
)
def test_publishes_compares_name_and_protocol(changes: dict[str, str], matches: bool) -> None:
    assert OurModel("m", "zero_shot", "M").publishes(replace(FIGURE, **changes)) is matches


def test_publishes_without_a_published_name_is_false() -> None:
    assert not OurModel("M", "zero_shot").publishes(FIGURE)


def test_parts_of_an_average_cover_every_split_of_every_task() -> None:
    average = SplitAverage("all", "average", "Acc", {"a": ("val", "test"), "b": ("val",)})
    assert average.parts == {("a", "val", "Acc"), ("a", "test", "Acc"), ("b", "val", "Acc")}
    assert average.column == ("all", "average", "Acc")


@pytest.mark.parametrize(
    ("changes", "prints"),
    [({}, (True, False)), ({"metric": "AP median"}, (False, True)), ({"table": "T2"}, (False, False))],
)
def test_prints_compares_table_task_protocol_and_metric(changes: dict[str, str], prints: tuple[bool, bool]) -> None:
    figure = replace(FIGURE, **changes)
    assert (AVERAGES.prints(figure, "mean"), AVERAGES.prints(figure, "median")) == prints


def test_name_of_a_data_set_with_other_names_is_the_table_name() -> None:
    layout = DataSets("Set ", AVERAGES, same={"Pistols": ("pistols", "guns")})
    names = [layout.name_of(replace(FIGURE, task=f"Set {name}")) for name in ("pistols", "guns", "Pistols", "boats")]
    assert names == ["Pistols", "Pistols", "Pistols", "boats"]


def test_training_of_a_figure_with_a_remark_is_the_training_of_its_row() -> None:
    spec = TableSpec("title", same_training={"web [a remark]": "web"})
    assert [spec.training_of(replace(FIGURE, training=text)) for text in ("web [a remark]", "web", "books")] == [
        "web",
        "web",
        "books",
    ]
