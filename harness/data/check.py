"""Checks of a task's data: counts of samples and targets, and whether every image exists and can be decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness import images
from harness.core import Boxes, Grounded, Mask, Objects, Polygons, Sample, Text
from harness.errors import DataError
from harness.geometry import masks
from harness.geometry.boxes import area
from harness.images import MissingImage

ONCE_PER_IMAGE = frozenset(("caption", "detect", "find", "ocr", "ocr_regions", "regions", "propose"))


@dataclass(frozen=True, slots=True)
class CheckedImages:
    """The images of a split that cannot be read, and those that cannot be decoded, each with the reason."""

    missing: Mapping[str, str]
    unreadable: Mapping[str, str]


def counts(samples: Sequence[Sample[Any]]) -> dict[str, int]:
    """The numbers of samples and of different images, and of the targets' items by name.

    Items are the `captions` of retrieval, the `references` of captions and descriptions, the `answers` of other texts,
    `phrases` or `objects`.  Outlines, masks and quadrilaterals are not counted.
    """
    total = {"samples": len(samples), "images": len({sample.question.image_name for sample in samples} - {""})}
    for sample in samples:
        target = sample.target
        if sample.question.kind == "embed":
            name, count = "captions", 1 if sample.question.text else 0
        elif isinstance(target, Text):
            described = sample.question.kind in ("caption", "describe")
            name, count = "references" if described else "answers", len(target.texts)
        elif isinstance(target, Grounded):
            name, count = "phrases", len(target.boxes)
        elif isinstance(target, Objects | Boxes):
            name, count = "objects", len(target.boxes)
        else:
            continue
        total[name] = total.get(name, 0) + count
    return total


def differences(counts: Mapping[str, int], published: Mapping[str, int]) -> str:
    """The counts that differ from the published ones, such as "6 images (published: 5,000)"; "" where none differs."""
    differing = [unit for unit, count in published.items() if counts.get(unit) != count]
    return ", ".join(f"{counts.get(unit, 0):,} {unit} (published: {published[unit]:,})" for unit in differing)


def shared_images(samples: Sequence[Sample[Any]]) -> dict[str, int]:
    """The image files of several samples, with the number of samples of each, for kinds that ask once per image.

    Each such sample is an image id of the annotations, so the file is counted once per id.  Questions and expressions
    are not looked at: an image may have several.
    """
    files = Counter(sample.question.image_name for sample in samples if sample.question.kind in ONCE_PER_IMAGE)
    return {image: count for image, count in files.items() if count > 1}


def unmatchable(samples: Sequence[Sample[Any]]) -> list[str]:
    """The ids of the samples with a target of area 0: its IoU with every answer is 0, in official code too.

    The target is a box, all boxes of a phrase, an object that is no crowd, or an outline that covers no pixel.
    """
    return [sample.id for sample in samples if _has_empty_target(sample)]


def _has_empty_target(sample: Sample[Any]) -> bool:
    target, size = sample.target, sample.question.size
    if isinstance(target, Boxes):
        return not all(map(area, target.boxes))
    if isinstance(target, Grounded):
        return not all(any(map(area, boxes)) for boxes in target.boxes)
    if isinstance(target, Objects):
        return any(not (w * h or crowd) for (_, _, w, h), crowd in zip(target.xywh, target.crowd, strict=True))
    if target == Polygons(()):  # of an expression that refers to nothing
        return False
    if isinstance(target, Polygons | Mask) and size is not None:
        return not masks.area(masks.rasterise(target, size))
    return False


def look(root: Path, references: Iterable[str], *, decode: bool) -> CheckedImages:
    """Checks once that every image exists; with `decode`, also that it can be decoded.

    DataError if a store is corrupt.
    """
    different = list(dict.fromkeys(references))
    missing = {image: _reading_error(root, image) for image in different if not images.exists(root, image)}
    unreadable: dict[str, str] = {}
    if decode:
        existing = [image for image in different if image not in missing]
        with ThreadPoolExecutor(2) as pool:
            reasons = pool.map(lambda image: _decoding_error(root, image), existing)
            for image, reason in tqdm(zip(existing, reasons, strict=True), "decoding", len(existing), disable=None):
                if reason:
                    unreadable[image] = reason
    return CheckedImages(missing, unreadable)


def _reading_error(root: Path, image: str) -> str:
    """Why the file of an image cannot be read."""
    try:
        images.read_bytes(root, image)
    except MissingImage as error:
        return str(error).partition("; ")[0]  # without the remedy, which names the command that is running
    return "it was not there a moment ago"


def _decoding_error(root: Path, image: str) -> str:
    """Why an image cannot be decoded; "" if it can."""
    try:
        images.open_rgb(root, image)
    except DataError as error:
        return str(error)
    return ""
