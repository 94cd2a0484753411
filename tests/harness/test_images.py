"""Image references to bytes and to RGB, from files, from stores, and from images that a caller supplies."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from PIL import Image

from harness import images
from harness.data import pack
from harness.errors import DataError, UsageError
from harness.images import BadImage, MissingImage, image_key, is_image, open_rgb, read_bytes, to_rgb
from tests.packed import FOLDER, alter_state, noise, reads_agree, write_images


@pytest.mark.parametrize(("mode", "pixel", "expected"), [
    ("RGB", (1, 2, 3), (1, 2, 3)),
    ("L", 7, (7, 7, 7)),
    ("1", 1, (255, 255, 255)),
    ("RGBA", (1, 2, 3, 0), (1, 2, 3)),  # alpha is dropped, not blended
    ("LA", (9, 0), (9, 9, 9)),
    ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
    ("I;16", 65535, (255, 255, 255)),
    ("I;16", 257, (1, 1, 1)),
    ("I;16", 128, (0, 0, 0)),
    ("I;16", 129, (1, 1, 1)),
])  # fmt: skip
def test_to_rgb_of_each_mode_equals_documented_pixel(mode: str, pixel: object, expected: tuple[int, int, int]) -> None:
    image = Image.new(mode, (2, 2), pixel)  # type: ignore[arg-type]
    converted = to_rgb(image)
    assert converted.mode == "RGB"
    assert converted.getpixel((1, 1)) == expected


def test_palette_with_one_transparent_colour_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    converted = open_rgb(tmp_path, "p.png")
    assert [converted.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_mode_without_agreed_range_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (2, 2)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match=r"x\.tiff: an image of mode . has no agreed range"):
        open_rgb(tmp_path, "x.tiff")


def test_orientation_tag_applies_only_if_upright(tmp_path: Path) -> None:
    pixels = np.zeros((2, 6, 3), np.uint8)
    pixels[:, :3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns the image by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    assert open_rgb(tmp_path, "x.png").size == (6, 2)
    upright = open_rgb(tmp_path, "x.png", upright=True)
    assert upright.size == (2, 6)
    assert upright.getpixel((0, 0)) == (255, 255, 255)  # the left side becomes the top
    assert upright.getpixel((0, 5)) == (0, 0, 0)


def test_corrupt_file_is_named_on_one_line(tmp_path: Path) -> None:
    noise(0, 64).save(tmp_path / "whole.jpg", quality=95)
    whole = (tmp_path / "whole.jpg").read_bytes()
    tiff = BytesIO()
    Image.new("CMYK", (9, 7)).save(tiff, "TIFF")
    broken = {
        "cut.jpg": whole[: len(whole) // 2],
        "head.jpg": whole[:30],
        "empty.jpg": b"",
        "text.jpg": b"hello",
        "x.png": whole[5:],
        "offsets.tif": tiff.getvalue().replace(b"\x11\x01\x04\0", b"\x11\x01\x0a\0"),  # fractions, not integers
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name} cannot be decoded") as caught:
            open_rgb(tmp_path, name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"nowhere\.jpg is not there; `python -m harness data check`"):
        open_rgb(tmp_path, "nowhere.jpg")


@pytest.mark.parametrize("name", ["x.png", "x.tiff"])
def test_16_bit_grey_from_file_is_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(tmp_path / name)
    converted = open_rgb(tmp_path, name)
    assert [converted.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (1, 1, 1), (255, 255, 255)]  # n / 257


def test_orientation_tag_of_jpeg_applies_only_if_upright(tmp_path: Path) -> None:
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif, quality=95)
    left, right = (np.asarray(open_rgb(tmp_path, "x.jpg"))[8, x].mean() for x in (4, 44))
    assert left > 200 and right < 50  # as stored
    left, right = (np.asarray(open_rgb(tmp_path, "x.jpg", upright=True))[8, x].mean() for x in (4, 44))
    assert left < 50 and right > 200


def test_folder_with_name_of_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(DataError, match=r"x\.jpg cannot be read: it is a folder, a pipe or a device"):
        open_rgb(tmp_path, "x.jpg")


def test_file_of_unknown_format_has_message_without_object_addresses(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("hello")
    with pytest.raises(DataError) as caught:
        open_rgb(tmp_path, "x.jpg")
    assert str(caught.value) == (
        f"the image {tmp_path / 'x.jpg'} cannot be decoded: it is not BMP, GIF, JPEG, PNG, PPM, TIFF or WEBP; "
        "it begins with b'hello'"
    )
    assert not is_image(b"hello") and not is_image(b"")


@pytest.mark.parametrize("reference", ["x.png", "a/x.png", "a/b/../x.png", "./a//x.png"])
def test_read_bytes_returns_the_file_for_each_spelling_of_its_path(tmp_path: Path, reference: str) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    noise(0, 8).save(tmp_path / reference)
    data = read_bytes(tmp_path, reference)
    assert data == (tmp_path / reference).read_bytes()
    assert is_image(data)


@pytest.mark.parametrize(
    "reference", ["nowhere.jpg", "a/nowhere.jpg", "a\0b/x.jpg", "x" * 300 + "/x.jpg", "\ud800/x.jpg", ""]
)
def test_read_bytes_of_missing_image_raises_missing_image(tmp_path: Path, reference: str) -> None:
    with pytest.raises(MissingImage, match=r"^the image .* (is not there|cannot be read|is not a path below)"):
        read_bytes(tmp_path, reference)
    assert not images.exists(tmp_path, reference)


def test_palette_with_alpha_for_each_colour_keeps_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=b"\x00\x80")
    converted = open_rgb(tmp_path, "p.png")
    assert [converted.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


def test_image_with_huge_size_in_header_is_not_decoded(tmp_path: Path) -> None:
    """A PNG of a few bytes; its header says 200,000 x 200,000 pixels."""
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DataError, match=r"bomb\.png: its header says 200000 x 200000 pixels"):
        open_rgb(tmp_path, "bomb.png")


# ---------------------------------------------------------------------------- strangers' files

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def encoded_as(format_: str) -> bytes:
    """A white image of 32 x 32 pixels in one of Pillow's formats."""
    stream = BytesIO()
    Image.new("RGB", (32, 32), "white").save(stream, format_)
    return stream.getvalue()


