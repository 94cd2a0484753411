"""Skipped images: named once, kept in a file, bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.training.skipping import SkippedImages, read


def test_skipped_images_are_named_once_kept_and_bounded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "skipped.json"
    skipped = SkippedImages(path, 2)
    for image in ("a.jpg", "b.jpg", "a.jpg"):
        skipped.add(image, f"{image} is gone")
    assert caplog.messages == ["skipped: a.jpg is gone", "skipped: b.jpg is gone"]
    assert read(path) == {"a.jpg": "a.jpg is gone", "b.jpg": "b.jpg is gone"}
    resumed = SkippedImages(path, 2)
    resumed.add("b.jpg", "b.jpg is gone")
    with pytest.raises(
        DataError, match="3 training images cannot be read, and --skip-bad-images allows 2; the last: c"
    ):
        resumed.add("c.jpg", "c.jpg is gone")


@pytest.mark.parametrize("text", ["{", "[]", "3", ""])
def test_read_of_missing_or_damaged_file_is_empty(tmp_path: Path, text: str) -> None:
    assert read(tmp_path / "skipped.json") == {}
    (tmp_path / "skipped.json").write_text(text)
    assert read(tmp_path / "skipped.json") == {}
