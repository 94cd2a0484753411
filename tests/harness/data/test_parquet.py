"""Parquet files of a split: columns, rows, and single images."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import parquet
from harness.data.parquet import Images, Place, Table, footer, opened
from harness.errors import DataError, ResourceError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
COLUMNS = {"name": "string", "number": "number", "objects.area": "list of number"}


def bytes_of(number: int) -> bytes:
    return f"image {number}".encode() * 50


def write(path: Path, first: int, count: int, group: int = 4) -> Path:
    """A file of rows with an image, a text, a float32 number and objects; the row groups have `group` rows."""
    numbers = range(first, first + count)
    table = pa.table(
        {
            "image": pa.array([{"bytes": bytes_of(n), "path": f"{n}.jpg"} for n in numbers], IMAGE),
            "name": pa.array([str(n) for n in numbers]),
            "number": pa.array([n + 0.05 for n in numbers], pa.float32()),
            "objects": pa.array(
                [{"area": [0.1 * n, 2.0]} for n in numbers], pa.struct([("area", pa.list_(pa.float32()))])
            ),
        }
    )
    pq.write_table(table, path, row_group_size=group)
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, ...]:
    """Two files of 10 and 6 rows."""
    return write(tmp_path / "a.parquet", 0, 10), write(tmp_path / "b.parquet", 10, 6)


def images_of(files: tuple[Path, ...]) -> Images:
    places = {row["name"]: place for place, row in Table(files, COLUMNS, "image").rows()}
    return Images(files, "image", places)


def test_rows_are_in_order_with_their_places_and_without_images(files: tuple[Path, ...]) -> None:
    rows = list(Table(files, COLUMNS, "image").rows())
    assert [row["name"] for _, row in rows] == [str(number) for number in range(16)]
    assert rows[9][0] == Place(0, 2, 1)  # row groups of 4, 4 and 2 rows
    assert rows[10][0] == Place(1, 0, 0)
    assert set(rows[0][1]) == {"name", "number", "objects"}


def test_numbers_of_float32_columns_are_read_as_their_decimals(files: tuple[Path, ...]) -> None:
    rows = [row for _, row in Table(files, COLUMNS, "image").rows()]
    assert [row["number"] for row in rows] == [float(f"{number}.05") for number in range(16)]
    assert rows[3]["objects"]["area"] == [0.3, 2.0]


def test_images_return_the_bytes_of_every_row_in_any_order(files: tuple[Path, ...]) -> None:
    images = images_of(files)
    for number in np.random.default_rng(0).permutation(16).tolist():
        assert images.get(str(number)) == bytes_of(number)
    assert images.get("other") is None and "other" not in images and "3" in images


def test_images_decode_one_row_group_for_one_image(files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the image column only; the images of a row group that is kept are not decoded again."""
    images = images_of(files)
    decoded: list[tuple[int, str]] = []

    def counted(file: Any, name: str, path: Path, group: int, decode: Any = parquet._decoded) -> Any:
        decoded.append((group, name))
        return decode(file, name, path, group)

    monkeypatch.setattr(parquet, "_decoded", counted)
    assert [images.get(name) for name in ("5", "4", "6", "7")] == [bytes_of(n) for n in (5, 4, 6, 7)]
    assert decoded == [(1, "image.bytes")]


