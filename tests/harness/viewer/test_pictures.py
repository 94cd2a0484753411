"""Pictures of bounded size, decoded and encoded again."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from harness.errors import DataError
from harness.images import given
from harness.viewer import pictures


def test_jpeg_of_a_large_image_is_scaled_and_a_small_one_is_not(tmp_path: Path) -> None:
    Image.new("RGB", (800, 400), (200, 30, 30)).save(tmp_path / "x.png")
    for side, size in ((320, (320, 160)), (1600, (800, 400))):
        with Image.open(BytesIO(pictures.jpeg(tmp_path, "x.png", side))) as image:
            assert image.format == "JPEG" and image.size == size
            red, green, blue = image.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
            assert abs(red - 200) < 5 and abs(green - 30) < 5 and abs(blue - 30) < 5


def test_bytes_of_a_file_are_never_passed_on(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.jpg", comment=b"<script>alert(1)</script>")
    assert b"<script>" in (tmp_path / "x.jpg").read_bytes()
    assert b"<script>" not in pictures.jpeg(tmp_path, "x.jpg", 320)


def test_image_that_is_gone_or_leads_out_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (root / "text.png").write_text("<svg></svg>")
    for name in ("gone.png", "../secret.png", "text.png"):
        with pytest.raises(DataError):
            pictures.jpeg(root, name, 320)


def test_name_depends_on_root_and_image_alone(tmp_path: Path) -> None:
    names = {
        pictures.name_of(root, image) for root in (tmp_path, tmp_path / "a") for image in ("x", "y/../x", "\ud800")
    }
    assert len(names) == 6 and all(name.removesuffix(".jpg").isalnum() for name in names)
    assert pictures.name_of(tmp_path, given(b"")) == pictures.name_of(
        tmp_path, given(b"1")
    )  # both are "the given bytes"