@pytest.mark.parametrize("format_", images.FORMATS)
def test_file_of_each_listed_format_is_decoded_whatever_its_name(tmp_path: Path, format_: str) -> None:
    (tmp_path / "x.jpg").write_bytes(encoded_as(format_))
    assert open_rgb(tmp_path, "x.jpg").getpixel((3, 3)) == (255, 255, 255)
    assert images.size_of(tmp_path, "x.jpg") == (32, 32)
    assert is_image((tmp_path / "x.jpg").read_bytes())


@pytest.mark.parametrize("format_", ["EPS", "TGA", "ICO", "PCX", "SGI", "DDS", "ICNS", "SPIDER", "XBM"])
def test_file_of_another_format_is_refused_although_pillow_opens_it(tmp_path: Path, format_: str) -> None:
    stream = BytesIO()
    Image.new({"SPIDER": "F", "XBM": "1"}.get(format_, "RGB"), (32, 32), 1).save(stream, format_)
    with Image.open(BytesIO(stream.getvalue())) as image:
        assert image.format == format_
    (tmp_path / "x.jpg").write_bytes(stream.getvalue())
    for read in (open_rgb, images.size_of):
        with pytest.raises(DataError, match=r"x\.jpg cannot be decoded: it is not BMP, .* or WEBP; it begins with b'"):
            read(tmp_path, "x.jpg")
    assert not is_image(stream.getvalue())


