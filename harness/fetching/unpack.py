"""Unpacks the wanted members of an archive that may be hostile, and places them in a data root.

An archive is refused as a whole where any member has an absolute name, "..", a backslash or a NUL, is a link or a
device, is encrypted, or where two members have one place.  Its content must fit on the disk, and may be at most
`MOST_RATIO` times as large as the archive.  Members are first written to a folder beside the root's own, and then
renamed: a folder in one step if it is new, else file by file.  So a folder that is there is whole.
"""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from harness.errors import ResourceError
from harness.fetching.replies import NotFetched
from harness.fetching.sources import Source, size

MOST_RATIO = 200
SMALL = 1 << 26  # bytes that any archive may have unpacked
MOST_MEMBERS = 2_000_000
GZIP = b"\x1f\x8b"
DAMAGED = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
)

# Of a name that is too long or no text, and of a member that is both a file and a folder.
UNUSABLE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class _Refused(Exception):
    """What is wrong with an archive."""


def unpack(archive: Path, source: Source, wanted: Callable[[str], bool], staging: Path, space: int) -> list[str]:
    """Writes the members that belong to wanted paths below `staging`; returns these paths.

    `space` is the number of free bytes.  NotFetched where the archive is damaged or unsafe or has no wanted member;
    ResourceError where its content does not fit.
    """
    budget = _Budget(archive, space)
    members = _zip_members if source.kind == "zip" else _tar_members
    done: dict[str, None] = {}
    try:
        for name, declared, opened in members(archive, lambda name: wanted(source.target(name))):
            path = source.target(name)
            if path in done:
                raise _Refused(f"two members belong to {path}")
            budget.take(declared)
            done[path] = None
            target = staging / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened() as content, target.open("xb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            if target.stat().st_size != declared:
                raise _Refused(f"the member {name!r} has {target.stat().st_size:,} bytes, and {declared:,} declared")
    except _Refused as error:
        raise NotFetched(f"{archive.name} is refused: {error}") from error
    except DAMAGED as error:
        raise NotFetched(f"{archive.name} is not a whole {source.kind} archive: {error}") from error
    except OSError as error:
        if error.errno not in UNUSABLE:
            raise
        raise NotFetched(f"{archive.name} is refused: {error.strerror}: {path}") from error
    if not done:
        raise NotFetched(f"{archive.name} has none of the wanted files; its layout is not that of the table of sources")
    return list(done)


def place(staging: Path, root: Path, folders: Iterable[str]) -> None:
    """Moves everything below `staging` to its path below the root; each of `folders` in one step if it is new."""
    for folder in sorted(folders, key=len):
        staged, target = staging / folder, root / folder
        if staged.is_dir() and not target.is_symlink() and not (target.is_dir() and any(target.iterdir())):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                target.rmdir()
            staged.rename(target)
    for path in sorted(path for path in staging.rglob("*") if path.is_file()):
        move(path, root / path.relative_to(staging))


def move(path: Path, target: Path) -> None:
    """Renames a file, over an existing one, too; to another disk, it is copied beside the target first."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:  # the user's folder is a link to another disk
            raise
        copy = target.with_name(f"{target.name}.{os.getpid()}.partial")
        shutil.copyfile(path, copy)
        copy.replace(target)
        path.unlink()


class _Budget:
    """Counts the declared bytes of members; `_Refused` for a bomb, ResourceError where they do not fit."""

    def __init__(self, archive: Path, space: int) -> None:
        self.most = max(SMALL, MOST_RATIO * archive.stat().st_size)
        self.archive, self.space, self.total = archive.name, space, 0

    def take(self, count: int) -> None:
        self.total += count
        if self.total > self.most:
            raise _Refused(f"its content has more than {MOST_RATIO} times the size of the archive")
        if self.total > self.space:
            raise ResourceError(f"unpacking {self.archive} needs more than the {size(self.space)} that are free")


Member = tuple[str, int, Callable[[], IO[bytes]]]


def _zip_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > MOST_MEMBERS:
            raise _Refused(f"{len(infos):,} members; at most {MOST_MEMBERS:,}")
        for info in infos:
            _check_name(info.orig_filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Refused(f"the member {info.filename!r} is a link or a device")
            if info.flag_bits & 1:
                raise _Refused(f"the member {info.filename!r} is encrypted")
        for info in infos:
            if not info.is_dir() and wanted(info.filename):
                yield info.filename, info.file_size, lambda info=info: archive.open(info)  # type: ignore[misc]


def _tar_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    """The members of a tar file, plain or in gzip; its checksum comes at the end, so everything is read."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    with gzip.open(path) if packed else path.open("rb") as content, tarfile.open(fileobj=content, mode="r|") as archive:
        for number, member in enumerate(archive):
            if number >= MOST_MEMBERS:
                raise _Refused(f"more than {MOST_MEMBERS:,} members")
            name = member.name.removeprefix("./")
            _check_name(name)
            if member.isdir():
                continue
            if not member.isreg():
                raise _Refused(f"the member {name!r} is a link or a device")
            if wanted(name):
                yield name, member.size, lambda member=member: archive.extractfile(member)  # type: ignore[misc]
        while content.read(1 << 20):
            pass


def _check_name(name: str) -> None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or parts[0][1:2] == ":":
        raise _Refused(f"the member name {name!r} leads out of the archive's folder")
