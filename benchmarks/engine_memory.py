"""Peak memory of an engine folder by its number of images: made, filtered and counted, each size in its own process.

    python -m benchmarks.engine_memory [--images 10000,100000]

Images are simulated: rows without files, each with four boxes of one specialist.  Nothing is asked.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from harness.core import Boxes, Size
from harness.data_engine.filtering import filter_annotations, filter_images
from harness.data_engine.recipes import Recipe, stage
from harness.data_engine.records import Annotation, ImageRow, Origin
from harness.data_engine.shards import Engine
from harness.data_engine.waterfall import waterfall

SAID = Origin(kind="specialist", name="benchmark", fingerprint="1")


def rows(count: int) -> Iterator[ImageRow]:
    """Images without files, none near another."""
    for place in range(count):
        name = f"photos/{place:08d}.jpg"
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        yield ImageRow(reference=name, sha256=sha256, size=Size(640, 480), hash=int(sha256[:16], 16))


def boxes(image: ImageRow) -> Iterator[Annotation]:
    """Four boxes beside each other, the first below the usual threshold."""
    for place in range(4):
        value = Boxes(((place * 20.0, 0.0, place * 20.0 + 15.0, 15.0),), ("dog",))
        yield Annotation(image=image.sha256, kind="region", value=value, origin=SAID.id, score=0.3 + 0.15 * place)


def peaks(count: int) -> dict[str, float]:
    """The process's peak memory in MiB after each step."""
    found = {}

    def done(step: str) -> None:
        found[step] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    done("start")
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe(name="memory", stages=(stage("boxes", {}), stage("parents", {})))
        engine = Engine.create(Path(folder) / "engine", rows(count), recipe, "photos")
        engine.add_origins([SAID])
        done("made")
        for number in engine.shards:
            of_shard = [each for image in engine.images_of(number) for each in boxes(image)]
            engine.write_part(0, number, "memory", [], of_shard)
        done("answers written")
        filter_images(engine)
        done("images filtered")
        filter_annotations(engine)
        done("annotations filtered")
        waterfall(engine.records(dropped=True), engine.origins)
        done("counted")
    return found


def main() -> None:
    """Measures and prints a line for each number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="10000,100000", help="numbers of images [default: 10000,100000]")
    for count in map(int, parser.parse_args().images.split(",")):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(peaks, count).result()
        print(f"{count:>9,} images: " + ", ".join(f"{step} {mib:.0f} MiB" for step, mib in found.items()), flush=True)


if __name__ == "__main__":
    main()
