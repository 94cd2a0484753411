"""Tables: separators, names of columns, and malformed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import Size
from harness.data.own import csv
from harness.data.own.content import Asked, Content, Notes, Said, Thing
from harness.errors import DataError

HEAD = "image,split,label,left,top,right,bottom\n"


def _read(tmp_path: Path, text: str, notes: Notes | None = None) -> Content:
    (tmp_path / "t.csv").write_text(text)
    return csv.read(tmp_path / "t.csv", tmp_path, notes or Notes(tmp_path))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separator_is_found(separator: str, tmp_path: Path) -> None:
    text = f'{HEAD}a.png,val,"a red, or a; b",1,2,5,8\n'.replace(",", separator).replace(f"red{separator}", "red,")
    [read] = _read(tmp_path, text).pictures
    assert read.things == [Thing("a red, or a; b", (1.0, 2.0, 4.0, 6.0))]


def test_every_kind_of_row_is_read(tmp_path: Path) -> None:
    text = (
        "file_name,caption,expression,question,answer,x,y,width,height\n"
        "valid/a.png,a cat,,,,,,,\nvalid/a.png,a dog,,what?,cat,,,,\ntest/b.png,,the cat,,,1,2,3,4\n\n"
    )
    first, second = _read(tmp_path, text).pictures
    assert (first.name, first.split, first.captions) == ("valid/a.png", "val", ["a cat", "a dog"])
    assert (first.asked, first.things) == ([Asked("what?", ("cat",))], None)
    assert (second.split, second.said) == ("test", [Said("the cat", (1.0, 2.0, 3.0, 4.0))])


def test_table_of_tensorflow_has_sizes_and_images_without_objects(tmp_path: Path) -> None:
    text = "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,cat,1,2,5,8\nb.png,40,30,,,,,\n"
    first, second = _read(tmp_path, text).pictures
    assert (first.things, first.size) == ([Thing("cat", (1.0, 2.0, 4.0, 6.0))], Size(40, 30))
    assert second.things == []


def test_columns_that_are_not_read_are_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    _read(tmp_path, "image,caption,licence,author\na.png,a cat,MIT,me\n", notes)
    assert notes.reading.said() == ("columns that are not read: 2 (first: licence, author)",)


@pytest.mark.parametrize(("text", "message"), [
    ("", "t.csv is empty"),
    ("a.png,cat,1,2,5,8\n", "the first line has no column `image`; it is 'a.png,cat"),
    ("image:caption\n", "columns are separated by , ; tab or"),
    ("image,text\na.png,cat\n", "has none of the columns label, expression, question, caption; it has image, text"),
    ("image,label,left,top\n", "has the column `label` but lacks right, bottom; it has image, label, left, top"),
    ("image,question\n", "has the column `question` but lacks answer"),
    ("image,caption,caption\n", "has a column twice"),
    (f"{HEAD}a.png,val,cat,1,2,5\n", "t.csv line 2 has 6 columns, and the first line 7"),
    (f"{HEAD}a.png,val,cat,one,2,5,8\n", "t.csv line 2: left, top, right, bottom are .'one', '2', '5', '8'.; expected"),
    (f"{HEAD}a.png,val,cat,5,2,1,8\n", "line 2: left, top, right, bottom are .5.0, 2.0, 1.0, 8.0.: a negative side"),
    (f"{HEAD}a.png,val,cat,nan,2,1,8\n", "a negative side, or too large"),
    (f"{HEAD},val,cat,1,2,5,8\n", "line 2: the cell of `image` is empty"),
    (f"{HEAD}../a.png,val,cat,1,2,5,8\n", "line 2: the image name '../a.png' is not a path below"),
    (f"{HEAD}a.png,../val,cat,1,2,5,8\n", "line 2: the split '../val' is no name"),
    ("image,question,answer\na.png,what?,\n", "line 2: the cell of `answer` is empty"),
    ('image,caption\na.png,"a cat\n', "line 2 is no row of a table"),
])  # fmt: skip
def test_malformed_table_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as refused:
        _read(tmp_path, text)
    assert "\n" not in str(refused.value)
