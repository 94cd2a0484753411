"""ICDAR 2015's files of words, and its result archives."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Answer, Boxes, Quad, Quads, Question, Reading, Row, Sample, Score
from harness.data import icdar
from harness.errors import DataError

QUAD: Quad = ((1.0, 2.0), (11.0, 2.0), (11.0, 6.0), (1.0, 6.0))
LINE = "1,2,11,2,11,6,1,6"


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        (root / f"{name}.txt").write_bytes(text.encode())
    return root


@pytest.mark.parametrize(("text", "expected"), [
    (f"\ufeff{LINE},STOP\r\n\r\n", ["STOP"]),  # as published: a byte order mark, Windows' ends of lines
    (f"{LINE},STOP\n{LINE},###", ["STOP", "###"]),
    (f"\u00a0{LINE}\u00a0,c\n", ["c"]),
    (f" {LINE} , a, b \n", [" a, b "]),  # the rest of the line, with commas and spaces
    (f'{LINE},"a ""b"""\n', ['a ""b""']),  # one pair of quotes
    (f'{LINE},"a \\"b\\" \\\\c"\n', ['a "b" \\c']),
])  # fmt: skip
def test_lines_are_read_as_the_official_reader_reads_them(tmp_path: Path, text: str, expected: list[str]) -> None:
    [photograph] = icdar.read(folder(tmp_path, gt_img_1=text), "")
    assert photograph.words == Quads((QUAD,) * len(expected), tuple(expected))
    assert photograph.file_name == "img_1.jpg"


def test_images_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = {f"gt_img_{number}": f"{LINE},a" for number in (10, 9, 100)} | {"readme": "not read"}
    assert [photograph.id for photograph in icdar.read(folder(tmp_path, **files), "")] == ["9", "10", "100"]


@pytest.mark.parametrize(("files", "message"), [
    ({}, "has no files named gt_img_1.txt, gt_img_2.txt, ...; obtain it again from somewhere"),
    ({"gt_img_1": f"{LINE},a\n1,2,3,a"}, r"gt_img_1\.txt: line 2 is not x1,y1,.*; obtain it again from somewhere"),
    ({"gt_img_1": LINE}, "line 1 is not"),  # no transcription, not even an empty one
    ({"gt_img_1": f"{LINE},"}, "word 1 has no transcription"),
    ({"gt_img_1": f"1.5{LINE[1:]},a"}, "line 1 is not"),
    ({"gt_img_1": f"{'9' * 5000}{LINE[1:]},a"}, "line 1 is not"),
    ({"gt_img_1": f"٣{LINE[1:]},a"}, "line 1 is not"),  # a digit, but not 0 to 9
])  # fmt: skip
def test_malformed_files_are_a_data_error(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(icdar.read(folder(tmp_path, **files), "somewhere"))


def test_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere cannot be read: No such file or directory; correct the file"):
        list(icdar.read(tmp_path / "nowhere", ""))


# ---------------------------------------------------------------------------- result archives


def sample(number: str = "1") -> Sample[Quads]:
    return Sample(number, Question(f"img_{number}.jpg", None, "ocr_regions"), Quads((QUAD,), ("STOP",)), number)


def row(value: Any, number: str = "1") -> Row[Quads]:
    return Row(sample(number), Answer(("",), value), Score({}))


def archive(path: Path, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in files.items():
            opened.writestr(f"{name}.txt", text)
    return path


def test_result_archive_has_a_file_of_lines_for_each_image(tmp_path: Path) -> None:
    path = tmp_path / "results.zip"
    value = Quads((QUAD, QUAD[::-1], tuple((x + 0.4, y + 0.5) for x, y in QUAD)), ('"a"', "b\nc"))  # type: ignore[arg-type]
    icdar.WORDS.write(path, [row(value), row(None, "2"), row(Boxes(()), "3")])
    with zipfile.ZipFile(path) as opened:
        texts = {name: opened.read(name).decode() for name in opened.namelist()}
    assert texts == {
        "res_img_1.txt": f'{LINE},"\\"a\\""\n1,2,11,2,11,6,1,6,b c\n1,3,11,3,11,7,1,7,\n',
        "res_img_2.txt": "",
        "res_img_3.txt": "",
    }
    first = path.read_bytes()
    icdar.WORDS.write(path, [row(value), row(None, "2"), row(Boxes(()), "3")])
    assert path.read_bytes() == first


TEXT = st.text(
    st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)) | st.sampled_from('\\" '), max_size=8
)
NUMBERS = st.integers(-50, 3000).map(float)


