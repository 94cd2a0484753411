"""Perceptual hashes against their definition and imagehash, and the search for near ones against plain loops."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data_engine import hashes
from harness.data_engine.hashes import FLAT


def pictures(root: Path, count: int) -> list[Path]:
    """Images of different scenes of the embedded benchmark."""
    return sorted((root / "coco/val2017").iterdir())[:count]


def plain_hash(image: Image.Image) -> int:
    """The definition in plain loops: every coefficient as a sum over all pixels of the 32 x 32 grey image."""
    grey = image.convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    pixels = [[grey.getpixel((x, y)) for x in range(32)] for y in range(32)]
    low = [
        sum(
            pixels[y][x] * math.cos(math.pi * v * (2 * y + 1) / 64) * math.cos(math.pi * u * (2 * x + 1) / 64)
            for y in range(32)
            for x in range(32)
        )
        for v in range(8)
        for u in range(8)
    ]
    ordered = sorted(low)
    median = (ordered[31] + ordered[32]) / 2
    return int("".join("1" if value > median else "0" for value in low), 2)


def test_hash_is_the_definition_in_plain_loops(miniature: Path) -> None:
    for path in pictures(miniature, 3):
        with Image.open(path) as image:
            assert hashes.perceptual_hash(image) == plain_hash(image)


def test_hash_equals_that_of_imagehash(miniature: Path) -> None:
    imagehash = pytest.importorskip("imagehash")
    for path in pictures(miniature, 60):
        with Image.open(path) as image:
            assert hashes.perceptual_hash(image) == int(str(imagehash.phash(image)), 16)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 30, 90)])
def test_hash_of_one_colour_is_flat(colour: tuple[int, int, int]) -> None:
    assert hashes.perceptual_hash(Image.new("RGB", (300, 200), colour)) in FLAT


def test_hash_of_symmetric_image_does_not_depend_on_rounding() -> None:
    """Mirrored, the image is the same; its odd coefficients cancel, and so they must be equal and not nearly 0."""
    left = np.random.default_rng(0).integers(0, 256, (64, 32), np.uint8)
    image = Image.fromarray(np.hstack([left, left[:, ::-1]]))
    bits = np.array(list(f"{hashes.perceptual_hash(image):064b}")).reshape(8, 8)
    odd = bits[:, 1::2]
    assert len(set(odd.ravel())) == 1


def plain_nearest(hashes: Iterable[int], others: Iterable[int], bits: int) -> list[int]:
    known = list(others)
    return [next((i for i, b in enumerate(known) if (a ^ b).bit_count() <= bits), -1) for a in hashes]


@pytest.mark.parametrize("bits", [0, 1, 4, 8, 20])
@pytest.mark.parametrize("block", [7, hashes.BLOCK])
def test_nearest_equals_the_plain_loop(bits: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "BLOCK", block)
    draw = np.random.default_rng(bits)
    others = draw.integers(0, 2**64, 150, np.uint64)
    values = others[draw.integers(0, 150, 120)]
    for _ in range(bits + 1):  # near and not so near
        values = values ^ (np.uint64(1) << draw.integers(0, 64, 120, np.uint64))
    found = hashes.nearest(values, others, bits)
    assert found.tolist() == plain_nearest(map(int, values), map(int, others), bits)
    assert np.count_nonzero(found >= 0) > 0 or bits == 0


def test_owners_keep_what_the_greedy_loop_keeps() -> None:
    draw = np.random.default_rng(1)
    centres = draw.integers(0, 2**64, 12, np.uint64)
    values = centres[draw.integers(0, 12, 200)]
    for _ in range(3):  # members of a group are up to 6 bits apart: not all are near each other
        values = values ^ (np.uint64(1) << draw.integers(0, 64, 200, np.uint64))
    kept: list[int] = []
    for place, value in enumerate(map(int, values)):
        if all((value ^ int(values[other])).bit_count() > 4 for other in kept):
            kept.append(place)
    owner = hashes.owners(values, 4)
    assert [place for place, other in enumerate(owner) if place == other] == kept
    for place, other in enumerate(owner):
        assert other in kept and (int(values[place]) ^ int(values[other])).bit_count() <= 4
    assert 12 < len(kept) < 200


def test_nearest_with_nothing_to_compare_finds_nothing() -> None:
    empty = np.empty(0, np.uint64)
    assert hashes.nearest(np.array([5], np.uint64), empty, 4).tolist() == [-1]
    assert hashes.nearest(empty, empty, 4).tolist() == hashes.owners(empty, 4).tolist() == []


def test_hundred_thousand_hashes_have_exactly_the_planted_neighbours() -> None:
    values = np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64)
    values[50_000:50_100] = values[:100] ^ np.uint64(0b1010)
    owner = hashes.owners(values, 4)
    assert np.flatnonzero(owner != np.arange(100_000)).tolist() == list(range(50_000, 50_100))
