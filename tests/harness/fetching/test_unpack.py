"""Archives: the wanted members only, hostile ones refused whole, and nothing half-placed."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Literal

import pytest

from harness.errors import ResourceError
from harness.fetching.replies import NotFetched
from harness.fetching.sources import Source
from harness.fetching.unpack import place, unpack
from tests.published_files import zipped

PLENTY = 1 << 40
GOOD = {"d/a.json": b"{}", "d/b.json": b"[]", "d/sub/c.jpg": b"c"}


def source(kind: Literal["zip", "tar"] = "zip") -> Source:
    return Source(
        name="s", kind=kind, urls=("https://a/b",), licence="", tried=True, members={"d/**": "x/"}
    )  # fmt: skip


def zip_file(folder: Path, content: bytes) -> Path:
    path = folder / "b.zip"
    path.write_bytes(content)
    return path


def tar_file(folder: Path, files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w:gz", **fields: object) -> Path:
    """A tar archive; `fields` are those of the last member's header."""
    path = folder / "b.tar.gz"
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            if name == list(files)[-1]:
                for field, value in fields.items():
                    setattr(member, field, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def everything(path: str) -> bool:
    return bool(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_wanted_members_only_are_unpacked(tmp_path: Path, kind: Literal["zip", "tar"]) -> None:
    archive = zip_file(tmp_path, zipped(GOOD)) if kind == "zip" else tar_file(tmp_path, GOOD)
    done = unpack(archive, source(kind), lambda path: path == "x/a.json", tmp_path / "out", PLENTY)
    assert done == ["x/a.json"]
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == ["a.json"]
    done = unpack(archive, source(kind), everything, tmp_path / "all", PLENTY)
    assert {path: (tmp_path / "all" / path).read_bytes() for path in done} == {
        "x/a.json": b"{}", "x/b.json": b"[]", "x/sub/c.jpg": b"c",
    }  # fmt: skip


def test_tar_members_may_begin_with_a_dot(tmp_path: Path) -> None:
    archive = tar_file(tmp_path, {"./d/a.json": b"{}"}, "w")
    assert unpack(archive, source("tar"), everything, tmp_path / "out", PLENTY) == ["x/a.json"]


NAMES = ["../evil", "d/../../evil", "/etc/evil", "d/..", "C:/evil", "d\\..\\evil"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_name_that_leads_outside_refuses_the_archive(tmp_path: Path, name: str, kind: Literal["zip", "tar"]) -> None:
    files, folder = {**GOOD, name: b"evil"}, tmp_path / "a/b"
    folder.mkdir(parents=True)
    archive = zip_file(folder, zipped(files)) if kind == "zip" else tar_file(folder, files)
    with pytest.raises(NotFetched, match=r"is refused: the member name .* leads out"):
        unpack(archive, source(kind), everything, folder / "out", PLENTY)
    assert not list(tmp_path.rglob("evil")) and not Path("/etc/evil").exists()


@pytest.mark.parametrize(
    ("kind", "field"),
    [(tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "d/a.json"), (tarfile.CHRTYPE, ""), (tarfile.FIFOTYPE, "")],
)
def test_link_or_device_refuses_a_tar_archive(tmp_path: Path, kind: bytes, field: str) -> None:
    archive = tar_file(tmp_path, {"d/a.json": b"{}", "d/z": b""}, type=kind, linkname=field)
    with pytest.raises(NotFetched, match="'d/z' is a link or a device"):
        unpack(archive, source("tar"), everything, tmp_path / "out", PLENTY)


def test_link_refuses_a_zip_archive(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("d/a.json", b"{}")
        link = zipfile.ZipInfo("d/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
        archive.writestr("d/link/passwd", b"evil")
    with pytest.raises(NotFetched, match="'d/link' is a link or a device"):
        unpack(zip_file(tmp_path, out.getvalue()), source(), everything, tmp_path / "out", PLENTY)
    assert not (tmp_path / "out").exists()


def test_bomb_is_refused_before_it_fills_the_disk(tmp_path: Path) -> None:
    """100 MB of zeros in about 100 kB: more than 200 times as much, and more than 64 MiB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/a.json", bytes(100_000_000))
    assert len(out.getvalue()) * 200 < 100_000_000
    with pytest.raises(NotFetched, match="more than 200 times the size of the archive"):
        unpack(zip_file(tmp_path, out.getvalue()), source(), everything, tmp_path / "out", PLENTY)
    assert not (tmp_path / "out").exists()


def test_member_with_a_false_size_is_refused(tmp_path: Path) -> None:
    """The central directory declares 2 bytes of a member that has 5,000,000: no more than 2 are read, and CRC fails."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/a.json", bytes(5_000_000))
    data = bytearray(out.getvalue())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = struct.pack("<I", 2)  # "uncompressed size"
    with pytest.raises(NotFetched, match=r"is not a whole zip archive|bytes, and 2 declared"):
        unpack(zip_file(tmp_path, bytes(data)), source(), everything, tmp_path / "out", PLENTY)
    assert all(path.stat().st_size <= 2 for path in (tmp_path / "out").rglob("*.json"))


def test_two_members_of_one_place_are_refused(tmp_path: Path) -> None:
    flat = Source(name="s", kind="zip", urls=("https://a",), licence="", tried=True, members={"**/*.jpg": "x/"})
    archive = zip_file(tmp_path, zipped({"a/1.jpg": b"1", "b/1.jpg": b"2"}))
    with pytest.raises(NotFetched, match=r"two members belong to x/1\.jpg"):
        unpack(archive, flat, everything, tmp_path / "out", PLENTY)


def test_encrypted_member_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"d/a.json": b"{}"}))
    for magic, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + flags] |= 1
    with pytest.raises(NotFetched, match="is encrypted"):
        unpack(zip_file(tmp_path, bytes(data)), source(), everything, tmp_path / "out", PLENTY)


