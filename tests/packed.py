"""Images in a folder of a data root, for tests that pack them or read them from a store."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image

from harness import images

FOLDER = "coco/train2014"
NAMES = ("plain.jpg", "with space.png", "é ü 名前.jpg", "sub folder/deeper/x.jpg", "x" * 200 + ".png", "a%20b+c.jpg")


def noise(seed: int, side: int = 24) -> Image.Image:
    """A square RGB image of random pixels."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def write_images(root: Path, names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    """Writes images into the folder and returns the bytes of each file, by reference."""
    for seed, name in enumerate(names):
        path = root / FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise(seed).save(path)
    return {f"{FOLDER}/{name}": (root / FOLDER / name).read_bytes() for name in names}


def alter_state(store: Path, state: bytes) -> None:
    """Replaces the state of a store."""
    with lmdb.open(str(store)) as environment, environment.begin(write=True) as transaction:
        transaction.put(images.STATE, state)


def reads_agree(root: Path, files: Mapping[str, bytes], seed: int, count: int = 200) -> bool:
    """Whether `count` random reads return the bytes that were packed."""
    references = random.Random(seed).choices(sorted(files), k=count)
    return all(images.read_bytes(root, reference) == files[reference] for reference in references)
