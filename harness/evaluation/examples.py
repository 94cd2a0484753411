"""The pool of examples of a few-shot run: samples of the task's training split, none of an image that is evaluated."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from baselines.entry import Part
from baselines.examples import Examples, answers
from harness.core import Sample, Source, Task
from harness.data import manifest
from harness.errors import DataError, UsageError
from harness.images import MissingImage, file_of, image_key, read_bytes

POOL = 2048  # as OpenFlamingo's `query_set_size`
DRAWING = 1  # raise it whenever other examples could be drawn


def impossible(task: Task[Any], count: int) -> str:
    """The reason why a task cannot be evaluated with `count` examples, as the end of a sentence; "" where it can."""
    if not count or task.train_splits:
        return ""
    return f"needs {count} examples of a training split, and {task.name} has none"


def draw(part: Part, count: int, seed: int, image_root: Path) -> Examples:
    """The pool of a task: up to POOL samples of its first training split, drawn with `seed`, with their answers.

    An image that the evaluated split has too is left out: one with the same number in COCO, the same path, or the same
    bytes.  `image_root` is the folder of the evaluated images; those that are not there have no bytes to compare.

    UsageError without a data root.  DataError where the training split or an image of the pool is not there, or where
    fewer than `count` samples are left.
    """
    task, split, root = part.task, part.task.train_splits[0], part.training_root()
    if root == Path() and manifest.missing(task, root, [split]):
        raise UsageError(f"--shots {count} takes examples from {task.name} {split}: give its data root, --data ROOT")
    try:
        manifest.require(task, root, split)
    except DataError as error:
        raise DataError(f"--shots {count} takes examples from split {split}: {error}") from error
    evaluated = dict.fromkeys(sample.question.image_name for sample in part.samples)
    keys = {image_key(name) for name in evaluated}

    def candidates() -> Iterator[Sample[Any]]:
        needs = manifest.needs(task, [split])
        for sample in manifest.within(root, task.load(Source(root, split)), needs):
            if not sample.excluded and image_key(sample.question.image_name) not in keys and answers(sample):
                yield sample

    drawn = heapq.nsmallest(POOL, candidates(), key=lambda sample: _digest(seed, sample.id))
    images = {name: _bytes_digest(root, name) for name in {sample.question.image_name for sample in drawn}}
    same = _same_bytes(images, root, evaluated, image_root)
    pool = [sample for sample in drawn if sample.question.image_name not in same]
    if len(pool) < count:
        raise DataError(
            f"--shots {count} needs {count} samples of {task.name} {split} with answers, and with images that are not "
            f"evaluated; {root} has {len(pool)}"
        )
    identity = _identity(task, split, pool, images, count, seed)
    return Examples(pool=pool, count=count, seed=seed, root=root, identity=identity)


def described(examples: Examples, task: Task[Any]) -> dict[str, Any]:
    """What a record says about the examples, with the ids of the pool."""
    return {
        "shots": examples.count,
        "drawn": f"at random for each question, from {len(examples.pool):,} samples of the training split",
        "split": task.train_splits[0],
        "seed": examples.seed,
        "pool": examples.identity,
        "ids": [sample.id for sample in examples.pool],
    }


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()


def _bytes_digest(root: Path, name: str) -> str:
    return hashlib.sha256(read_bytes(root, name)).hexdigest()


def _same_bytes(images: Mapping[str, str], root: Path, evaluated: Mapping[str, None], image_root: Path) -> set[str]:
    """Those of the pool's images, with their digests, that are an evaluated image under another name.

    Only evaluated images with as many bytes as one of the pool's are read.
    """
    sizes = {_size(root, name) for name in images}
    seen = set()
    for name in evaluated:
        size = _size(image_root, name)
        if size is None or size in sizes or None in sizes:
            try:
                seen.add(_bytes_digest(image_root, name))
            except MissingImage:
                continue  # its question fails when the model is queried
    return {name for name, digest in images.items() if digest in seen}


def _size(root: Path, name: str) -> int | None:
    """The number of bytes of an image's file; None for an image in a store, or one that is not there."""
    try:
        return file_of(root, name).stat().st_size
    except (OSError, MissingImage):
        return None


def _identity(
    task: Task[Any], split: str, pool: list[Sample[Any]], images: Mapping[str, str], count: int, seed: int
) -> str:
    """The count, the seed and a digest of the pool: ids, questions, answers and the bytes of the images."""
    content = [
        (sample.id, sample.question.kind, sample.question.text, answers(sample), images[sample.question.image_name])
        for sample in pool
    ]
    return f"{count} examples of {task.name} {split}, seed {seed}, {_digest(DRAWING, content)[:12]}"
