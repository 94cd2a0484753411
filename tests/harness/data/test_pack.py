"""Packing: the bytes in a store are those of the files, also after kills, full disks and extensions."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from harness import images
from harness.data import pack
from harness.errors import DataError, ResourceError
from tests.packed import FOLDER, noise, write_images

REPOSITORY = Path(__file__).parents[3]


def entries(store: Path) -> dict[bytes, bytes]:
    """Every entry of a store, read by LMDB itself."""
    with lmdb.open(str(store), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return {bytes(key): bytes(value) for key, value in transaction.cursor()}


def test_packed_images_have_same_bytes_and_pixels_after_folder_is_deleted(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    pixels = {reference: np.asarray(images.open_rgb(tmp_path, reference)) for reference in files}
    packed = pack.pack(tmp_path, files, folder=FOLDER)
    assert packed == pack.Packed(packed.path, written=len(files), bytes=sum(map(len, files.values())))
    shutil.rmtree(tmp_path / FOLDER)
    for reference, data in files.items():
        assert images.read_bytes(tmp_path, reference) == data
        np.testing.assert_array_equal(np.asarray(images.open_rgb(tmp_path, reference)), pixels[reference])
    stored = entries_of_copy(packed.path, tmp_path)
    assert stored.pop(images.STATE).startswith(b'{"version":1,"complete":true,"count":6')
    assert stored == {reference.removeprefix(f"{FOLDER}/").encode(): data for reference, data in files.items()}


def entries_of_copy(store: Path, where: Path) -> dict[bytes, bytes]:
    """The same of a copy, because a process may open an LMDB file once and this process has it open."""
    return entries(Path(shutil.copytree(store, where / "copy")))


def test_pack_of_finished_store_adds_missing_images(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    some = sorted(files)[:2]
    assert pack.pack(tmp_path, some, folder=FOLDER).written == 2
    assert images.read_bytes(tmp_path, some[0]) == files[some[0]]  # the store is open for reading from here on
    packed = pack.pack(tmp_path, [*files, *some], folder=FOLDER)
    assert (packed.written, packed.already) == (4, 2)
    shutil.rmtree(tmp_path / FOLDER)
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())
    assert pack.pack(tmp_path, files, folder=FOLDER) == pack.Packed(packed.path, already=6)  # the folder is not needed
    assert pack.check(tmp_path, FOLDER).count == 6


def test_images_that_cannot_be_packed_are_listed_and_read_from_their_files(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    (tmp_path / FOLDER / "text.jpg").write_bytes(b"hello")
    (tmp_path / FOLDER / "empty.jpg").touch()
    (tmp_path / FOLDER / "folder.jpg").mkdir()
    lost = [f"{FOLDER}/{name}.jpg" for name in ("text", "empty", "folder", "nowhere")]
    packed = pack.pack(tmp_path, [*files, *lost], folder=FOLDER)
    assert packed.missing == (f"{FOLDER}/folder.jpg", f"{FOLDER}/nowhere.jpg")
    assert packed.unreadable == (f"{FOLDER}/empty.jpg", f"{FOLDER}/text.jpg")
    assert (packed.written, packed.already) == (6, 0)
    with pytest.raises(DataError, match=r"text\.jpg cannot be decoded"):
        images.open_rgb(tmp_path, lost[0])
    with pytest.raises(
        DataError, match=r"nowhere\.jpg is not there, nor in .*train2014\.lmdb; `python -m harness data"
    ):
        images.open_rgb(tmp_path, lost[3])
    noise(9).save(tmp_path / lost[3])  # written after packing
    assert images.open_rgb(tmp_path, lost[3]).size == (24, 24)


def test_pack_of_missing_images_creates_no_store(tmp_path: Path) -> None:
    packed = pack.pack(tmp_path, [f"{FOLDER}/a.jpg"], folder=FOLDER)
    assert packed.missing == (f"{FOLDER}/a.jpg",)
    assert not packed.path.exists()


def test_pack_enlarges_a_map_that_is_too_small(tmp_path: Path) -> None:
    """The map starts at 64 KiB; 40 images of about 2 kB are one batch."""
    files = write_images(tmp_path, tuple(f"{number}.png" for number in range(40)))
    assert sum(map(len, files.values())) > 65_536
    assert pack.pack(tmp_path, files, folder=FOLDER, first_map=65_536).written == 40
    shutil.rmtree(tmp_path / FOLDER)
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())


def test_pack_of_name_longer_than_lmdb_key_uses_a_digest(tmp_path: Path) -> None:
    long = "/".join(["é" * 100] * 3) + "/x.png"  # 3 * 201 + 5 bytes; LMDB takes 511
    files = write_images(tmp_path, (long,))
    assert pack.pack(tmp_path, files, folder=FOLDER).written == 1
    shutil.rmtree(tmp_path / FOLDER)
    assert images.read_bytes(tmp_path, f"{FOLDER}/{long}") == files[f"{FOLDER}/{long}"]


# ---------------------------------------------------------------------------- interrupted, full, foreign

SLOWLY = """
import sys, time
from pathlib import Path
from harness import images
from harness.data import pack