def test_images_keep_the_row_group_used_last_when_memory_is_short(
    files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MOST_KEPT", 1)
    images = images_of(files)
    for name in ("0", "5", "9", "0"):
        images.get(name)
    assert list(images._kept) == [(0, 0)]


def test_images_of_a_plain_binary_column_and_null_cells(tmp_path: Path) -> None:
    path = tmp_path / "plain.parquet"
    pq.write_table(pa.table({"image": pa.array([b"x", None]), "name": ["a", "b"]}), path)
    table = Table((path,), {"name": "string"}, "image")
    table.check()
    images = Images((path,), "image", {row["name"]: place for place, row in table.rows()})
    assert (images.get("a"), images.get("b")) == (b"x", None)


def test_check_accepts_the_declared_columns(files: tuple[Path, ...]) -> None:
    Table(files, COLUMNS, "image").check()


@pytest.mark.parametrize(
    ("columns", "image", "message"),
    [
        ({"caption": "string"}, "image", r"a\.parquet has no column 'caption' of type string; it has image, name"),
        ({"name": "integer"}, "image", r"a\.parquet: column 'name' has the type string; expected integer"),
        ({"number": "list of number"}, "image", r"column 'number' has the type float32; expected list of number"),
        ({"objects.area": "number"}, "image", r"column 'objects\.area' has the type list of float32; expected number"),
        ({"objects.label": "string"}, "image", r"has no column 'objects\.label'"),
        ({}, "name", r"column 'name' has the type string; expected image"),
        ({}, "picture", r"has no column 'picture' of type image"),
    ],
)
def test_check_names_a_missing_or_retyped_column(
    columns: dict[str, str], image: str, message: str, files: tuple[Path, ...]
) -> None:
    with pytest.raises(DataError, match=message):
        Table(files, columns, image).check()


def test_check_reads_the_columns_of_every_file(files: tuple[Path, ...]) -> None:
    pq.write_table(pa.table({"name": ["x"]}), files[1])
    with pytest.raises(DataError, match=r"b\.parquet has no column 'number'"):
        Table(files, COLUMNS, "image").check()


def test_list_of_records_and_record_of_lists_have_one_type(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    answers = pa.list_(pa.struct([("answer", pa.string()), ("answer_id", pa.int64())]))
    pq.write_table(pa.table({"answers": pa.array([[{"answer": "yes", "answer_id": 1}]], answers)}), path)
    Table((path,), {"answers.answer": "list of string", "answers.answer_id": "list of integer"}, "").check()


@pytest.mark.parametrize("cut", [0, 3, 100, -1, -9])
def test_torn_file_is_a_data_error_that_names_it(cut: int, files: tuple[Path, ...]) -> None:
    files[0].write_bytes(files[0].read_bytes()[:cut])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet: .*obtain it again"):
        opened(files[0])
    with pytest.raises(DataError, match=r"a\.parquet is not a complete parquet file"):
        footer(files[0])


def test_damaged_pages_are_a_data_error_when_they_are_read(files: tuple[Path, ...]) -> None:
    data = files[0].read_bytes()
    files[0].write_bytes(data[:4] + b"\xff" * 400 + data[404:])  # the pages of the first column, images
    images = images_of(files)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        images.get("0")
    assert images.get("12") == bytes_of(12)


def test_row_group_with_too_many_bytes_is_refused(files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_DECODED", 100)
    with pytest.raises(DataError, match=r"row group 0 has [\d,]+ bytes of images; at most 100 are decoded"):
        images_of(files).get("0")


def test_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as parquet"):
        opened(tmp_path / "none.parquet")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        footer(tmp_path / "none.parquet")


def test_footer_changes_with_the_content(files: tuple[Path, ...], tmp_path: Path) -> None:
    same, other = write(tmp_path / "c.parquet", 0, 10), write(tmp_path / "d.parquet", 1, 10)
    assert footer(same) == footer(files[0]) != footer(other)


def test_without_pyarrow_the_error_says_what_to_install(
    files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ResourceError, match=r"pip install 'florence2-harness\[parquet\]'"):
        Table(files, COLUMNS, "image").check()


def test_images_are_read_by_many_threads(files: tuple[Path, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MOST_KEPT", 1)
    images, wrong = images_of(files), []

    def read(seed: int) -> None:
        for number in np.random.default_rng(seed).integers(0, 16, 60).tolist():
            if images.get(str(number)) != bytes_of(number):
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.fixture
def busy(files: tuple[Path, ...]) -> Iterator[Images]:
    """Images that another thread reads without a pause, so that a fork meets its lock held."""
    images, ended = images_of(files), threading.Event()

    def read() -> None:
        while not ended.is_set():
            images.get("0")
            images.get("15")

    thread = threading.Thread(target=read)
    thread.start()
    yield images
    ended.set()
    thread.join()


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # a fork of a process with threads
def test_forked_process_reads_images_while_a_thread_of_the_parent_does(busy: Images) -> None:
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os._exit(0 if all(busy.get(str(n)) == bytes_of(n) for n in range(16)) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert busy.get("7") == bytes_of(7)


def test_equal_images_of_a_row_group_are_decoded_once(tmp_path: Path) -> None:
    """1,000 rows with one image of 1 MB take little more than one image, also where a stranger made the file."""
    path, big = tmp_path / "vqa.parquet", bytes(range(256)) * 4096
    pq.write_table(
        pa.table({"image": pa.array([{"bytes": big, "path": "a"}] * 1000, IMAGE)}), path, row_group_size=1000
    )
    images = Images((path,), "image", {"a": Place(0, 0, 0), "b": Place(0, 0, 999)})
    assert images.get("a") == images.get("b") == big
    [kept] = images._kept.values()
    assert kept.nbytes < 2 * len(big)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_bytes_are_a_data_error_or_harmless(seed: int, tmp_path: Path) -> None:
    """No other exception, whatever byte is damaged, the footer's above all."""
    path = write(tmp_path / "a.parquet", 0, 10)
    good, random, refused = path.read_bytes(), np.random.default_rng(seed), 0
    for _ in range(60):
        data = bytearray(good)
        begin = len(data) - 2500 if random.random() < 0.7 else 0  # the footer, or anywhere
        data[int(random.integers(begin, len(data)))] = int(random.integers(256))
        path.write_bytes(bytes(data))
        try:
            footer(path)
            Table((path,), COLUMNS, "image").check()
            images = images_of((path,))
            for name in list(images.places):
                images.get(name)
        except DataError as error:
            refused += 1
            assert "a.parquet" in str(error)
    assert refused > 10