def test_postscript_with_name_of_jpeg_starts_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives PostScript to a program named `gs`.  Here, `gs` records that it was started."""
    programs, started = tmp_path / "programs", tmp_path / "started"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {started}\nexit 0\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # Pillow looks for the program once
    with Image.open(BytesIO(POSTSCRIPT)) as image, pytest.raises(OSError):
        image.load()  # which finds no output of the program
    assert started.exists()  # this is what Pillow does with every format allowed
    started.unlink()
    (tmp_path / "x.jpg").write_bytes(POSTSCRIPT)
    with pytest.raises(DataError, match=r"x\.jpg cannot be decoded: .* begins with b'%!PS-Adobe-3'"):
        open_rgb(tmp_path, "x.jpg")
    assert not started.exists()


def test_pipe_and_device_with_name_of_image_are_not_opened(tmp_path: Path) -> None:
    """Opening the pipe would wait for ever, and reading the device would never end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(MissingImage, match="cannot be read: it is a folder, a pipe or a device, not a file"):
            images.read_file(path)
        with pytest.raises(DataError, match="not a file"):
            images.given(path).load()
    assert not images.exists(tmp_path, "pipe.jpg")
    with pytest.raises(MissingImage, match=r"pipe\.jpg cannot be read"):
        open_rgb(tmp_path, "pipe.jpg")


def test_file_larger_than_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "x.jpg").open("wb") as stream:
        stream.truncate(images.MOST_BYTES + 1)  # takes no space on the disk
    with pytest.raises(MissingImage, match=r"x\.jpg cannot be read: 2,147,483,649 bytes; at most 2,147,483,648"):
        open_rgb(tmp_path, "x.jpg")


