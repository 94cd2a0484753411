"""Images as they are sent: the file's own bytes, or a PNG with the same pixels."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines.endpoint.sent import SentSoFar, prepare, refuse_other_size
from harness.core import GivenImage, Question, Size
from harness.errors import DataError
from harness.images import open_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def saved(folder: Path, name: str, image: Image.Image | None = None, **settings: object) -> bytes:
    (image or Image.fromarray(PIXELS)).save(folder / name, **settings)
    return (folder / name).read_bytes()


@pytest.mark.parametrize(("name", "mime"), [
    ("a.jpg", "image/jpeg"), ("a.png", "image/png"), ("a.webp", "image/webp"), ("a.gif", "image/gif"),
])  # fmt: skip
def test_format_that_servers_read_is_sent_byte_for_byte(tmp_path: Path, name: str, mime: str) -> None:
    data = saved(tmp_path, name)
    image = prepare(tmp_path, name)
    head, _, encoded = image.uri.partition(",")
    assert head == f"data:{mime};base64"
    assert base64.b64decode(encoded) == data == image.data
    assert (image.size, image.converted) == (Size(50, 30), False)


def test_mime_type_is_of_the_content_and_not_of_the_name(tmp_path: Path) -> None:
    saved(tmp_path, "a.jpg", format="PNG")
    assert prepare(tmp_path, "a.jpg").uri.startswith("data:image/png;")


@pytest.mark.parametrize(("name", "image"), [
    ("a.bmp", Image.fromarray(PIXELS)),
    ("a.tiff", Image.fromarray(PIXELS)),
    ("a.ppm", Image.fromarray(PIXELS)),
    ("cmyk.jpg", Image.fromarray(PIXELS).convert("CMYK")),
    ("deep.png", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),  # 16 bits, which Pillow would clip
])  # fmt: skip
def test_other_format_is_sent_as_png_with_the_pixels_of_the_harness(
    tmp_path: Path, name: str, image: Image.Image
) -> None:
    saved(tmp_path, name, image)
    sent = prepare(tmp_path, name)
    assert (sent.format, sent.converted) == ("PNG", True)
    decoded = np.asarray(Image.open(BytesIO(sent.data)))
    assert np.array_equal(decoded, np.asarray(open_rgb(tmp_path, name)))


def test_animation_is_sent_as_its_first_frame(tmp_path: Path) -> None:
    second = Image.fromarray(255 - PIXELS)
    saved(tmp_path, "a.gif", Image.fromarray(PIXELS), save_all=True, append_images=[second])
    assert prepare(tmp_path, "a.gif").converted


def test_image_in_memory_is_sent_as_png() -> None:
    sent = prepare(Path(), GivenImage("mine", lambda: Image.fromarray(PIXELS)))
    assert np.array_equal(np.asarray(Image.open(BytesIO(sent.data))), PIXELS)


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff\xe0"])
def test_damaged_image_is_a_data_error_and_is_not_sent(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.jpg"):
        prepare(tmp_path, "a.jpg")
    saved(tmp_path, "b.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:-300])
    with pytest.raises(DataError, match=r"b\.jpg"):
        prepare(tmp_path, "b.jpg")


def test_orientation_tag_is_counted_and_size_stays_as_stored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    saved(tmp_path, "turned.jpg", exif=exif)
    saved(tmp_path, "upright.bmp")
    sent = SentSoFar()
    turned = prepare(tmp_path, "turned.jpg")
    assert turned.size == Size(50, 30) and turned.turned
    assert [sent.add(image) for image in (turned, turned, prepare(tmp_path, "upright.bmp"))] == [True, False, False]
    described = sent.described()
    assert (described["formats"], described["converted to PNG"]) == ({"JPEG": 2, "PNG": 1}, 1)
    assert (described["with an orientation tag"], described["sizes"]) == (2, ["50x30", "50x30"])


def test_size_of_the_annotation_must_be_that_of_the_image_where_pixels_are_scored() -> None:
    refuse_other_size(Question("x.jpg", Size(5, 3), "caption"), Size(50, 30))
    refuse_other_size(Question("x.jpg", None, "refer"), Size(50, 30))
    with pytest.raises(DataError, match=r"x\.jpg is 50x30; its annotation says 5x3"):
        refuse_other_size(Question("x.jpg", Size(5, 3), "refer"), Size(50, 30))
