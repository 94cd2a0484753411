"""Files on disk: whole or not at all, and lines that survive an interruption."""

from __future__ import annotations

import errno
import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from harness.errors import DataError, ResourceError
from harness.store import files


def test_replace_file_creates_folders_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "a/b/x.json"
    files.replace_file(path, b"first")
    files.replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_replace_file_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match=r"^cannot write .*x\.json: No space left on device; earlier answers"):
        files.replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_disk_errors_passes_on_other_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.disk_errors("x"):
        (tmp_path / "nowhere").read_bytes()


def test_lines_of_packed_file_come_before_those_of_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    assert list(files.lines(path)) == []
    path.write_text("1\n\n2\n")
    files.pack_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.jsonl.gz"]
    path.write_text("3\n4")
    assert list(files.lines(path)) == ["1", "2", "3", "4"]


def test_pack_file_of_equal_files_gives_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text("the same")
        os.utime(tmp_path / name, (ord(name), ord(name)))
        files.pack_file(tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"the same"


@pytest.mark.parametrize("kept", [slice(-5), slice(12), slice(1, None)])
def test_lines_of_damaged_packed_file_raise(tmp_path: Path, kept: slice) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"1\n2\n")[kept])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz is not a complete gzip file: .*; remove it and run again"):
        list(files.lines(tmp_path / "x.jsonl"))


@pytest.mark.parametrize(("data", "kept"), [
    (b"", b""), (b"1\n", b"1\n"), (b"1\n2", b"1\n"), (b"1", b""), (b"1\n\xff\xfe", b"1\n"),
])  # fmt: skip
def test_remove_incomplete_line_keeps_whole_lines(tmp_path: Path, data: bytes, kept: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(data)
    files.remove_incomplete_line(path)
    assert path.read_bytes() == kept


def test_remove_incomplete_line_of_missing_file_does_nothing(tmp_path: Path) -> None:
    files.remove_incomplete_line(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "expected"), [
    ("florence2-nano+ft", "florence2-nano+ft"), ("a/b", "a_b"), ("..", "_"), ("../x", "_x"), ("", "_"),
    ("cuda:0", "cuda_0"),
])  # fmt: skip
def test_folder_name_is_one_component(name: str, expected: str) -> None:
    assert files.folder_name(name) == expected


@pytest.mark.parametrize("content", [b"", b"abc", b"x" * 100_000, os.urandom(70_000)])
def test_gunzip_equals_the_gzip_module(content: bytes) -> None:
    for packed in (gzip.compress(content), gzip.compress(content[:7]) + gzip.compress(content[7:]) + b"\0" * 9):
        assert files.gunzip(packed, len(content)) == gzip.decompress(packed) == content


def test_gunzip_stops_at_its_limit() -> None:
    """16 kB unpack to 16 MB; little more than the limit is unpacked."""
    packed = gzip.compress(bytes(1 << 24))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="more than 1,000,000 bytes when unpacked"):
            files.gunzip(packed, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
