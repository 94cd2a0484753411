"""Changes of the targets of training scenes: fewer location bins, or another order of detected objects."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.core import Box, Boxes, Grounded, Polygons, Quads, Sample, Size
from harness.errors import UsageError
from harness.florence2.locations import BINS
from harness.training.data import SceneSource

Order = Literal["given", "size", "random"]


@dataclass(frozen=True, slots=True)
class Targets:
    """The coordinates and the order of objects in training targets.

    With fewer `bins`, a coordinate is moved to the centre of its bin, so a model only ever sees that many of the 1,000
    location tokens of an image side.  `order` is that of the objects of `detect`: as given, by falling area, or random
    for each scene, always the same for the same scene.

    UsageError if 1,000 is not a multiple of `bins`.
    """

    bins: int = BINS
    order: Order = "given"

    def __post_init__(self) -> None:
        if self.bins < 1 or BINS % self.bins:
            raise UsageError(f"bins={self.bins}: a divisor of {BINS}, such as 100")

    def __call__(self, sample: Sample[Any]) -> Sample[Any]:
        """The sample with the changed target; itself where nothing changes."""
        target, size = sample.target, sample.question.size
        if isinstance(target, Boxes) and sample.question.kind == "detect" and self.order != "given":
            target = _reordered(target, self.order, sample.question.image_name)
        if self.bins != BINS and size is not None:
            target = _coarse(target, size, self.bins)
        return sample if target is sample.target else replace(sample, target=target)


def _reordered(target: Boxes, order: Order, name: str) -> Boxes:
    places = list(range(len(target.boxes)))
    if order == "size":
        places.sort(key=lambda place: -_area(target.boxes[place]))
    else:
        random.Random(name).shuffle(places)
    return replace(
        target,
        boxes=tuple(target.boxes[place] for place in places),
        labels=tuple(target.labels[place] for place in places) if target.labels else (),
    )


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _coarse(target: Any, size: Size, bins: int) -> Any:
    """The target with every coordinate at the centre of one of `bins` bins of its image side."""

    def centred(numbers: tuple[Any, ...]) -> Any:
        """A box or a point, or a tuple of either."""
        if numbers and isinstance(numbers[0], tuple):
            return tuple(map(centred, numbers))
        return tuple(_centre(number, size[place % 2], bins) for place, number in enumerate(numbers))

    for type_, field in ((Boxes, "boxes"), (Grounded, "boxes"), (Polygons, "rings"), (Quads, "quads")):
        if isinstance(target, type_):
            return replace(target, **{field: centred(getattr(target, field))})
    return target


def _centre(number: float, side: int, bins: int) -> float:
    step = side / bins
    return (min(max(math.floor(number / step), 0), bins - 1) + 0.5) * step


@dataclass(frozen=True, slots=True)
class Changed:
    """A source of scenes with changed targets."""

    source: SceneSource
    targets: Targets

    def __call__(self, seed: int) -> Any:
        """The scene of a seed."""
        scene: Any = self.source(seed)
        return replace(scene, samples=tuple(map(self.targets, scene.samples)))
