"""Flags of unsafe images in an engine folder, from the folder to a list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.data_engine import flags
from harness.data_engine.shards import Engine
from harness.errors import UsageError
from harness.evaluation.engine_data import root_of

SUSPECT = 0.8  # scores above it are "highly probable to be NSFW" (README of yahoo/open_nsfw)


@dataclass(frozen=True, slots=True)
class Flagged:
    """The number of images scored now, and those with a high score, the highest first: reference and score."""

    scored: int
    images: tuple[tuple[str, float], ...]


def flag(to: str | Path, *, least: float = SUSPECT) -> Flagged:
    """Scores the images of an engine folder that were not scored yet; nothing is dropped.

    UsageError for a `least` that is not from 0 to 1; ResourceError where the classifier is not installed.
    """
    if not 0 <= least <= 1:
        raise UsageError(f"--least {least}: a score from 0 to 1")
    engine = Engine.open(Path(to))
    by, scorer = flags.classifier()
    count = flags.flag(engine, root_of(engine.data), by, scorer)
    high = flags.flagged(engine.path, least)
    found = [(row.reference, high[row.sha256]) for row in engine.images() if row.sha256 in high]
    return Flagged(count, tuple(sorted(found, key=lambda pair: (-pair[1], pair[0]))))