@pytest.mark.parametrize("name", ["../secret.png", "a/../../secret.png", "{outside}/secret.png", "a/../..", ".", "/"])
def test_name_that_leads_out_of_the_root_is_refused(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    noise(0).save(tmp_path / "secret.png")
    reference = name.format(outside=tmp_path)
    for read in (read_bytes, open_rgb, images.size_of):
        with pytest.raises(MissingImage, match=r"the image name .* is not a path below the data root"):
            read(root, reference)
    assert not images.exists(root, reference)
    with pytest.raises(MissingImage):
        pack.by_folder([reference], ["a"])
    with pytest.raises((MissingImage, ValueError)):
        pack.pack(root, [reference], folder=reference.rpartition("/")[0])
    assert {path.name for path in tmp_path.iterdir()} == {"root", "secret.png"}  # no store was written


def test_link_to_file_out_of_the_root_is_refused_and_not_packed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    files = write_images(root, ("plain.png",))
    noise(0).save(tmp_path / "secret.png")
    for name, target in (("absolute.png", tmp_path / "secret.png"), ("relative.png", "../../../secret.png")):
        link = root / FOLDER / name
        link.symlink_to(target)
        assert link.read_bytes() == (tmp_path / "secret.png").read_bytes()
        with pytest.raises(MissingImage, match=f"{name} is a link out of the data root, to {tmp_path}/secret.png"):
            read_bytes(root, f"{FOLDER}/{name}")
        assert not images.exists(root, f"{FOLDER}/{name}")
    linked = [f"{FOLDER}/absolute.png", f"{FOLDER}/relative.png"]
    packed = pack.pack(root, [*files, *linked], folder=FOLDER)
    assert (packed.written, packed.missing) == (1, tuple(linked))


def test_links_that_the_user_made_are_followed(tmp_path: Path) -> None:
    """The root, a folder, and files within one root."""
    files = write_images(tmp_path / "disk", ("plain.png",))
    [(reference, data)] = files.items()
    (tmp_path / "root/coco").mkdir(parents=True)
    (tmp_path / "root" / FOLDER).symlink_to(tmp_path / "disk" / FOLDER)  # the folder
    (tmp_path / "other").symlink_to("disk")  # the root
    (tmp_path / "disk" / FOLDER / "again.png").symlink_to("plain.png")
    (tmp_path / "disk/first.png").symlink_to(reference)
    for root in (tmp_path / "root", tmp_path / "other"):
        assert read_bytes(root, reference) == read_bytes(root, f"{FOLDER}/again.png") == data
    assert read_bytes(tmp_path / "other", "first.png") == data


def test_cache_of_the_hub_is_followed_to_its_own_blobs_only(tmp_path: Path) -> None:
    """The hub's layout: snapshots/<revision>/<path> links to ../../blobs/<sha256>."""
    snapshot = tmp_path / "datasets--a--b/snapshots/0f1e"
    blobs = tmp_path / "datasets--a--b/blobs"
    (snapshot / FOLDER).mkdir(parents=True)
    blobs.mkdir()
    noise(0).save(blobs / "5e1f", "PNG")
    noise(1).save(tmp_path / "secret.png")
    (snapshot / FOLDER / "x.png").symlink_to("../../../../blobs/5e1f")
    (snapshot / FOLDER / "y.png").symlink_to("../../../../blobs/../../secret.png")
    (tmp_path / "root/coco").mkdir(parents=True)
    (tmp_path / "root" / FOLDER).symlink_to(snapshot / FOLDER)
    for root in (snapshot, tmp_path / "root"):
        assert read_bytes(root, f"{FOLDER}/x.png") == (blobs / "5e1f").read_bytes()
        with pytest.raises(MissingImage, match="is a link out of the data root"):
            read_bytes(root, f"{FOLDER}/y.png")


@pytest.mark.parametrize(("link", "followed"), [
    ("coco", True),  # above the folder that the task names
    ("coco/train2014", True),  # the folder itself
    ("coco/train2014/sub", False),  # part of the data set
    ("coco/other", False),
])  # fmt: skip
def test_link_to_folder_is_followed_down_to_the_folder_that_the_task_names(
    tmp_path: Path, link: str, followed: bool
) -> None:
    root, images_at = tmp_path / "root", ("coco/other" if link == "coco/other" else "coco/train2014/sub")
    (tmp_path / "disk" / images_at.removeprefix(link).strip("/")).mkdir(parents=True)
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(tmp_path / "disk")
    if followed:
        images.refuse_outside(root, images_at, ["coco/val2014", "coco/train2014"])
    else:
        with pytest.raises(DataError, match=f"{link} is a link out of .*, to {tmp_path}/disk, and is not followed"):
            images.refuse_outside(root, images_at, ["coco/val2014", "coco/train2014"])
    (root / "inner").mkdir()
    (root / "linked").symlink_to("inner")
    images.refuse_outside(root, "linked", ["coco/train2014"])  # within the root


# ---------------------------------------------------------------------------- supplied images


def test_given_image_of_every_form_loads_the_same_pixels(tmp_path: Path) -> None:
    image = noise(0)
    image.save(tmp_path / "x.png")
    stream = BytesIO()
    image.save(stream, "PNG")
    forms: list[Any] = [str(tmp_path / "x.png"), tmp_path / "x.png", stream.getvalue(), image, np.asarray(image)]
    for form in forms:
        loaded = open_rgb(Path("unused"), images.given(form))
        np.testing.assert_array_equal(np.asarray(loaded), np.asarray(image))


def test_given_grey_array_becomes_rgb() -> None:
    loaded = open_rgb(Path("unused"), images.given(np.array([[7, 9]], np.uint8)))
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(7, 7, 7), (9, 9, 9)]


@pytest.mark.parametrize(("value", "message"), [
    (np.zeros((2, 2), np.float32), r"is uint8, .*; this is float32 of shape \(2, 2\)"),
    (np.zeros((2, 2, 4), np.uint8), r"this is uint8 of shape \(2, 2, 4\)"),
    (3, "a path, bytes, a Pillow image or an array, not int"),
])  # fmt: skip
def test_given_value_of_another_type_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        images.given(value)


@pytest.mark.parametrize(("value", "message"), [
    ("nowhere.jpg", "nowhere.jpg is not there"),
    (b"hello", "the image in the given bytes cannot be decoded"),
])  # fmt: skip
def test_given_file_that_cannot_be_opened_raises_when_it_is_loaded(value: Any, message: str) -> None:
    supplied = images.given(value)
    with pytest.raises(DataError, match=message):
        supplied.load()


# ---------------------------------------------------------------------------- stores