@given(value=st.lists(st.tuples(st.tuples(*[st.tuples(NUMBERS, NUMBERS)] * 4), TEXT), max_size=5))
def test_regions_are_the_same_after_writing_and_reading(
    tmp_path_factory: pytest.TempPathFactory, value: list[tuple[Quad, str]]
) -> None:
    path = tmp_path_factory.mktemp("written") / "r.zip"
    quads = Quads(tuple(quad for quad, _ in value), tuple(text for _, text in value))
    icdar.WORDS.write(path, [row(quads)])
    answers = icdar.WORDS.read(path, [sample()])
    assert answers["1"].value == icdar.as_written(quads)


def test_regions_that_cannot_be_written_are_left_out() -> None:
    wild = tuple(((x, bad), *QUAD[1:]) for x, bad in ((1.0, math.nan), (1.0, math.inf), (1e12, 2.0)))
    assert icdar.as_written(Quads((*wild, QUAD), ("a", "b", "c", "d"))) == Quads((QUAD,), ("d",))
    assert icdar.as_written(Quads((QUAD,), ("\ud800",))).labels == ("?",)  # not in UTF-8


def spoiled(path: Path) -> Path:
    path.write_bytes(archive(path, res_img_1=f"{LINE},STOP").read_bytes().replace(b"STOP", b"SHOP"))
    return path


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: archive(path, res_img_1="", other=""), r"has a file 'other\.txt'; it needs res_img_1\.txt"),
    (lambda path: archive(path, res_img_1=""), r"1 images have no answer \(first: 2\)"),
    (lambda path: archive(path, res_img_1="", res_img_2="", res_img_3=""), r"1 images are not in this split"),
    (lambda path: archive(path, res_img_1="1,2,3", res_img_2=""), r"results\.zip: res_img_1\.txt: line 1 is not x1,y1"),
    (lambda path: archive(path, res_img_1="1,6,11,6,11,2,1,2,a", res_img_2=""), "region 1 are not clockwise"),
    (lambda path: path, "cannot be read as a zip archive: No such file or directory"),
    (spoiled, "cannot be read as a zip archive: Bad CRC-32"),
])  # fmt: skip
def test_result_archive_that_does_not_fit_is_a_data_error(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        icdar.WORDS.read(make(tmp_path / "results.zip"), [sample("1"), sample("2")])


def test_bytes_that_are_no_archive_are_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "results.zip").write_text("[]")
    with pytest.raises(DataError, match="cannot be read as a zip archive: File is not a zip file"):
        icdar.WORDS.read(tmp_path / "results.zip", [sample()])


def test_archive_that_unpacks_to_much_more_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icdar, "MOST_BYTES", 100)
    with zipfile.ZipFile(tmp_path / "results.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("res_img_1.txt", " " * 101)
    with pytest.raises(DataError, match="more than 0 MB of text"):
        icdar.WORDS.read(tmp_path / "results.zip", [sample()])


def test_image_without_a_file_has_no_words_where_reading_is_lenient(tmp_path: Path) -> None:
    """The official evaluator accepts such an archive."""
    path, reading = archive(tmp_path / "results.zip", res_img_1=f"{LINE},a"), Reading()
    assert icdar.WORDS.read_leniently is not None
    answers = icdar.WORDS.read_leniently(path, [sample("1"), sample("2")], reading)
    assert [answers[name].value for name in ("1", "2")] == [Quads((QUAD,), ("a",)), Quads(())]
    assert reading.said() == (f"{path}: images without a file have no words: 1 (first: res_img_2.txt)",)
    with pytest.raises(DataError, match=r"res_img_2\.txt is not there; correct the file, or leave --strict out"):
        icdar.WORDS.read_leniently(path, [sample("1"), sample("2")], Reading(strict=True))
