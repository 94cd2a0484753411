"""The images of a data engine: a folder, a data root or the embedded scenes; and the benchmarks' images to keep out."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

import tasks
from harness import progress
from harness.data.own.listing import IMAGES, listed
from harness.data_engine.hash_cache import HashCache
from harness.data_engine.images import BenchmarkImages, benchmark_images, evaluation_references, read_row
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import ImageRow
from harness.data_engine.shards import Engine
from harness.errors import DataError, UsageError
from harness.evaluation.plan import DATA_VARIABLE, MINIATURE

MOST_IMAGES = 10_000_000  # in one folder
READERS = 8  # threads that read and hash images
AHEAD = 64  # images that are read ahead
log = logging.getLogger(__name__)


def root_of(data: str | Path) -> Path:
    """The folder of images; "miniature" is drawn on first use."""
    if str(data) == MINIATURE:
        from tasks import miniature

        return miniature.ensure_engine()
    root = Path(data).expanduser()
    if not root.is_dir():
        raise DataError(f"{root} is no folder; give a folder of images, a data root, or 'miniature'")
    return root


def engine_of(to: Path, root: Path, data: str, recipe: Recipe, limit: int | None, source: str, licence: str) -> Engine:
    """The engine of a folder's images, which are read once, when it is made."""
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: at least one image")
    names = listed(root, IMAGES, MOST_IMAGES)[:limit]
    if strange := [name for name in names if not _is_utf8(name)]:
        raise DataError(f"{len(strange)} images of {data} have names that are not UTF-8; rename {strange[0]!r}")
    if not (to / "engine.json").exists():
        read = partial(read_row, root, source=source, licence=licence)
        with ThreadPoolExecutor(READERS) as pool:
            images = _mapped(pool, read, names)
            rows = progress.over(images, "reading images", unit="images", total=len(names))
            return Engine.create(to, rows, recipe, data)
    engine = Engine.open(to)
    if data != engine.data:
        raise UsageError(f"{to} is of the images of {engine.data}, not of {data}; give another --to")
    if limit is not None and len(names) != engine.count:
        raise UsageError(f"--limit {limit}: {to} has {engine.count:,} images, and keeps them; give another --to")
    if limit is None and (new := _new(names, engine)):
        log.warning("%d images of %s are not in %s, such as %s; annotate them into another folder",
                    len(new), data, to, new[0])  # fmt: skip
    return engine if recipe == engine.recipe else engine.with_recipe(recipe)


def _mapped(pool: ThreadPoolExecutor, read: Callable[[str], ImageRow], names: Iterable[str]) -> Iterator[ImageRow]:
    """The rows in the order of their names, a few of them ahead of the caller."""
    waiting: deque[Future[ImageRow]] = deque()
    for name in names:
        waiting.append(pool.submit(read, name))
        if len(waiting) >= AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _new(names: Sequence[str], engine: Engine) -> list[str]:
    """The names that are not among the engine's images; both are in order."""
    there = (image.reference for image in engine.images())
    known = next(there, None)
    new = []
    for name in names:
        while known is not None and known < name:
            known = next(there, None)
        if name != known:
            new.append(name)
    return new


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def benchmark_images_of(root: Path, benchmarks: str | Path | None, to: Path) -> BenchmarkImages:
    """The images that benchmarks evaluate, of the data root and of the folder that is annotated.

    Their hashes are kept in the engine folder `to`.
    """
    named = benchmarks or os.environ.get(DATA_VARIABLE)
    found = BenchmarkImages()
    for place in dict.fromkeys([root, *([Path(named).expanduser()] if named else [])]):
        if not place.is_dir():
            raise DataError(f"--benchmarks {place} is no folder")
        references = evaluation_references(tasks.TASKS.values(), place)
        each = benchmark_images(place, references, HashCache(to, place))
        found = each if not found.references else _joined(found, each)
    return found


def _joined(one: BenchmarkImages, other: BenchmarkImages) -> BenchmarkImages:
    return BenchmarkImages(
        one.references + other.references,
        np.concatenate([one.hashes, other.hashes]),
        one.digests + other.digests,
        one.unread + other.unread,
    )
