"""What of a task's data is really there: counts beside the published ones, and every image looked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness import images
from harness.core import Boxes, Grounded, Objects, Sample, Text
from harness.errors import DataError


@dataclass(frozen=True, slots=True)
class Looked:
    """The images of a split that are not there, and those that are and cannot be decoded, with why."""

    missing: tuple[str, ...]
    unreadable: Mapping[str, str]


def counts(samples: Sequence[Sample[Any]]) -> dict[str, int]:
    """How many samples and images there are, and how many things they are marked by."""
    found = {"samples": len(samples), "images": len({sample.question.image_name for sample in samples})}
    for sample in samples:
        target = sample.target
        if isinstance(target, Text):
            name, more = ("references" if sample.question.kind == "caption" else "answers"), len(target.texts)
        elif isinstance(target, Grounded):
            name, more = "phrases", len(target.boxes)
        elif isinstance(target, Objects | Boxes):
            name, more = "objects", len(target.boxes)
        else:
            continue
        found[name] = found.get(name, 0) + more
    return found


def look(root: Path, references: Iterable[str], *, decode: bool) -> Looked:
    """Looks for every image once; `decode` reads each one whole."""
    wanted = list(dict.fromkeys(references))
    missing = [image for image in wanted if not images.exists(root, image)]
    unreadable: dict[str, str] = {}
    if decode:
        there = [image for image in wanted if image not in set(missing)]
        with ThreadPoolExecutor(2) as pool:
            outcomes = pool.map(lambda image: _wrong_with(root, image), there)
            for image, wrong in tqdm(zip(there, outcomes, strict=True), "decoding", len(there), disable=None):
                if wrong:
                    unreadable[image] = wrong
    return Looked(tuple(missing), unreadable)


def _wrong_with(root: Path, image: str) -> str:
    try:
        images.open_rgb(root, image)
    except DataError as error:
        return str(error)
    return ""
