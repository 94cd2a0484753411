"""Reads images from a folder and from its LMDB store, in alternation in one process.

    python -m benchmarks.images [--count 5000] [--rounds 5] [--to FOLDER] [--keep]

The images are generated JPEGs of COCO's size (640 x 480, about 55 kB).  All are read in random order through
`harness.images.read_bytes`, warm and cold.  The result is the median of the rounds' ratios (store over folder).

Before a cold round, the images or the store are dropped from the page cache: fsync, then POSIX_FADV_DONTNEED on every
file.  The store is unmapped before.  The kernel still caches paths and sizes, which only root can drop.  The caches of
the disk and of a virtual machine's host are not dropped either.

On a network disk, an image in a folder costs a look-up, an open and a close, each of which is a request to the server.
A store is opened once, and an image in it costs its pages only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from harness import images
from harness.data import pack

FOLDER = "coco/drawn"


def draw(seed: int) -> bytes:
    """Returns a JPEG of 640 x 480: smooth colours, with noise that makes about 55 kB at quality 90."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), np.uint8)).resize(
        (640, 480), Image.Resampling.BICUBIC
    )
    noise = generator.normal(0, 3, (240, 320, 1)).repeat(2, 0).repeat(2, 1)
    shown = Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))
    stream = BytesIO()
    shown.save(stream, "JPEG", quality=90)
    return stream.getvalue()


def write(root: Path, count: int) -> list[str]:
    """Writes `count` different images under the root, and returns their references.

    At most 200 are drawn, which takes long; the others repeat them with a different comment.
    """
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    drawn = [draw(seed) for seed in range(min(count, 200))]
    references = [f"{FOLDER}/COCO_drawn_{number:012d}.jpg" for number in range(count)]
    for number, reference in enumerate(references):
        data = drawn[number % len(drawn)]
        comment = f"{number:08d}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment
        (root / reference).write_bytes(data[:2] + marker + data[2:])
    return references


def forget(files: list[Path]) -> None:
    """Drops files from the page cache, as far as the kernel permits."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def per_second(read: Callable[[str], bytes], references: list[str]) -> float:
    """Returns images read per second."""
    start = time.perf_counter()
    for reference in references:
        read(reference)
    return len(references) / (time.perf_counter() - start)


def measure(root: Path, references: list[str], rounds: int, cold: bool) -> dict[str, float]:
    """Returns images per second of folder and store, and their ratio: medians over rounds of alternating order."""
    store = images.store_path(root, FOLDER)
    without_store = root / "apart"  # a root with the same folder and no store
    rates: dict[str, list[float]] = {"folder": [], "store": []}
    for number in range(-1, rounds):
        order = random.Random(number).sample(references, len(references))
        for kind in ("folder", "store") if number % 2 else ("store", "folder"):
            if cold:
                images.release(store)
                forget([store / "data.mdb"] if kind == "store" else [root / reference for reference in references])
            where = root if kind == "store" else without_store
            rate = per_second(lambda reference, where=where: images.read_bytes(where, reference), order)  # type: ignore[misc]
            if number >= 0:
                rates[kind].append(rate)
    ratios = [of_store / of_folder for of_store, of_folder in zip(rates["store"], rates["folder"], strict=True)]
    return {
        "folder_per_s": round(statistics.median(rates["folder"])),
        "store_per_s": round(statistics.median(rates["store"])),
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
    }


def main() -> None:
    """Prints the record as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="number of images (5000)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (5)")
    parser.add_argument("--to", type=Path, help="folder for the images; for cold reads, on a disk and not in memory")
    parser.add_argument("--keep", action="store_true", help="keep the images afterwards")
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="images-", dir=options.to))
    try:
        references = write(root, options.count)
        (root / "apart/coco").mkdir(parents=True)
        (root / "apart" / FOLDER).symlink_to(root / FOLDER)
        start = time.perf_counter()
        packed = pack.pack(root, references, folder=FOLDER)
        seconds = time.perf_counter() - start
        equal = all(images.read_bytes(root, name) == (root / name).read_bytes() for name in references)
        record = {
            "images": packed.written,
            "mb": round(packed.bytes / 1e6),
            "store_mb": round((packed.path / "data.mdb").stat().st_size / 1e6),
            "equal": equal,
            "pack_s": round(seconds, 2),
            "warm": measure(root, references, options.rounds, cold=False),
            "cold": measure(root, references, options.rounds, cold=True),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        }
        print(json.dumps(record, indent=2))
    finally:
        images.release(images.store_path(root, FOLDER))
        if not options.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