def packed(root: Path) -> dict[str, bytes]:
    """Packs images and deletes their folder; the bytes of each image, by reference."""
    files = write_images(root)
    pack.pack(root, files, folder=FOLDER)
    shutil.rmtree(root / FOLDER)
    return files


def test_exists_finds_packed_images_and_files(tmp_path: Path) -> None:
    packed(tmp_path)
    assert images.exists(tmp_path, f"{FOLDER}/plain.jpg")
    assert not images.exists(tmp_path, f"{FOLDER}/late.png")
    (tmp_path / FOLDER).mkdir()
    noise(9).save(tmp_path / FOLDER / "late.png")
    assert images.exists(tmp_path, f"{FOLDER}/late.png")
    assert not images.exists(tmp_path, "elsewhere/plain.jpg")


def test_unfinished_store_is_not_read(tmp_path: Path) -> None:
    """The store holds other bytes than the file under the same name."""
    files = write_images(tmp_path)
    path = pack.pack(tmp_path, files, folder=FOLDER).path
    alter_state(path, b'{"version":1,"complete":false,"count":6,"bytes":1,"digest":"0"}')
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"plain.jpg", b"other bytes")
    assert read_bytes(tmp_path, f"{FOLDER}/plain.jpg") == files[f"{FOLDER}/plain.jpg"]
    shutil.rmtree(tmp_path / FOLDER)
    with pytest.raises(MissingImage, match=r"plain\.jpg is not there; `python -m harness data check`"):
        read_bytes(tmp_path, f"{FOLDER}/plain.jpg")
    with pytest.raises(DataError, match=r"is not a finished store; `python -m harness data pack` creates"):
        pack.check(tmp_path, FOLDER)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b'{"version":2,"complete":true,"parts":[1]}', r"has version 2; this harness reads 1; delete it"),
        (b"not json", "is malformed, or of a later version"),
        (b'{"version":1,"complete":true,"count":7}', "holds 6 of its 7 images"),
    ],
)
def test_store_with_unknown_or_contradictory_state_is_refused(tmp_path: Path, state: bytes, message: str) -> None:
    files = write_images(tmp_path)
    alter_state(pack.pack(tmp_path, files, folder=FOLDER).path, state)
    with pytest.raises(DataError, match=message):
        read_bytes(tmp_path, f"{FOLDER}/plain.jpg")
    with pytest.raises(DataError, match=message):
        pack.pack(tmp_path, files, folder=FOLDER)


def send_whether_reads_agree(root: Path, files: dict[str, bytes], seed: int, results: Connection) -> None:
    results.send(reads_agree(root, files, seed))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # from Python 3.12 on
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_store(tmp_path: Path, method: str) -> None:
    files = packed(tmp_path)
    assert reads_agree(tmp_path, files, 0)  # a forked process inherits an open store
    context = multiprocessing.get_context(method)
    received, results = context.Pipe(duplex=False)
    workers = [
        context.Process(target=send_whether_reads_agree, args=(tmp_path, files, seed, results))  # type: ignore[attr-defined]
        for seed in (1, 2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        assert received.poll(120) and received.recv()
        worker.join(120)
        assert worker.exitcode == 0
    assert reads_agree(tmp_path, files, 3)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # from Python 3.12 on
def test_fork_while_threads_read_leaves_the_child_able_to_read(tmp_path: Path) -> None:
    """A fork waits for reading threads; else closing the store in the child would wait for them for ever."""
    files = packed(tmp_path)
    over = threading.Event()

    def read(seed: int) -> bool:
        agreed = True
        while not over.is_set():
            agreed &= reads_agree(tmp_path, files, seed, 20)
        return agreed

    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(read, seed) for seed in range(8)]
        try:
            exits = [exit_of_fork(tmp_path, files, seed) for seed in range(20)]
        finally:
            over.set()
    assert all(future.result() for future in reading)
    assert exits == [0] * 20


def exit_of_fork(root: Path, files: dict[str, bytes], seed: int) -> int:
    """The wait status of a forked process: 0 if its reads agree, or the signal of its alarm."""
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(60)
            status = 0 if reads_agree(root, files, seed) else 1
        finally:
            os._exit(status)  # an exception must not continue the test session in the child
    return os.waitpid(child, 0)[1]


def test_eight_threads_open_one_store_at_once(tmp_path: Path) -> None:
    files = packed(tmp_path)
    start = threading.Barrier(8)

    def read(seed: int) -> bool:
        start.wait()
        return reads_agree(tmp_path, files, seed)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(8)))


