"""Which images are annotated: broken, tiny and extreme ones, near duplicates, and images of benchmarks.

The hash (`harness.data_engine.hashes`) finds an image that was made smaller or compressed again.  It finds most crops
of 5 % of the area.  It does not find mirrored images, and few crops of 5 % on each side.  Images of one colour are
compared by their bytes alone.

Near duplicates.  Images are taken in order of preference: those with annotations by people, then the larger, then by
reference.  An image is kept unless a kept image is within `duplicate` bits of it.  So an image is dropped for a kept
image that is near, never through a chain.

Benchmarks.  An image within `benchmark` bits of an image that a benchmark evaluates, or with the same bytes, is
dropped.  RefCOCO excludes evaluation images from training in the same way.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from harness import images
from harness.core import Size, Source, Task
from harness.data import manifest
from harness.data_engine.hashes import FLAT, Hashes, nearest, owners, perceptual_hash
from harness.data_engine.records import ImageRow
from harness.errors import DataError, UsageError
from harness.images import BadImage, MissingImage

UNDECODABLE, CHANGED = "images.undecodable", "images.changed"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BenchmarkImages:
    """The images that benchmarks evaluate: their references, perceptual hashes (N,) and the SHA-256 of their files.

    `unread` are references of images that are there and cannot be decoded.
    """

    references: tuple[str, ...] = ()
    hashes: Hashes = field(default_factory=lambda: np.empty(0, np.uint64))
    digests: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ImageFilter:
    """Decides which images are kept.

    - `side`: the smallest side, in pixels.
    - `aspect`: the largest ratio of the sides.
    - `duplicate` and `benchmark`: the largest number of different bits of a near duplicate, and of an image that counts
      as one of a benchmark.
    """

    name: ClassVar[str] = "images"
    version: ClassVar[int] = 1
    side: int = 32
    aspect: float = 10.0
    duplicate: int = 4
    benchmark: int = 8

    def __post_init__(self) -> None:
        """UsageError for a setting out of range."""
        if self.side < 1 or not self.aspect >= 1:
            raise UsageError(f"images: side={self.side}, aspect={self.aspect}: each at least 1")
        if not (0 <= self.duplicate <= 64 and 0 <= self.benchmark <= 64):
            raise UsageError(f"images: duplicate={self.duplicate}, benchmark={self.benchmark}: from 0 to 64 bits")

    def __call__(
        self,
        rows: Iterable[ImageRow],
        benchmarks: BenchmarkImages | None = None,
        human: Collection[str] = (),
    ) -> list[ImageRow]:
        """The rows in the same order, each with the rule that drops its image in `stage`, or "".

        `human` has the SHA-256 of images with annotations by people.  Earlier decisions are replaced, except that an
        image cannot be decoded or has changed.
        """
        known = benchmarks if benchmarks is not None else BenchmarkImages()
        decided = [self._alone(row) for row in rows]
        decided = self._without_benchmarks(decided, known)
        return self._without_duplicates(decided, frozenset(human))

    def _alone(self, row: ImageRow) -> ImageRow:
        """The row with the rules that look at one image."""
        if row.stage in (UNDECODABLE, CHANGED):
            return row
        short, long = min(row.size), max(row.size)
        rule = "images.small" if short < self.side else "images.narrow" if long > self.aspect * short else ""
        return replace(row, stage=rule, by="")

    def _without_benchmarks(self, rows: list[ImageRow], known: BenchmarkImages) -> list[ImageRow]:
        same = dict(zip(known.digests, known.references, strict=True))
        uneven = np.array([place for place, value in enumerate(known.hashes) if int(value) not in FLAT], np.int64)
        places = [place for place, row in enumerate(rows) if not row.stage and _comparable(row)]
        near = nearest(_hashes(rows, places), known.hashes[uneven], self.benchmark)
        found = {place: known.references[uneven[i]] for place, i in zip(places, near, strict=True) if i >= 0}
        return [
            replace(row, stage="images.benchmark", by=same.get(row.sha256) or found[place])
            if not row.stage and (row.sha256 in same or place in found)
            else row
            for place, row in enumerate(rows)
        ]

    def _without_duplicates(self, rows: list[ImageRow], human: frozenset[str]) -> list[ImageRow]:
        """The rows with near duplicates of a preferred image dropped, and equal files, whatever they show."""

        def preference(place: int) -> tuple[bool, int, str]:
            row = rows[place]
            return row.sha256 not in human, -row.size.width * row.size.height, row.reference

        order = sorted((place for place, row in enumerate(rows) if not row.stage), key=preference)
        first: dict[str, int] = {}
        owner = {place: first.setdefault(rows[place].sha256, place) for place in order}
        places = [place for place in order if owner[place] == place and _comparable(rows[place])]
        kept = owners(_hashes(rows, places), self.duplicate)
        owner |= {place: places[other] for place, other in zip(places, kept, strict=True)}
        decided = list(rows)
        for place in order:
            best = owner[owner[place]]  # of equal files: the one that the first of them repeats
            if best != place:
                decided[place] = replace(rows[place], stage="images.duplicate", by=rows[best].reference)
        return decided


def read_row(root: Path, reference: str, *, source: str = "", licence: str = "") -> ImageRow:
    """The row of an image under the data root, with its digest, size and hash, before any decision.

    An image that is missing or cannot be decoded has the stage `UNDECODABLE`, no hash, and the size (0, 0).
    """
    row = ImageRow(reference=reference, sha256="", size=Size(0, 0), source=source, licence=licence, stage=UNDECODABLE)
    try:
        data = images.read_bytes(root, reference)
        row = replace(row, sha256=hashlib.sha256(data).hexdigest())
        image = images.decode(data, reference)
    except BadImage:
        return row
    return replace(row, size=Size(*image.size), hash=perceptual_hash(image), stage="")


def read_unchanged(root: Path, row: ImageRow) -> bytes:
    """The bytes of an image's file; DataError if they are not those that were annotated."""
    data = images.read_bytes(root, row.reference)
    if (now := hashlib.sha256(data).hexdigest()) != row.sha256:
        raise DataError(
            f"the image {root / row.reference} has changed since it was annotated: its SHA-256 is {now[:12]}..., "
            f"that of the annotated file {row.sha256[:12]}...; restore the file, or annotate the folder again"
        )
    return data


