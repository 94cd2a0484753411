"""Hashes of benchmarks' images: each file is read once, a changed one again, and damaged lines cost a reading."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import images
from harness.data_engine.hash_cache import FILE, HashCache
from harness.data_engine.images import BenchmarkImages, benchmark_images

NAMES = ["a.png", "b.png", "broken.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    for place, name in enumerate(NAMES[:2]):
        Image.linear_gradient("L").rotate(90 * place).save(root / name)
    (root / NAMES[2]).write_bytes(b"no image")
    return root


def read(folder: Path, root: Path) -> tuple[BenchmarkImages, int]:
    """The images, and how many files were read for them."""
    cache = HashCache(folder, root)
    return benchmark_images(root, [*NAMES, "absent.png"], cache), cache.read


def same(one: BenchmarkImages, other: BenchmarkImages) -> bool:
    plain = [(each.references, each.hashes.tolist(), each.digests, each.unread) for each in (one, other)]
    return plain[0] == plain[1]


def test_second_reading_opens_no_file_and_gives_the_same(root: Path, tmp_path: Path) -> None:
    plain = benchmark_images(root, NAMES)
    assert (plain.references, plain.unread) == (("a.png", "b.png"), ("broken.png",))
    first, opened = read(tmp_path, root)
    assert same(first, plain) and opened == 3
    again, opened = read(tmp_path, root)
    assert same(again, plain) and opened == 0
    assert again.hashes.dtype == np.uint64


def test_file_that_changed_is_read_again(root: Path, tmp_path: Path) -> None:
    read(tmp_path, root)
    Image.linear_gradient("L").rotate(180).save(root / "a.png")
    os.utime(root / "a.png", ns=(1, 1))
    changed, opened = read(tmp_path, root)
    assert opened == 1 and same(changed, benchmark_images(root, NAMES))
    assert read(tmp_path, root)[1] == 0


def test_damaged_line_and_another_root_cost_a_reading_and_nothing_else(root: Path, tmp_path: Path) -> None:
    plain, _ = read(tmp_path, root)
    text = (tmp_path / FILE).read_text().splitlines()
    (tmp_path / FILE).write_text(
        "\n".join([text[0][:40], text[1].replace('"version": 1', '"version": 0'), text[2][:-9]])
    )
    again, opened = read(tmp_path, root)
    assert same(again, plain) and opened == 3
    assert read(tmp_path, root)[1] == 0
    other = root.rename(tmp_path / "other")
    assert read(tmp_path, other)[1] == 3


def test_image_without_a_file_of_its_own_is_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert images.stamp(root, "a.png") is not None and images.stamp(root, "absent.png") is None
    monkeypatch.setitem(images._mounted, root, object())
    assert images.stamp(root, "a.png") is None
    cache = HashCache(tmp_path, root)
    assert cache.get("a.png") is None
    cache.add("a.png", "a" * 64, 7)
    assert not (tmp_path / FILE).exists()


def test_file_that_changes_while_it_is_read_is_read_again(root: Path, tmp_path: Path) -> None:
    cache = HashCache(tmp_path, root)
    assert cache.get("a.png") is None
    (root / "a.png").write_bytes(b"something else")
    cache.add("a.png", "a" * 64, 7)
    assert HashCache(tmp_path, root).get("a.png") is None
