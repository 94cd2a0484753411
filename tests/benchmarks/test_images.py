"""Generated images, and their rates from a folder and from its store."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import images as benchmark
from harness import images
from harness.data import pack


def test_draw_has_size_of_coco_and_is_seeded() -> None:
    data = benchmark.draw(3)
    assert Image.open(BytesIO(data)).size == (640, 480)
    assert 30_000 < len(data) < 90_000
    assert benchmark.draw(3) == data != benchmark.draw(4)


def test_write_gives_different_files_with_equal_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred images are drawn; the image 200 repeats the image 0 with another comment."""
    drawn = {seed: benchmark.draw(seed) for seed in (0, 1)}
    monkeypatch.setattr(benchmark, "draw", lambda seed: drawn[seed % 2])
    references = benchmark.write(tmp_path, 201)
    data = [(tmp_path / reference).read_bytes() for reference in references]
    assert len(set(data)) == 201
    first, last = (np.asarray(Image.open(BytesIO(data[place]))) for place in (0, 200))
    assert np.array_equal(first, last)


def test_measure_reads_both_layouts(tmp_path: Path) -> None:
    references = benchmark.write(tmp_path, 3)
    (tmp_path / "apart/coco").mkdir(parents=True)
    (tmp_path / "apart" / benchmark.FOLDER).symlink_to(tmp_path / benchmark.FOLDER)
    pack.pack(tmp_path, references, folder=benchmark.FOLDER)
    try:
        for cold in (False, True):
            record = benchmark.measure(tmp_path, references, 2, cold)
            assert record["least"] <= record["ratio"] <= record["most"]
            assert min(record["folder_per_s"], record["store_per_s"]) > 0
    finally:
        images.release(images.store_path(tmp_path, benchmark.FOLDER))
