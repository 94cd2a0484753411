"""The page of an engine folder: numbers beside the paper's, hostile names, and an empty folder."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

from harness.data_engine.costs import Cost
from harness.data_engine.counts import count
from harness.data_engine.records import Origin, Verdict
from harness.data_engine.waterfall import waterfall
from harness.report.engine import EngineReport, tables, write
from tests.harness.data_engine.rows import ORIGINS, phrase, record, region, text

CAPTION = text("A man throws a red ball.")  # 7 tokens
MAN, BALL = region((0, 0, 50, 100), "man"), region((60, 60, 70, 70), "ball")
RECORD = record(CAPTION, MAN, BALL, phrase(CAPTION, "A man", (0, 0, 50, 100))).extended(
    verdicts=[Verdict(annotation=BALL.id, status="dropped", stage="boxes.score", measured=0.1, bound=0.4)]
)
REPORT = EngineReport(
    name="mine",
    counts=count([RECORD, RECORD]),
    waterfall=waterfall([RECORD, RECORD], ORIGINS),
    costs=[Cost("captioner", 50, 2.0, "caption", 50, "cpu")],
)


def cells(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_counts_stand_beside_the_paper(tmp_path: Path) -> None:
    write(REPORT, tmp_path)
    rows = {(row[0], row[1]): row[2:] for row in cells(tmp_path / "counts.csv")}
    assert rows["text", "brief"] == ["2", "235 M", "7.00", "7.95", "–", "–", "–", "–", "–", "–"]
    assert rows["text-phrase-region", "brief"] == [
        "2", "235 M", "7.00", "7.95", "2", "1,007 M", "1.00", "4.27", "2.00", "1.93",
    ]  # fmt: skip
    assert rows["region-text", "category"][4:] == ["2", "681 M", "1.00", "5.42", "1.00", "1.19"]


def test_waterfall_and_reasons_have_shares_of_raw(tmp_path: Path) -> None:
    write(REPORT, tmp_path)
    assert ["region", "detector", "4", "2", "50.0", "2", "0", "0"] in cells(tmp_path / "waterfall.csv")
    assert cells(tmp_path / "reasons.csv")[1:] == [["region", "detector", "dropped", "boxes.score", "2", "50.0"]]
    # 25 images a second: 1e6 / 25 / 86,400 s = 0.46 days, and 126 times that
    assert cells(tmp_path / "cost.csv")[1:] == [
        ["caption", "captioner", "50", "50", "2.0", "25.00", "0.46", "58.33", "cpu"]
    ]


def test_table_without_rows_is_left_out_and_unparsed_texts_are_said() -> None:
    keys = [table.key for table in tables(REPORT)]
    assert keys == ["counts", "waterfall", "reasons", "cost"]  # nothing parsed, one origin of regions, no witnesses
    assert any("2 images with 6 annotations (3.0 an image)" in note for note in tables(REPORT)[0].notes)


def test_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write(REPORT, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_hostile_names_are_escaped_everywhere(tmp_path: Path) -> None:
    name = "<script>alert(1)</script> $x$ |\n\x1b[2J _a"
    origin = Origin(kind="specialist", name=name, fingerprint="h")
    hostile = record(region((0, 0, 5, 5), "x", origin=origin))
    report = EngineReport(name=name, counts=count([hostile]), waterfall=waterfall([hostile], {origin.id: origin}))
    page = write(report, tmp_path).read_text("utf-8")
    assert "<script>alert" not in page and "\x1b" not in page
    assert "\x1b" not in (tmp_path / "waterfall.svg").read_text("utf-8")
    assert len((tmp_path / "waterfall.md").read_text("utf-8").splitlines()) == 7


def test_empty_folder_has_a_page_without_figures(tmp_path: Path) -> None:
    report = EngineReport(name="empty", counts=count([]), waterfall=waterfall([], {}))
    page = write(report, tmp_path)
    HTMLParser().feed(page.read_text("utf-8"))
    assert "<figure>" not in page.read_text("utf-8") and not list(tmp_path.glob("*.svg"))
    assert cells(tmp_path / "counts.csv")[1][:4] == ["text", "brief", "0", "235 M"]
