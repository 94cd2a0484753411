"""The figures of an engine folder and the numbers behind them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from harness.data_engine.counts import count
from harness.data_engine.waterfall import waterfall
from harness.report.engine_figures import BARS, draw, plotted
from tests.harness.data_engine.rows import ORIGINS, record, region, text

ONE = record(region((0, 0, 50, 50), "dog"))


def test_plotted_numbers_are_the_counts() -> None:
    """A quarter of the image: size 0.5, log aspect 0, centre in row and column 4 of 16."""
    rows = [tuple(row) for row in plotted(count([ONE]), waterfall([ONE], ORIGINS))]
    drawn = [row for row in rows[1:] if row[5] != 0]
    assert drawn == [
        ("boxes", "region", "size", "0.5", "0.55", 1),
        ("boxes", "region", "log2 aspect ratio", "0", "0.25", 1),
        ("boxes", "region", "centre, row 4", 4, 5, 1),
        ("waterfall", "region", "detector: raw", "", "", 1),
        ("waterfall", "region", "detector: kept", "", "", 1),
    ]


def test_figures_are_drawn_where_there_is_something(tmp_path: Path) -> None:
    files = draw(count([ONE]), waterfall([ONE], ORIGINS), tmp_path)
    assert [file.file for file in files] == ["boxes", "waterfall"]
    for file in files:
        with Image.open(tmp_path / f"{file.file}.png") as image:
            assert image.width > 400 and len(image.convert("RGB").getcolors(1 << 24) or []) > 2
    only_text = record(text("A dog."))
    assert [file.file for file in draw(count([only_text]), waterfall([only_text], ORIGINS), tmp_path)] == ["waterfall"]
    assert draw(count([]), waterfall([], ORIGINS), tmp_path) == []


def test_waterfall_shows_the_largest_flows(tmp_path: Path) -> None:
    from dataclasses import replace

    flow = waterfall([ONE], ORIGINS)
    many = replace(flow, flows=tuple(replace(flow.flows[0], origin=f"o{n}") for n in range(BARS + 5)))
    assert len(draw(count([ONE]), many, tmp_path)) == 2