pack.BATCH_IMAGES = 3
read = images.read_file
images.read_file = lambda path, nor="": (time.sleep(0.2), read(path, nor))[1]
root = Path(sys.argv[1])
references = [f"{sys.argv[2]}/{path.name}" for path in (root / sys.argv[2]).iterdir()]
pack.pack(root, references, folder=sys.argv[2], first_map=65536)
"""


def test_pack_killed_three_times_resumes_with_whole_batches(tmp_path: Path) -> None:
    """After a kill the store holds whole batches and is not used; after the last command it holds every image.

    8 threads read an image in 0.2 s each, so 400 images take 10 s.  A kill comes after about 15 more images.
    """
    files = write_images(tmp_path, tuple(f"{number}.png" for number in range(400)))
    store = tmp_path / f"{FOLDER}.lmdb"
    counts = [0]
    for _ in range(3):
        command = [sys.executable, "-c", SLOWLY, str(tmp_path), FOLDER]
        with subprocess.Popen(command, cwd=REPOSITORY) as packing:
            size, deadline = 0, time.monotonic() + 60
            while size <= counts[-1] * 2000 + 30_000 and time.monotonic() < deadline:  # a few more batches
                time.sleep(0.01)
                size = (store / "data.mdb").stat().st_size if (store / "data.mdb").exists() else 0
            packing.send_signal(signal.SIGKILL)
        stored = entries(store)
        state = stored.pop(images.STATE)
        assert all(files[f"{FOLDER}/{key.decode()}"] == data for key, data in stored.items())
        assert f'"complete":false,"count":{len(stored)},'.encode() in state
        assert images.open_store(store) is None
        images.release(store)
        counts.append(len(stored))
    assert counts == sorted(counts) and counts[1] > 0 and counts[-1] < 400
    packed = pack.pack(tmp_path, files, folder=FOLDER)
    assert (packed.written, packed.already) == (400 - counts[-1], counts[-1])
    shutil.rmtree(tmp_path / FOLDER)
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())
    assert int(pack.check(tmp_path, FOLDER).digest, 16) == sum(map(digest, files, files.values())) % 2**256


def digest(reference: str, data: bytes) -> int:
    """The documented digest of one image."""
    name = reference.removeprefix(f"{FOLDER}/").encode()
    return int(hashlib.sha256(name + b"\0" + hashlib.sha256(data).digest()).hexdigest(), 16)


def test_pack_on_a_full_disk_keeps_whole_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on file sizes stands for the disk: half the size of the whole store, whatever LMDB's page size is."""
    monkeypatch.setattr(pack, "BATCH_IMAGES", 10)
    names = tuple(f"{number:02}.png" for number in range(60))
    whole = pack.pack(tmp_path / "whole", write_images(tmp_path / "whole", names), folder=FOLDER).path
    files = write_images(tmp_path, names)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((whole / "data.mdb").stat().st_size // 2, before[1]))
    try:
        with pytest.raises(ResourceError, match=r"cannot be written: .* free on its disk\); its images are kept"):
            pack.pack(tmp_path, files, folder=FOLDER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    packed = pack.pack(tmp_path, files, folder=FOLDER)
    assert packed.already in (10, 20, 30, 40, 50) and packed.written == 60 - packed.already
    assert pack.check(tmp_path, FOLDER).count == 60


def test_pack_where_a_file_has_the_name_of_the_store_raises(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    (tmp_path / f"{FOLDER}.lmdb").write_text("not a folder")
    with pytest.raises(ResourceError, match=r"train2014\.lmdb cannot be written: .*File exists"):
        pack.pack(tmp_path, files, folder=FOLDER)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_pack_in_a_read_only_folder_raises(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    (tmp_path / "coco").chmod(0o555)
    try:
        with pytest.raises(ResourceError, match="Permission denied"):
            pack.pack(tmp_path, files, folder=FOLDER)
    finally:
        (tmp_path / "coco").chmod(0o755)


def test_pack_into_foreign_lmdb_raises_and_changes_nothing(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    store = tmp_path / f"{FOLDER}.lmdb"
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"foreign", b"1")
    with pytest.raises(DataError, match=r"is an LMDB that this harness did not write; move it elsewhere"):
        pack.pack(tmp_path, files, folder=FOLDER)
    assert entries(store) == {b"foreign": b"1"}
    assert all(images.read_bytes(tmp_path, reference) == data for reference, data in files.items())


@pytest.mark.parametrize("kept", [1, 100, 8192, 9000, 0.5, -4096, -1])
def test_truncated_store_is_refused_by_reader_pack_and_check(tmp_path: Path, kept: float) -> None:
    files = write_images(tmp_path)
    data = pack.pack(tmp_path, files, folder=FOLDER).path / "data.mdb"
    size = data.stat().st_size
    os.truncate(data, int(size * kept) if 0 < kept < 1 else int(kept) % size)
    for attempt in (
        lambda: images.open_rgb(tmp_path, f"{FOLDER}/plain.jpg"),
        lambda: pack.pack(tmp_path, files, folder=FOLDER),
        lambda: pack.check(tmp_path, FOLDER),
    ):
        with pytest.raises(DataError, match=r"(is truncated|not an LMDB file).*delete it and") as caught:
            attempt()
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, images.MissingImage)


def test_check_finds_a_changed_byte(tmp_path: Path) -> None:
    files = write_images(tmp_path)
    data = pack.pack(tmp_path, files, folder=FOLDER).path / "data.mdb"
    whole = bytearray(data.read_bytes())
    whole[whole.index(files[f"{FOLDER}/plain.jpg"]) + 500] ^= 1
    data.write_bytes(whole)
    with pytest.raises(DataError, match="differs from what was packed"):
        pack.check(tmp_path, FOLDER)


# ---------------------------------------------------------------------------- folders


def test_by_folder_groups_references_under_innermost_folder() -> None:
    references = ["coco/val/a.jpg", "vg/images/1/b.jpg", "vg/images/2/c.jpg", "other/d.jpg", "coco/val/a.jpg"]
    assert pack.by_folder(references, ["coco/val", "vg/images", "vg", "coco/notes.json"]) == {
        "coco/val": ["coco/val/a.jpg"],
        "vg/images": ["vg/images/1/b.jpg", "vg/images/2/c.jpg"],
        "other": ["other/d.jpg"],
    }


@pytest.mark.parametrize("reference", ["coco/train2014x/a.jpg", "a.jpg", "coco/a.jpg"])
def test_pack_of_reference_in_another_folder_raises(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ValueError, match="is not in coco/train2014"):
        pack.pack(tmp_path, [reference], folder=FOLDER)


def test_pack_stores_a_png_unchanged(tmp_path: Path) -> None:
    """A PNG that was decoded and encoded again would lose its text."""
    note = PngInfo()
    note.add_text("note", "kept")
    (tmp_path / FOLDER).mkdir(parents=True)
    noise(0).save(tmp_path / FOLDER / "x.png", pnginfo=note)
    pack.pack(tmp_path, [f"{FOLDER}/x.png"], folder=FOLDER)
    shutil.rmtree(tmp_path / FOLDER)
    with Image.open(BytesIO(images.read_bytes(tmp_path, f"{FOLDER}/x.png"))) as image:
        assert image.info["note"] == "kept"
