"""Reading images from a folder and from its LMDB store, beside each other in one process.

    python -m benchmarks.images [--count 5000] [--rounds 5] [--to FOLDER] [--keep]

Draws seeded JPEGs of COCO's size (640 x 480, about 55 kB), packs them, and reads all in random order through
`harness.images.read_bytes`: warm, and cold, by turns; quoted is the median of the rounds' ratios (store over folder).
Before a cold round both are dropped from the page cache (fsync, then POSIX_FADV_DONTNEED on every image, or on the
store's file, which nothing has mapped then).  The kernel keeps what it knows of paths and sizes (that takes root to
drop); the disk's own cache, and that of a virtual machine's host, are not dropped either.

What a store saves: on a network disk every image of a folder costs a look-up, an open and a close of its own, each a
question to the server, before its first byte comes.  A store is opened once, and an image in it costs its pages alone.
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
    """A JPEG of 640 x 480: smooth colours, and noise enough for about 55 kB at quality 90."""
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
    """The images, 200 drawn and the others made different by a comment, so that drawing does not take minutes."""
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
    """Drops files from the page cache, as far as the kernel will."""
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def per_second(read: Callable[[str], bytes], references: list[str]) -> float:
    start = time.perf_counter()
    for reference in references:
        read(reference)
    return len(references) / (time.perf_counter() - start)


def measure(root: Path, references: list[str], rounds: int, cold: bool) -> dict[str, float]:
    """Reads a second from each, and their ratio: medians over rounds, in which either comes first by turns."""
    store = images.store_path(root, FOLDER)
    apart = root / "apart"  # the folder under a root without a store
    rates: dict[str, list[float]] = {"folder": [], "store": []}
    for number in range(-1, rounds):
        order = random.Random(number).sample(references, len(references))
        for kind in ("folder", "store") if number % 2 else ("store", "folder"):
            if cold:
                images.release(store)
                forget([store / "data.mdb"] if kind == "store" else [root / reference for reference in references])
            where = root if kind == "store" else apart
            rate = per_second(lambda reference, where=where: images.read_bytes(where, reference), order)  # type: ignore[misc]
            if number >= 0:
                rates[kind].append(rate)
    ratios = [one / other for one, other in zip(rates["store"], rates["folder"], strict=True)]
    return {
        "folder_per_s": round(statistics.median(rates["folder"])),
        "store_per_s": round(statistics.median(rates["store"])),
        "ratio": round(statistics.median(ratios), 2),
        "least": round(min(ratios), 2),
        "most": round(max(ratios), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--to", type=Path, help="where to write; a disk, not a memory file system, for cold reads")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="images-", dir=given.to))
    try:
        references = write(root, given.count)
        (root / "apart/coco").mkdir(parents=True)
        (root / "apart" / FOLDER).symlink_to(root / FOLDER)
        start = time.perf_counter()
        packed = pack.pack(root, references, folder=FOLDER)
        seconds = time.perf_counter() - start
        checked = all(images.read_bytes(root, name) == (root / name).read_bytes() for name in references)
        found = {
            "images": packed.written,
            "mb": round(packed.bytes / 1e6),
            "store_mb": round((packed.path / "data.mdb").stat().st_size / 1e6),
            "equal": checked,
            "pack_s": round(seconds, 2),
            "warm": measure(root, references, given.rounds, cold=False),
            "cold": measure(root, references, given.rounds, cold=True),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()} {platform.release()}",
        }
        print(json.dumps(found, indent=2))
    finally:
        images.release(images.store_path(root, FOLDER))
        if not given.keep:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
