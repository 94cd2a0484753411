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
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from harness import images
from harness.core import Size, Source, Task
from harness.data import manifest
from harness.data_engine.hash_cache import HashCache
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
    - `nsfw`: the score of a flag (`harness.data_engine.flags`) from which an image is dropped; None drops none.
    """

    name: ClassVar[str] = "images"
    version: ClassVar[int] = 1
    side: int = 32
    aspect: float = 10.0
    duplicate: int = 4
    benchmark: int = 8
    nsfw: float | None = None

    def __post_init__(self) -> None:
        """UsageError for a setting out of range."""
        if self.side < 1 or not self.aspect >= 1:
            raise UsageError(f"images: side={self.side}, aspect={self.aspect}: each at least 1")
        if not (0 <= self.duplicate <= 64 and 0 <= self.benchmark <= 64):
            raise UsageError(f"images: duplicate={self.duplicate}, benchmark={self.benchmark}: from 0 to 64 bits")
        if self.nsfw is not None and not 0 <= self.nsfw <= 1:
            raise UsageError(f"images: nsfw={self.nsfw}: a score from 0 to 1")

    def __call__(
        self,
        rows: Sequence[ImageRow],
        benchmarks: BenchmarkImages | None = None,
        human: Collection[str] = (),
    ) -> list[ImageRow]:
        """The rows in the same order, as `decide` decides."""
        ordered = sorted(rows, key=lambda row: row.reference)
        decided = {row.reference: row for row in self.decide(lambda: ordered, benchmarks, human)}
        return [decided[row.reference] for row in rows]

    def decide(
        self,
        rows: Callable[[], Iterable[ImageRow]],
        benchmarks: BenchmarkImages | None = None,
        human: Collection[str] = (),
        flagged: Mapping[str, float] = MappingProxyType({}),
    ) -> Iterator[ImageRow]:
        """Yields each row with the rule that drops its image in `stage`, or "".

        `rows` gives the images by reference, and is called several times: of each image, some fifty bytes are held in
        memory.  `human` has the SHA-256 of images with annotations by people, and `flagged` the scores of images that
        are dropped for one.  Earlier decisions are replaced, except that an image cannot be decoded or has changed.
        """
        known = benchmarks if benchmarks is not None else BenchmarkImages()
        columns = _Columns.of((self._alone(row, flagged) for row in rows()), known, human)
        self._find_benchmarks(columns, known)
        self._find_duplicates(columns)
        needed = frozenset(columns.owner[columns.owner >= 0].tolist())
        names = {place: row.reference for place, row in enumerate(rows()) if place in needed} if needed else {}
        for place, row in enumerate(rows()):
            if (benchmark := columns.benchmark[place]) >= 0:
                yield replace(row, stage="images.benchmark", by=known.references[benchmark])
            elif (owner := columns.owner[place]) >= 0:
                yield replace(row, stage="images.duplicate", by=names[owner])
            else:
                yield self._alone(row, flagged)

    def _alone(self, row: ImageRow, flagged: Mapping[str, float]) -> ImageRow:
        """The row with the rules that look at one image."""
        if row.stage in (UNDECODABLE, CHANGED):
            return row
        short, long = min(row.size), max(row.size)
        rule = "images.small" if short < self.side else "images.narrow" if long > self.aspect * short else ""
        if not rule and row.sha256 in flagged:
            return replace(row, stage="images.nsfw", by=f"a score of {flagged[row.sha256]:.2f}")
        return replace(row, stage=rule, by="")

    def _find_benchmarks(self, columns: _Columns, known: BenchmarkImages) -> None:
        """Fills in the places of benchmarks' images that are near."""
        uneven = np.array([place for place, value in enumerate(known.hashes) if int(value) not in FLAT], np.int64)
        places = np.flatnonzero(columns.left & columns.comparable & (columns.benchmark < 0))
        near = nearest(columns.hashes[places], known.hashes[uneven], self.benchmark)
        columns.benchmark[places[near >= 0]] = uneven[near[near >= 0]]

    def _find_duplicates(self, columns: _Columns) -> None:
        """Fills in the owners of near duplicates of a preferred image, and of equal files, whatever they show."""
        places = np.flatnonzero(columns.left & (columns.benchmark < 0))
        order = places[np.lexsort((places, -columns.pixels[places], ~columns.human[places]))]
        _, first, equal = np.unique(columns.files[order], return_index=True, return_inverse=True)
        owner = np.arange(len(columns.left))
        owner[order] = order[first[equal]]
        alone = order[(owner[order] == order) & columns.comparable[order]]
        owner[alone] = alone[owners(columns.hashes[alone], self.duplicate)]
        best = owner[owner[order]]  # of equal files: the one that the first of them repeats
        columns.owner[order[best != order]] = best[best != order]