@pytest.mark.parametrize("keep", [0, 10, 60, -1])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_truncated_archive_is_refused(tmp_path: Path, keep: int, kind: Literal["zip", "tar"]) -> None:
    archive = zip_file(tmp_path, zipped(GOOD)) if kind == "zip" else tar_file(tmp_path, {"d/a": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(NotFetched, match=f"not a whole {kind} archive"):
        unpack(archive, source(kind), everything, tmp_path / "out", PLENTY)


def test_damaged_member_is_found_by_its_crc(tmp_path: Path) -> None:
    data = zipped({"d/a.json": b"some text of a member"})
    with pytest.raises(NotFetched, match="not a whole zip archive: Bad CRC"):
        unpack(
            zip_file(tmp_path, data.replace(b"some text", b"same text")), source(), everything, tmp_path / "o", PLENTY
        )


def test_damaged_tar_is_found_by_the_checksum_of_gzip(tmp_path: Path) -> None:
    archive = tar_file(tmp_path, GOOD)
    data = bytearray(archive.read_bytes())
    data[-5] ^= 1  # the last four bytes are the size, those before them the CRC
    archive.write_bytes(data)
    with pytest.raises(NotFetched, match="not a whole tar archive: CRC check failed"):
        unpack(archive, source("tar"), everything, tmp_path / "out", PLENTY)


def test_archive_of_another_layout_is_named(tmp_path: Path) -> None:
    archive = zip_file(tmp_path, zipped({"elsewhere/a.json": b"{}"}))
    with pytest.raises(NotFetched, match="none of the wanted files; its layout is not that of the table"):
        unpack(archive, source(), everything, tmp_path / "out", PLENTY)


def test_content_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    archive = zip_file(tmp_path, zipped({"d/a.json": bytes(1000), "d/b.json": bytes(1000)}))
    with pytest.raises(ResourceError, match=r"unpacking b\.zip needs more than the 1\.5 kB that are free"):
        unpack(archive, source(), everything, tmp_path / "out", 1500)
    assert len(unpack(archive, source(), everything, tmp_path / "again", 2000)) == 2


# ---------------------------------------------------------------------------- placing


def staged(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_new_folder_is_placed_in_one_step(tmp_path: Path) -> None:
    staging, root = staged(tmp_path / "s", "coco/val/1.jpg", "coco/val/sub/2.jpg", "coco/x.json"), tmp_path / "root"
    inode = (staging / "coco/val").stat().st_ino
    place(staging, root, ["coco/val"])
    assert (root / "coco/val").stat().st_ino == inode  # renamed, not filled
    assert (root / "coco/val/sub/2.jpg").read_text() == "coco/val/sub/2.jpg"
    assert (root / "coco/x.json").read_text() == "coco/x.json"


def test_existing_folder_keeps_its_files(tmp_path: Path) -> None:
    staging, root = staged(tmp_path / "s", "coco/val/1.jpg", "coco/val/2.jpg"), tmp_path / "root"
    staged(root, "coco/val/0.jpg")
    (root / "coco/val/1.jpg").write_text("old")
    place(staging, root, ["coco/val"])
    assert {path.name: path.read_text() for path in (root / "coco/val").iterdir()} == {
        "0.jpg": "coco/val/0.jpg", "1.jpg": "coco/val/1.jpg", "2.jpg": "coco/val/2.jpg",
    }  # fmt: skip


def test_folder_that_is_a_link_of_the_user_is_filled(tmp_path: Path) -> None:
    staging, root = staged(tmp_path / "s", "coco/val/1.jpg"), tmp_path / "root"
    (tmp_path / "disk").mkdir()
    (root / "coco").mkdir(parents=True)
    (root / "coco/val").symlink_to(tmp_path / "disk")
    place(staging, root, ["coco/val"])
    assert (tmp_path / "disk/1.jpg").read_text() == "coco/val/1.jpg"


@pytest.mark.skipif(
    not Path("/dev/shm").is_dir() or os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev, reason="one disk only"
)
def test_folder_on_another_disk_is_filled(tmp_path: Path) -> None:
    other = Path("/dev/shm") / f"florence2-harness-{os.getpid()}"
    other.mkdir()
    try:
        staging, root = staged(tmp_path / "s", "coco/val/1.jpg"), tmp_path / "root"
        (root / "coco").mkdir(parents=True)
        (root / "coco/val").symlink_to(other)
        with pytest.raises(OSError) as error:  # the case that is meant: a rename cannot cross disks
            (staging / "coco/val/1.jpg").rename(other / "2.jpg")
        assert error.value.errno == errno.EXDEV
        place(staging, root, ["coco/val"])
        assert [path.name for path in other.iterdir()] == ["1.jpg"]
    finally:
        for path in other.iterdir():
            path.unlink()
        other.rmdir()


@pytest.mark.parametrize("names", [("d/a", "d/a/b"), ("d/a/b", "d/a"), ("d/" + "n" * 300,)])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_member_that_cannot_be_a_file_refuses_the_archive(
    tmp_path: Path, names: tuple[str, ...], kind: Literal["zip", "tar"]
) -> None:
    files = dict.fromkeys(names, b"x")
    archive = zip_file(tmp_path, zipped(files)) if kind == "zip" else tar_file(tmp_path, files)
    with pytest.raises(NotFetched, match=r"is refused: .*(exists|directory|too long)"):
        unpack(archive, source(kind), everything, tmp_path / "out", PLENTY)
