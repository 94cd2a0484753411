"""Ids and sizes of files in COCO's format: what is converted and noted, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.core import Reading, Size
from harness.data.coco import File, Given, Id, Side
from harness.errors import DataError


@dataclass
class Record:
    id: Given


def reader(*, strict: bool = False) -> tuple[File, Reading]:
    reading = Reading(strict)
    return File(Path("mine.json"), reading, "correct the file"), reading


@pytest.mark.parametrize(("given", "converted", "note"), [
    (7, 7, ()),
    (7.0, 7, ("mine.json: ids that are floats, read as integers: 1 (first: $.x)",)),
    ("007", "007", ("mine.json: ids that are strings, kept as strings: 1 (first: $.x)",)),
    (1e300, int(1e300), ("mine.json: ids that are floats, read as integers: 1 (first: $.x)",)),
])  # fmt: skip
def test_id_is_converted_and_noted_or_refused_if_strict(given: Given, converted: Id, note: tuple[str, ...]) -> None:
    file, reading = reader()
    assert file.id(given, "$.x") == converted
    assert type(file.id(given, "$.x")) is type(converted)
    assert tuple(line.replace(": 2 (first: $.x, $.x)", ": 1 (first: $.x)") for line in reading.said()) == note
    strict, _ = reader(strict=True)
    if note:
        with pytest.raises(DataError, match=r"^mine\.json: \$\.x is the .*; correct the file, or leave --strict out$"):
            strict.id(given, "$.x")
    else:
        assert strict.id(given, "$.x") == converted


@pytest.mark.parametrize("given", [7.5, float("inf"), float("nan")])
def test_id_that_is_no_whole_number_is_refused(given: float) -> None:
    with pytest.raises(DataError, match=r"\$\.x is .*; an id is an integer or a string; correct the file$"):
        reader()[0].id(given, "$.x")


def test_by_id_keeps_the_order_and_notes_each_record_once() -> None:
    file, reading = reader()
    records = [Record(9.0), Record(4), Record("a")]
    assert list(file.by_id(records, "images", "image id").items()) == [
        (9, records[0]),
        (4, records[1]),
        ("a", records[2]),
    ]
    assert [note.count for note in reading.notes.values()] == [1, 1]
    with pytest.raises(DataError, match="has the image id 4 twice"):
        file.by_id([Record(4), Record(4.0)], "images", "image id")


def test_one_type_refuses_integers_beside_strings() -> None:
    file, _ = reader()
    file.one_type([1, 2], "image id")
    file.one_type(["1", "2"], "image id")
    file.one_type([], "image id")
    with pytest.raises(DataError, match="some image ids are integers and others are strings; correct the file"):
        file.one_type([1, "2"], "image id")


@pytest.mark.parametrize(("width", "height", "size", "note"), [
    (4, 5, Size(4, 5), None),
    (0, 0, None, None),  # a size that the file does not give
    (4.0, 5, Size(4, 5), "image sizes that are floats, read as integers"),
    (None, 5, None, "images whose size is null"),
    (4.5, 5, None, "image sizes that are no whole numbers, ignored"),
    (-4, 5, None, "image sizes that are no whole numbers, ignored"),
    (1e308, 256, None, "image sizes that no image has, ignored"),
    (2**28, 2, None, "image sizes that no image has, ignored"),
])  # fmt: skip
def test_size_is_converted_and_noted_or_refused_if_strict(
    width: Side, height: Side, size: Size | None, note: str | None
) -> None:
    file, reading = reader()
    assert file.size(width, height, "$.images[0]") == size
    assert list(reading.notes) == ([f"mine.json: {note}"] if note else [])
    strict, _ = reader(strict=True)
    if note:
        with pytest.raises(DataError, match=r"\$\.images\[0\] has .*or leave --strict out"):
            strict.size(width, height, "$.images[0]")
    else:
        assert strict.size(width, height, "$.images[0]") == size
