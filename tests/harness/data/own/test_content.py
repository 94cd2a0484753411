"""The names of splits, notes, and boxes around outlines."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.own.content import Notes, bounds, named_split, split_of
from harness.errors import DataError


@pytest.mark.parametrize(("name", "split"), [
    ("train/images/1.jpg", "train"), ("images/Valid/1.jpg", "val"), ("a/validation/b/1.jpg", "val"),
    ("testing/1.jpg", "test"), ("1.jpg", "val"), ("train.jpg", "val"), ("trainer/1.jpg", "val"),
])  # fmt: skip
def test_folder_of_an_image_names_its_split(name: str, split: str) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(("name", "split"), [("Train", "train"), ("dev", "val"), ("night", "night"), (" ", "val")])
def test_split_of_a_column_keeps_names_of_its_own(name: str, split: str) -> None:
    assert named_split(name, "a line") == split


@pytest.mark.parametrize("name", ["../up", "a/b", "all", "a b", "x" * 51, ".hidden"])
def test_split_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="line 3: the split"):
        named_split(name, "line 3")


def test_box_is_around_all_rings() -> None:
    assert bounds([(2.0, 5.0, 4.0, 1.0, 3.0, 3.0), (9.0, 2.0)]) == (2.0, 1.0, 7.0, 4.0)


def test_note_counts_and_keeps_the_first_three_places() -> None:
    notes = Notes(Path("mine"))
    for place in "abcd":
        notes.note("cats that bark", place)
    assert notes.reading.said() == ("cats that bark: 4 (first: a, b, c)",)
    with pytest.raises(DataError, match=r"mine: cats that bark \(a\); correct it, or leave --strict out"):
        Notes(Path("mine"), strict=True).note("cats that bark", "a")
