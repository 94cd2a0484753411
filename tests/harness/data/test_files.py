"""Annotation and prediction files: one value each, or one line that names the file and the record."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core import Answer, Question, Sample, Text
from harness.data import files
from harness.errors import DataError


class Record(msgspec.Struct):
    id: int
    name: str = ""


def samples(*names: str) -> list[Sample[Any]]:
    return [Sample(name, Question(f"{name}.jpg", None, "caption"), None, name) for name in names]


def upper(entry: str, sample: Sample[Any]) -> Answer:
    """The answer of an entry; ValueError for an empty one."""
    if not entry:
        raise ValueError(f"the entry of {sample.id} is empty")
    return Answer((entry,), Text((entry.upper(),)))


def test_load_returns_typed_records_without_unknown_fields(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('[{"id": 1, "name": "a", "unused": {}}, {"id": 2}]')
    assert files.load(path, list[Record], "somewhere") == [Record(1, "a"), Record(2)]


@pytest.mark.parametrize(("text", "message"), [
    ('[{"id": 1}, {"id": "2"}]', r"Expected `int`, got `str` - at `\$\[1\]\.id`$"),
    ('[{"name": "a"}]', r"missing required field `id` - at `\$\[0\]`$"),
    ("[{", "it should be JSON in UTF-8, which has no NaN$"),
    ('[{"id": NaN}]', "it should be JSON in UTF-8, which has no NaN$"),
    ("[" * 3000, "x.json is not as expected"),
])  # fmt: skip
def test_load_of_malformed_file_names_the_first_record(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        files.load(path, list[Record], "somewhere")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_read_of_missing_file_or_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.json is not there; it comes from somewhere; `python -m harness data"):
        files.read(tmp_path / "x.json", "somewhere")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        files.read(tmp_path, "somewhere")


def test_predictions_that_cannot_be_read_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the predictions .*x\.json cannot be read: No such file"):
        files.predictions(tmp_path / "x.json", list[Record])


def test_by_id_keeps_order_and_refuses_duplicates() -> None:
    records = [Record(2, "b"), Record(1, "a")]
    assert list(files.by_id(records, lambda record: record.id, Path("x.json"), "id")) == [2, 1]
    with pytest.raises(DataError, match=r"^x\.json has the name 'b' twice$"):
        files.by_id([*records, Record(3, "b")], lambda record: record.name, Path("x.json"), "name")


def test_one_each_converts_entries_in_any_order() -> None:
    answers = files.one_each(Path("p.json"), [("2", "b"), ("1", "a")], samples("1", "2"), "id", upper)
    assert {name: answer.value for name, answer in answers.items()} == {"1": Text(("A",)), "2": Text(("B",))}


@pytest.mark.parametrize(("entries", "message"), [
    ([("1", "a")], r"1 ids have no answer \(first: 2\); it needs one entry for each of 2$"),
    ([("1", "a"), ("2", "b"), ("1", "c")], r"1 ids are answered more than once \(first: 1\)"),
    ([("1", "a"), ("2", "b"), ("3", "c"), ("4", "d"), ("5", "e"), ("6", "f")], r"4 ids .* split \(first: 3, 4, 5\)"),
    ([("1", "a"), ("2", "")], "id 2: the entry of 2 is empty$"),
])  # fmt: skip
def test_one_each_of_incomplete_or_malformed_entries_raises(entries: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(DataError, match=rf"^p\.json: {message}"):
        files.one_each(Path("p.json"), entries, samples("1", "2"), "id", upper)


def test_written_entries_are_a_json_list(tmp_path: Path) -> None:
    entries = [{"id": 1, "bbox": (0.5, 1.0)}, {"id": 2, "bbox": ()}]
    files.write(tmp_path / "x.json", entries)
    assert json.loads((tmp_path / "x.json").read_text()) == [{"id": 1, "bbox": [0.5, 1.0]}, {"id": 2, "bbox": []}]


TEXT = '[{"id": 1, "name": "café 😀"}]'
BOM = "\ufeff"


@pytest.mark.parametrize("data", [
    TEXT.encode(), (BOM + TEXT).encode(), TEXT.encode("utf-16-le"), TEXT.encode("utf-16-be"), TEXT.encode("utf-16"),
    (BOM + TEXT).encode("utf-16-be"), TEXT.encode("utf-32"), TEXT.encode("utf-32-le"), (BOM + TEXT).encode("utf-32-be"),
])  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_json_in_every_encoding_is_read_packed_or_not(tmp_path: Path, data: bytes, packed: bool) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(gzip.compress(data) if packed else data)
    expected = [Record(1, "café 😀")]
    assert files.load(path, list[Record], "somewhere") == expected
    assert files.predictions(path, list[Record]) == expected


@pytest.mark.parametrize(("data", "message"), [
    (gzip.compress(b"[" * 1000, mtime=0)[:-9],
     "x.json is not a complete gzip file: the file ends too early; obtain it again"),
    (b"\x1f\x8b\x08 no gzip", "x.json is not a complete gzip file: "),
    (gzip.compress(b"[]", mtime=0) + b"garbage", "x.json is not a complete gzip file: "),
    (bz2.compress(b"[]"), "x.json is packed by bzip2; unpack it first"),
    (lzma.compress(b"[]"), "x.json is packed by xz; unpack it first"),
    (b"PK\x03\x04...", "x.json is packed by zip; unpack it first"),
    (b"\xff\xfe[\x00]", "x.json begins as UTF-16 but is not: .*; save it as UTF-8"),
    (b"[\x00\x00\xd8", "x.json begins as UTF-16-LE but is not"),
    (b"\xff[]", "x.json is not as expected"),
])  # fmt: skip
def test_file_in_another_form_is_named_on_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    for read in (lambda: files.load(path, list[Record], "somewhere"), lambda: files.predictions(path, list[Record])):
        with pytest.raises(DataError, match=message) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_gzip_file_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MOST_UNPACKED", 1000)
    path = tmp_path / "x.json"
    path.write_bytes(gzip.compress(b" " * 998 + b"[]"))
    assert files.load(path, list[Record], "somewhere") == []
    path.write_bytes(gzip.compress(b" " * 999 + b"[]"))
    with pytest.raises(DataError, match="more than 1,000 bytes when unpacked"):
        files.load(path, list[Record], "somewhere")
