"""Files that are written whole or not at all, and files of lines that survive an interruption."""

from __future__ import annotations

import errno
import gzip
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DataError, ResourceError

MOST_UNPACKED = 1 << 31  # bytes in a packed file of answers or scores
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENOTDIR)


def replace_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, and creates its folder; ResourceError if the disk is full or read-only.

    The data is written to another file in the same folder, which then replaces `path` in one step.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file; OSError for a folder, a pipe or a device, and for more than `most` bytes."""
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "a pipe or a device, not a file", str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"{status.st_size:,} bytes; at most {most:,}", str(path))
    return path.read_bytes()


def refuse_link(path: Path) -> None:
    """DataError if there is a link, a folder, a pipe or a device at a path that is written to; a run makes none."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is a link, a folder, a pipe or a device, which no run writes; remove it")


def pack_file(path: Path) -> None:
    """Replaces a file by its gzip file, without a time stamp, so that equal files are packed equally."""
    replace_file(packed_path(path), gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


def packed_path(path: Path) -> Path:
    """The path of the gzip file of a plain file."""
    return path.with_name(f"{path.name}.gz")


def lines(path: Path) -> Iterator[str]:
    """The lines of the packed file, then those of the plain file, without empty lines; none if neither exists.

    Bytes that are not UTF-8 are replaced.  DataError if the packed file is damaged.
    """
    for data in (_unpacked(packed_path(path)), path.read_bytes() if path.is_file() else b""):
        yield from filter(None, data.decode("utf-8", errors="replace").split("\n"))


def remove_incomplete_line(path: Path) -> None:
    """Removes what an interruption or a full disk left after the last newline of a file."""
    if not path.is_file():
        return
    with path.open("r+b") as stream:
        data = stream.read()
        complete = data.rfind(b"\n") + 1
        if complete != len(data):
            stream.truncate(complete)


@contextmanager
def disk_errors(target: object) -> Iterator[None]:
    """Raises ResourceError, naming the target, for an OSError of a full, read-only or forbidden disk."""
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED:
            raise ResourceError(
                f"cannot write {target}: {error.strerror}; earlier answers are kept, and the same command resumes"
            ) from error
        raise


def folder_name(part: str) -> str:
    """A name as one path component that cannot lead out of its folder."""
    return re.sub(r"[^\w.+-]", "_", part).strip(".") or "_"


def gunzip(data: bytes, most: int) -> bytes:
    """The content of a gzip file; ValueError if it is damaged or truncated, or has more than `most` bytes."""
    parts, size = [], 0
    while data:
        member = zlib.decompressobj(wbits=31)  # gzip's header and checksum
        try:
            parts.append(member.decompress(data, most - size + 1))
        except zlib.error as error:
            raise ValueError(str(error)) from error
        size += len(parts[-1])
        if size > most:
            raise ValueError(f"more than {most:,} bytes when unpacked")
        if not member.eof:
            raise ValueError("the file ends too early")
        data = member.unused_data.lstrip(b"\0")  # padding
    return b"".join(parts)


def _unpacked(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        return gunzip(path.read_bytes(), MOST_UNPACKED)
    except ValueError as error:
        raise DataError(f"{path} is not a complete gzip file: {error}; remove it and run again") from error
