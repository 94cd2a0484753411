"""Types of parquet columns in words, and decimals of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from harness.data.columns import described, fits, shorten, shortest

RECORD = pa.struct([("answer", pa.string()), ("ids", pa.list_(pa.int8()))])
SCHEMA = pa.schema(
    {
        "text": pa.string(), "large": pa.large_string(), "code": pa.dictionary(pa.int8(), pa.string()),
        "byte": pa.uint8(), "half": pa.float32(), "whole": pa.float64(), "yes": pa.bool_(),
        "boxes": pa.list_(pa.list_(pa.float64(), 4)), "records": pa.list_(RECORD), "record": RECORD,
        "picture": pa.struct([("bytes", pa.large_binary()), ("path", pa.string())]), "blob": pa.binary(),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("text", "string"),
        ("large", "string"),
        ("code", "string"),
        ("byte", "integer"),
        ("half", "float32"),
        ("whole", "float64"),
        ("yes", "bool"),
        ("boxes", "list of list of float64"),
        ("records", "list of record"),
        ("records.answer", "list of string"),
        ("records.ids", "list of list of integer"),
        ("record.ids", "list of integer"),
        ("record.answer", "string"),
        ("picture", "image"),
        ("blob", "image"),
        ("none", None),
        ("record.none", None),
        ("text.answer", None),
    ],
)
def test_described_names_the_type_at_a_path(path: str, expected: str | None) -> None:
    assert described(SCHEMA, path) == expected


@pytest.mark.parametrize(
    ("declared", "found", "expected"),
    [
        ("string", "string", True),
        ("integer", "float64", False),
        ("number", "integer", True),
        ("list of number", "list of float32", True),
        ("list of number", "float32", False),
        ("number", "bool", False),
        ("image", "string", False),
    ],
)
def test_fits_takes_integers_for_numbers_only(declared: str, found: str, expected: bool) -> None:
    assert fits(declared, found) is expected


def test_shortest_restores_every_number_of_two_decimals_below_1000() -> None:
    for hundredths in range(0, 100_000, 7):
        exact = hundredths / 100
        assert shortest([float(np.float32(exact))]) == [exact]


@pytest.mark.parametrize("value", [None, "59.05", 3, True, [], [None, "x"]])
def test_shortest_leaves_other_values(value: Any) -> None:
    assert shortest(value) == value


def test_shorten_changes_the_numbers_at_a_path_only() -> None:
    single = float(np.float32(0.1))
    row = {"a": [{"b": [single], "c": single}, {"b": None, "c": 1.0}], "d": single}
    shorten(row, ["a", "b"])
    assert row == {"a": [{"b": [0.1], "c": single}, {"b": None, "c": 1.0}], "d": single}
    shorten(row, ["d"])
    assert row["d"] == 0.1