def changed(root: Path, rows: Iterable[ImageRow]) -> list[ImageRow]:
    """The rows, those of images whose files have other bytes now, or are gone, with the stage `CHANGED`."""
    checked = []
    for row in rows:
        if row.stage != UNDECODABLE:
            try:
                read_unchanged(root, row)
            except DataError:
                row = replace(row, stage=CHANGED, by="")
        checked.append(row)
    return checked


def evaluation_references(tasks: Iterable[Task[Any]], root: Path) -> Iterator[str]:
    """The images of all evaluation splits whose annotations the data root holds, each once.

    Splits that are answered for a server are among them.  DataError if annotations that are there are damaged.
    """
    seen: set[str] = set()
    for task in tasks:
        if task.candidates_of:
            continue  # its images are those of another task
        for split in (*task.splits, *task.hidden_splits):
            if any(manifest.is_of_annotations(need) for need in manifest.missing(task, root, [split])):
                continue
            for sample in task.load(Source(root, split)):
                name = sample.question.image
                if isinstance(name, str) and name and name not in seen:
                    seen.add(name)
                    yield name


def benchmark_images(root: Path, references: Iterable[str]) -> BenchmarkImages:
    """The hashes and digests of benchmarks' images; images that the root does not hold are left out.

    A warning is logged for those that are there and cannot be decoded: nothing can be compared with them.
    """
    found: list[ImageRow] = []
    unread: list[str] = []
    for reference in references:
        try:
            data = images.read_bytes(root, reference)
            digest, hash_ = hashlib.sha256(data).hexdigest(), perceptual_hash(images.decode(data, reference))
        except MissingImage:
            continue
        except BadImage:
            unread.append(reference)
            continue
        found.append(ImageRow(reference=reference, sha256=digest, size=Size(0, 0), hash=hash_))
    if unread:
        log.warning("%d images of benchmarks cannot be decoded: no copy of them is found: %s", len(unread), unread[0])
    return BenchmarkImages(
        tuple(row.reference for row in found),
        _hashes(found, range(len(found))),
        tuple(row.sha256 for row in found),
        tuple(unread),
    )


def _comparable(row: ImageRow) -> bool:
    """Whether the hash of an image tells it from others."""
    return row.hash is not None and row.hash not in FLAT


def _hashes(rows: Sequence[ImageRow], places: Iterable[int]) -> Hashes:
    return np.array([rows[place].hash for place in places], np.uint64)
