"""Bounded listings, encodings and names."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.data.own.listing import below, full_text_of, listed, name_of, text_of
from harness.errors import DataError


def test_listing_is_sorted_and_leaves_out_hidden_own_and_linked_folders(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/c.jpg", "a/d.txt", ".cache/e.jpg", "dataset.files/images/f.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert listed(tmp_path, (".jpg",)) == ["a/c.jpg", "b.JPG"]
    assert listed(tmp_path, (".jpg",), deep=False) == ["b.JPG"]


def test_listing_ends_at_its_limit(tmp_path: Path) -> None:
    for number in range(11):
        (tmp_path / f"{number}.txt").touch()
    assert listed(tmp_path, (".jpg",), 11) == []
    with pytest.raises(DataError, match="has more than 10 files; name a folder of fewer, or one file"):
        listed(tmp_path, (".jpg",), 10)


def test_listing_of_an_endless_folder_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of 10^6 files is read to the limit, and no further."""

    @contextlib.contextmanager
    def endless(_: Path) -> Iterator[Iterator[SimpleNamespace]]:
        entry = SimpleNamespace(name="a.txt", is_dir=lambda **_: False, is_file=lambda: True)
        yield itertools.repeat(entry)

    monkeypatch.setattr("harness.data.own.listing.os.scandir", endless)
    with pytest.raises(DataError, match="has more than 200,000 files"):
        listed(tmp_path, (".jpg",))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_encodings_with_a_mark(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe\n".encode(encoding))
    assert text_of(tmp_path / "a.csv") == "größe\n"


def test_mixed_encodings_name_the_line_and_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe\n".encode() + "größe\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a.csv line 2 is not utf-8: byte 0xf6; save the whole file as UTF-8"):
        text_of(tmp_path / "a.csv")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_empty_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a.csv is empty"):
        full_text_of(tmp_path / "a.csv")


def test_names_stay_below_their_folder(tmp_path: Path) -> None:
    assert name_of("a\\.\\b.jpg", "line 1") == "a/b.jpg"
    for name in ("../a.jpg", "/etc/a.jpg", "a/../../b.jpg", "..", "a\0b"):
        with pytest.raises(DataError, match=r"line 1: the image name .* is not a path below the data root"):
            name_of(name, "line 1")
    assert below(tmp_path, tmp_path / "a/../b.jpg") == "b.jpg"
    assert below(tmp_path, tmp_path / "../b.jpg") is None
