"""Figures parsed from published.csv."""

from __future__ import annotations

import csv
import re

import pytest

from harness import published
from harness.published.figure import parse

HEADER = "table,model,params,protocol,training,task,split,metric,value,source,source_locator,confidence"
ROW = "T1,M,1B,zero_shot,web,COCO caption,val,CIDEr,84.3,a paper,Table 1,high"


def test_every_of_the_committed_file_has_each_row_in_file_order() -> None:
    rows = list(csv.DictReader(published.CSV.read_text(encoding="utf-8").splitlines()))
    renamed = {"params": "parameters", "value": "text", "source_locator": "locator"}
    for row, figure in zip(rows, published.every(), strict=True):
        assert row == {column: getattr(figure, renamed.get(column, column)) for column in row}


def test_parse_row_gives_value_and_column() -> None:
    [figure] = parse(f"{HEADER}\n{ROW}\n")
    assert (figure.value, figure.printed, figure.exact, figure.doubtful) == (84.3, "84.3", True, False)
    assert figure.column == ("COCO caption", "val", "CIDEr")
    assert figure.column.title == "COCO caption val CIDEr"
    [figure] = parse(f"{HEADER}\n{ROW.replace(',val,', ',as in paper,')}\n")
    assert figure.column.title == "COCO caption CIDEr"


@pytest.mark.parametrize(
    ("text", "confidence", "printed", "exact"),
    [("84.3", "medium", "~84.3", True), ("~84.3", "high", "~84.3", False), ("~84.3", "medium", "~84.3", False)],
)
def test_printed_doubtful_figure_has_a_tilde(text: str, confidence: str, printed: str, exact: bool) -> None:
    [figure] = parse(f"{HEADER}\n{ROW.replace('84.3', text).replace('high', confidence)}\n")
    assert (figure.printed, figure.exact, figure.doubtful) == (printed, exact, True)


def test_value_of_an_inexact_figure_raises_value_error() -> None:
    [figure] = parse(f"{HEADER}\n{ROW.replace('84.3', '~84.3')}\n")
    with pytest.raises(ValueError, match=r"~84\.3"):
        _ = figure.value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER.replace("split", "part"), "published.csv: unknown or missing columns: part, split"),
        (f"{HEADER}\n{ROW},more", "published.csv, line 2: 13 cells for 12 columns"),
        (f"{HEADER}\n{ROW}\n{ROW.replace('zero_shot', 'one_shot')}", "published.csv, line 3: protocol 'one_shot'"),
        (f"{HEADER}\n{ROW.replace('high', 'low')}", "published.csv, line 2: confidence 'low'"),
        (
            f"{HEADER}\n{ROW.replace('84.3', 'many')}",
            "published.csv, line 2: could not convert",
        ),
    ],
)
def test_parse_malformed_file_raises_value_error_with_the_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        parse(text)
