"""The parser of CSV texts with fixed columns."""

from __future__ import annotations

import pytest

from harness.published import rows

COLUMNS = {"name": "name", "value": "text"}


def test_read_rows_have_fields_and_the_number_of_their_last_line() -> None:
    text = 'value,name\n1.5,"a, b"\n2,"two\nlines"\n'  # columns in another order; the last row covers lines 3 and 4
    assert list(rows.read("x.csv", text, COLUMNS)) == [
        ("x.csv, line 2", {"text": "1.5", "name": "a, b"}),
        ("x.csv, line 4", {"text": "2", "name": "two\nlines"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.csv: unknown or missing columns: name, value;"),
        ("name,value,more\n", "x.csv: unknown or missing columns: more;"),
        ("name\n", "x.csv: unknown or missing columns: value;"),
        ("name,value\na,1\nb\n", "x.csv, line 3: 1 cells for 2 columns"),
    ],
)
def test_read_malformed_text_raises_value_error_with_the_location(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        list(rows.read("x.csv", text, COLUMNS))
