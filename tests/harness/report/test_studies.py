"""A study's table: intervals by hand, differences paired by seed, and what is said of the paper."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pytest

from harness.report import studies
from harness.report.studies import Spread, Told, lines_of

METRICS = {"coco_caption": "CIDEr", "refcoco_res": "mIoU"}
VALUES = {
    ("plain", ""): {s: {"coco_caption": c, "refcoco_res": m} for s, c, m in ((0, 100, 30), (1, 110, 32), (2, 120, 31))},
    ("rich", ""): {s: {"coco_caption": c, "refcoco_res": m} for s, c, m in ((0, 109, 33), (1, 120, 29), (2, 131, 31))},
    ("late", ""): {},
}
PAPER: dict[str, dict[str, float | None]] = {
    "plain": {"coco_caption": 118.7, "refcoco_res": 18.6},
    "rich": {"coco_caption": 124.4, "refcoco_res": None},
}


def told() -> Told:
    lines = lines_of(VALUES, ("plain", ""), {}, PAPER)
    return Told("test", "What?", "plain", "It says.", "Table 0", lines, METRICS, 6, 9, "small", [("c", "agrees", "")])


def test_the_interval_over_seeds_is_students() -> None:
    spread = Spread.of([100.0, 110.0, 120.0])
    # Standard deviation 10, standard error 10 / sqrt(3), and t(0.975, 2 degrees) = 4.3027 from the printed table.
    assert spread.mean == 110
    assert spread.low == pytest.approx(110 - 4.3027 * 10 / math.sqrt(3), abs=1e-3)
    assert Spread.of([5.0]) == Spread(5.0, None, None, 1, (5.0,))
    assert not Spread.of([5.0]).settled


def test_differences_are_paired_by_seed() -> None:
    plain, rich = told().lines
    assert plain.differences == {}
    captions = rich.differences["coco_caption"]  # 9, 10, 11: mean 10, standard deviation 1
    assert captions.mean == pytest.approx(10)
    assert captions.high == pytest.approx(10 + 4.3027 / math.sqrt(3), abs=1e-3)
    assert captions.settled
    outlines = rich.differences["refcoco_res"]  # 3, -3, 0
    assert outlines.mean == pytest.approx(0)
    assert not outlines.settled


def test_an_arm_that_is_not_done_is_left_out_and_counted() -> None:
    text = studies.markdown(told())
    assert "late" not in text
    assert "6 of 9 cells are done" in text
    assert "never to be read as numbers of a real benchmark" in text
    assert "| rich | as trained | **+10.0 [7.5, 12.5]** | +0.0 [-7.5, 7.5] |" in text


def test_what_agrees_with_the_paper_and_what_cannot_be_told() -> None:
    said = studies.agreement(told())
    assert "- agrees: rich CIDEr (+5.7 there, +10.0 here)" in said  # 124.4 - 118.7
    assert "- disagrees: none" in said
    assert "- cannot tell: none" in said  # the paper has no mIoU of this arm
    swapped = {("rich", ""): VALUES["plain", ""], ("plain", ""): VALUES["rich", ""]}
    other = Told("t", "", "plain", "", "", lines_of(swapped, ("plain", ""), {}, PAPER), METRICS, 6, 6, "small", [])
    assert "- disagrees: rich CIDEr (+5.7 there, -10.0 here)" in studies.agreement(other)


def test_the_table_has_a_row_a_metric_and_the_figure_is_the_same_twice(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(studies.table(told()))))
    assert [(row["arm"], row["task"]) for row in rows] == [(a, t) for a in ("plain", "rich") for t in METRICS]
    assert float(rows[2]["difference"]) == pytest.approx(10)
    assert rows[2]["paper"] == "124.4000"
    for name in ("one", "two"):
        studies.draw(told(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 5_000