def test_store_is_read_under_every_path_of_its_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may open an LMDB file once, whatever path leads to the file."""
    files = packed(tmp_path / "root")
    (tmp_path / "link").symlink_to("root")
    monkeypatch.chdir(tmp_path)
    for root in (tmp_path / "root", tmp_path / "link", Path("root")):
        assert reads_agree(root, files, 0, 5)
    monkeypatch.chdir("/")
    with pytest.raises(MissingImage):
        read_bytes(Path("root"), f"{FOLDER}/plain.jpg")


def test_store_of_innermost_folder_is_read_first(tmp_path: Path) -> None:
    write_images(tmp_path, ("near/x.png", "y.png"))
    pack.pack(tmp_path, [f"{FOLDER}/near/x.png"], folder=f"{FOLDER}/near")
    near = read_bytes(tmp_path, f"{FOLDER}/near/x.png")
    noise(7).save(tmp_path / FOLDER / "near/x.png")
    pack.pack(tmp_path, [f"{FOLDER}/near/x.png", f"{FOLDER}/y.png"], folder=FOLDER)
    assert read_bytes(tmp_path, f"{FOLDER}/near/x.png") == near
    far = (tmp_path / FOLDER / "y.png").read_bytes()
    shutil.rmtree(tmp_path / FOLDER)
    assert read_bytes(tmp_path, f"{FOLDER}/y.png") == far


def test_image_key_is_equal_in_all_years_of_coco() -> None:
    key = image_key("coco/val2017/000000000123.jpg")
    assert image_key("coco/train2014/COCO_train2014_000000000123.jpg") == key
    assert image_key("flickr30k/flickr30k-images/000000000123.jpg") != key


# ---------------------------------------------------------------------------- mounted roots


class Rows(dict[str, bytes | None]):
    """Images that are in no file: the contract of `images.Mounted`."""


def test_mounted_root_is_read_from_what_is_mounted_only(tmp_path: Path) -> None:
    (tmp_path / "file.jpg").write_bytes(b"a file")
    images.mount(tmp_path, Rows({"coco/a.jpg": b"a row", "coco/null.jpg": None}))
    assert images.mounted(tmp_path) is not None and images.mounted(tmp_path / "coco") is None
    assert images.read_bytes(tmp_path, "coco/./a.jpg") == b"a row"
    assert images.exists(tmp_path, "coco/a.jpg") and not images.exists(tmp_path, "file.jpg")
    with pytest.raises(MissingImage, match="no row has it"):
        images.read_bytes(tmp_path, "file.jpg")
    with pytest.raises(MissingImage, match="its row has no bytes"):
        images.read_bytes(tmp_path, "coco/null.jpg")


def test_image_names_of_a_mounted_root_stay_below_it(tmp_path: Path) -> None:
    images.mount(tmp_path, Rows({"../secret.jpg": b"x"}))
    with pytest.raises(MissingImage, match="is not a path below the data root"):
        images.read_bytes(tmp_path, "../secret.jpg")
    assert not images.exists(tmp_path, "../secret.jpg")


def test_image_of_a_mounted_root_obeys_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images.mount(tmp_path, Rows({"a.jpg": b"not an image"}))
    with pytest.raises(BadImage, match="cannot be decoded"):
        images.open_rgb(tmp_path, "a.jpg")
    monkeypatch.setattr(images, "MOST_BYTES", 5)
    with pytest.raises(MissingImage, match="12 bytes; at most 5"):
        images.read_bytes(tmp_path, "a.jpg")