@dataclass(slots=True)
class _Columns:
    """What is known of N images, in their order.

    `hashes`, `comparable` (whether the hash tells an image from others), `pixels`, `human`, `left` (no rule that looks
    at one image drops it), `files` (16 bytes that name the file), `benchmark` (the place of the benchmark's image that
    it is, or -1) and `owner` (the place of the image that it repeats, or -1).
    """

    hashes: Hashes
    comparable: NDArray[np.bool_]
    pixels: NDArray[np.int64]
    human: NDArray[np.bool_]
    left: NDArray[np.bool_]
    files: NDArray[np.void]
    benchmark: NDArray[np.int64]
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[ImageRow], known: BenchmarkImages, human: Collection[str]) -> _Columns:
        """The columns of these images; benchmarks' images with the same bytes are filled in."""
        same = {digest: place for place, digest in enumerate(known.digests)}
        people = frozenset(human)
        hashes, pixels, benchmark = array("Q"), array("q"), array("q")
        comparable, by_people, left, files = bytearray(), bytearray(), bytearray(), bytearray()
        for row in rows:
            hashes.append(row.hash or 0)
            pixels.append(row.size.width * row.size.height)
            comparable.append(row.hash is not None and row.hash not in FLAT)
            by_people.append(row.sha256 in people)
            left.append(not row.stage)
            files += hashlib.blake2b(row.sha256.encode(), digest_size=16).digest()
            benchmark.append(same.get(row.sha256, -1) if not row.stage else -1)
        flags = [np.frombuffer(flag, np.bool_) for flag in (comparable, by_people, left)]
        places = np.array(benchmark, np.int64)
        return cls(
            np.array(hashes, np.uint64), flags[0], np.array(pixels, np.int64), flags[1], flags[2],
            np.frombuffer(files, "V16"), places, np.full(len(places), -1, np.int64),
        )  # fmt: skip


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


def benchmark_images(root: Path, references: Iterable[str], cache: HashCache | None = None) -> BenchmarkImages:
    """The hashes and digests of benchmarks' images; images that the root does not hold are left out.

    `cache` knows those of files that were read before.  A warning is logged for images that are there and cannot be
    decoded: nothing can be compared with them.
    """
    names: list[str] = []
    hashes: list[int] = []
    digests: list[str] = []
    unread: list[str] = []
    for reference in references:
        try:
            known = cache.get(reference) if cache is not None else None
            digest, hash_ = known or _hashed(root, reference)
        except MissingImage:
            continue
        if cache is not None and known is None:
            cache.add(reference, digest, hash_)
        if hash_ is None:
            unread.append(reference)
        else:
            names.append(reference)
            hashes.append(hash_)
            digests.append(digest)
    if unread:
        log.warning("%d images of benchmarks cannot be decoded: no copy of them is found: %s", len(unread), unread[0])
    return BenchmarkImages(tuple(names), np.array(hashes, np.uint64), tuple(digests), tuple(unread))


def _hashed(root: Path, reference: str) -> tuple[str, int | None]:
    """The SHA-256 of an image's file, and its hash; None for the hash if it cannot be decoded."""
    data = images.read_bytes(root, reference)
    digest = hashlib.sha256(data).hexdigest()
    try:
        return digest, perceptual_hash(images.decode(data, reference))
    except BadImage:
        return digest, None
