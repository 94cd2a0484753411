"""A fixed part of a run's images, such as the third of sixteen, for schedulers that start independent jobs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.core import Sample
from harness.errors import UsageError

MOST = 100_000


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """Part `number` of `count` parts, counted from 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def folder(self) -> str:
        """The name of the shard's folder; names sort in the order of the numbers."""
        return f"{self.number:0{len(str(self.count))}}-of-{self.count}"

    def of(self, samples: Sequence[Sample[Any]]) -> list[Sample[Any]]:
        """The samples of this shard's images: those at places number, number + count, ... of the images' order.

        The order is that of the images' first samples.  All samples of an image are in one shard, each sample is in
        exactly one of the `count` shards, and their numbers of images differ by at most 1.
        """
        places = places_of(samples)
        return [sample for sample in samples if places[sample.cluster] % self.count == self.number - 1]


def places_of(samples: Iterable[Sample[Any]]) -> dict[str, int]:
    """The place of each image in the order of the images' first samples, from 0."""
    places: dict[str, int] = {}
    for sample in samples:
        places.setdefault(sample.cluster, len(places))
    return places


def parse(written: str) -> Shard:
    """The shard that "3/16" names; UsageError for anything else."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", written.strip())
    if match is None:
        raise UsageError(f"--shard {written[:40]!r}: NUMBER/COUNT, such as 3/16 for the third of sixteen parts")
    number, count = map(int, match.groups())
    if not 1 <= number <= count <= MOST:
        raise UsageError(f"--shard {number}/{count}: parts are numbered from 1 to their count, which is at most {MOST}")
    return Shard(number, count)
