"""Any image to RGB, or one line that says why not."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.errors import DataError
from harness.images import MissingImage, is_image, open_rgb, read_bytes, to_rgb


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
def test_modes(mode: str, pixel: object, expected: tuple[int, int, int]) -> None:
    image = Image.new(mode, (2, 2), pixel)  # type: ignore[arg-type]
    shown = to_rgb(image)
    assert shown.mode == "RGB"
    assert shown.getpixel((1, 1)) == expected


def test_palettes(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=0)
    shown = open_rgb(tmp_path, "p.png")
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_a_range_are_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (2, 2)).save(tmp_path / "x.tiff")
    with pytest.raises(DataError, match=r"x\.tiff: an image of mode . has no agreed range"):
        open_rgb(tmp_path, "x.tiff")


def test_orientation_only_where_it_is_asked_for(tmp_path: Path) -> None:
    pixels = np.zeros((2, 6, 3), np.uint8)
    pixels[:, :3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    assert open_rgb(tmp_path, "x.png").size == (6, 2)
    upright = open_rgb(tmp_path, "x.png", upright=True)
    assert upright.size == (2, 6)
    assert upright.getpixel((0, 0)) == (255, 255, 255)  # left goes to the top
    assert upright.getpixel((0, 5)) == (0, 0, 0)


def test_what_cannot_be_decoded(tmp_path: Path) -> None:
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    noise.save(tmp_path / "whole.jpg", quality=95)
    whole = (tmp_path / "whole.jpg").read_bytes()
    broken = {
        "cut.jpg": whole[: len(whole) // 2],
        "head.jpg": whole[:30],
        "empty.jpg": b"",
        "text.jpg": b"hello",
        "x.png": whole[5:],
    }
    for name, data in broken.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=f"{name} cannot be decoded") as caught:
            open_rgb(tmp_path, name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"nowhere\.jpg is not there; `python -m harness data check`"):
        open_rgb(tmp_path, "nowhere.jpg")


@pytest.mark.parametrize("name", ["x.png", "x.tiff"])
def test_16_bit_grey_from_a_file_is_scaled_and_not_cut(tmp_path: Path, name: str) -> None:
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(tmp_path / name)
    shown = open_rgb(tmp_path, name)
    assert [shown.getpixel((x, 0)) for x in range(3)] == [(0, 0, 0), (1, 1, 1), (255, 255, 255)]  # n / 257


def test_orientation_of_a_photo(tmp_path: Path) -> None:
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, :24] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "x.jpg", exif=exif, quality=95)
    left, right = (np.asarray(open_rgb(tmp_path, "x.jpg"))[8, x].mean() for x in (4, 44))
    assert left > 200 and right < 50  # as stored
    left, right = (np.asarray(open_rgb(tmp_path, "x.jpg", upright=True))[8, x].mean() for x in (4, 44))
    assert left < 50 and right > 200


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").mkdir()
    with pytest.raises(DataError, match=r"x\.jpg cannot be read: Is a directory"):
        open_rgb(tmp_path, "x.jpg")


def test_a_file_of_no_image_format_is_named_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_text("hello")
    with pytest.raises(DataError) as caught:
        open_rgb(tmp_path, "x.jpg")
    assert (
        str(caught.value) == f"the image {tmp_path / 'x.jpg'} cannot be decoded: it is of no format that Pillow knows"
    )
    assert not is_image(b"hello") and not is_image(b"")


@pytest.mark.parametrize("reference", ["x.png", "a/x.png", "a/b/../x.png", "./a//x.png"])
def test_bytes_are_those_of_the_file(tmp_path: Path, reference: str) -> None:
    """With or without a folder; however it is spelt."""
    (tmp_path / "a/b").mkdir(parents=True)
    Image.effect_noise((8, 8), 50).save(tmp_path / reference)
    data = read_bytes(tmp_path, reference)
    assert data == (tmp_path / reference).read_bytes()
    assert is_image(data)


@pytest.mark.parametrize(
    "reference", ["nowhere.jpg", "a/nowhere.jpg", "a\0b/x.jpg", "x" * 300 + "/x.jpg", "\ud800/x.jpg", ""]
)
def test_references_to_nothing(tmp_path: Path, reference: str) -> None:
    with pytest.raises(MissingImage, match=r"^the image .* (is not there|cannot be read)"):
        read_bytes(tmp_path, reference)


def test_an_alpha_for_each_colour_of_a_palette(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "p.png", transparency=b"\x00\x80")
    shown = open_rgb(tmp_path, "p.png")
    assert [shown.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


def test_an_image_that_claims_too_much_is_not_decoded(tmp_path: Path) -> None:
    """A PNG of a few bytes whose header says 200,000 x 200,000."""
    header = struct.pack(">IIBBBBB", 200_000, 200_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    )
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    with pytest.raises(DataError, match=r"bomb\.png: it claims 200000 x 200000 pixels"):
        open_rgb(tmp_path, "bomb.png")
