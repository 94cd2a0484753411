"""The coordinate space in which a model writes boxes, and its conversion to pixels of the original image.

    pixels     pixels of the image that was sent, or of the resized image where the space has a `Resize`
    thousand   0 to 1000 on both sides of the image
    unit       0 to 1 on both sides of the image
    none       the model writes no numbers as coordinates

A space is declared, never guessed from the numbers.  `Watch` counts boxes that do not fit the declared space.
"""

from __future__ import annotations

import logging
import math
import threading
from dataclasses import dataclass, field
from typing import Literal, get_args

from baselines.written_boxes import to_pixels
from harness.core import Box, Size
from harness.errors import UsageError

Name = Literal["pixels", "thousand", "unit", "none"]
NAMES: tuple[str, ...] = get_args(Name)
SLACK = 0.01  # of a side; a coordinate that is farther outside the space does not fit it
FEW = 20  # boxes before a warning
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resize:
    """How a model resizes its input: sides that are multiples of `factor`, and an area between two limits, in pixels.

    Qwen's `smart_resize`: factor 28, at least 56 * 56 pixels, at most 12,845,056 for Qwen2.5-VL's published processor.
    A server may have other limits.  ValueError for limits that contradict each other.
    """

    factor: int
    min_pixels: int
    max_pixels: int

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= 1024 or not 1 <= self.min_pixels <= self.max_pixels:
            raise ValueError("factor from 1 to 1024, and 1 <= min_pixels <= max_pixels")

    def of(self, size: Size) -> Size:
        """The size of the resized image, in pixels, for an original of `size`."""
        width, height = (max(self.factor, round(side / self.factor) * self.factor) for side in size)
        if width * height > self.max_pixels:
            shrink = math.sqrt(size.width * size.height / self.max_pixels)
            width, height = (max(self.factor, math.floor(side / shrink / self.factor) * self.factor) for side in size)
        elif width * height < self.min_pixels:
            grow = math.sqrt(self.min_pixels / (size.width * size.height))
            width, height = (math.ceil(side * grow / self.factor) * self.factor for side in size)
        return Size(width, height)


@dataclass(frozen=True, slots=True)
class Space:
    """A coordinate space; `resize` applies to pixels only."""

    name: Name
    resize: Resize | None = None

    def extent(self, size: Size) -> tuple[float, float]:
        """The coordinates of the right and the bottom edge of an image of `size`, in this space.

        ValueError for the space `none`.
        """
        if self.name == "none":
            raise ValueError("the space 'none' has no coordinates")
        if self.name == "pixels":
            return self.resize.of(size) if self.resize is not None else size
        return (1000.0, 1000.0) if self.name == "thousand" else (1.0, 1.0)

    def to_pixels(self, box: Box, size: Size) -> Box:
        """A box of this space in pixels of the original image of `size`, clipped to the image."""
        return to_pixels(box, self.extent(size), size)

    def describe(self) -> str:
        """The space in a fingerprint."""
        if self.name != "pixels" or self.resize is None:
            return self.name
        return f"pixels/{self.resize.factor}/{self.resize.min_pixels}/{self.resize.max_pixels}"


def space(name: str, resize: Resize | None = None) -> Space:
    """The space of this name; UsageError for an unknown one."""
    for known in get_args(Name):
        if name == known:
            return Space(known, resize if known == "pixels" else None)
    raise UsageError(f"--space {name}: one of {', '.join(NAMES)}")


@dataclass(slots=True)
class Watch:
    """Counts the boxes that were read, and warns once where more than a tenth of them do not fit the space.

    A box does not fit if a coordinate is outside the space.  In the spaces `pixels` and `thousand`, boxes whose
    coordinates are all at most 1 do not fit either: they are probably in the space `unit`.
    """

    space: Space
    boxes: int = 0
    outside: int = 0
    below_one: int = 0
    warned: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, box: Box, size: Size) -> None:
        """Counts a box in the coordinates in which it was written."""
        with self._lock:
            right, bottom = self.space.extent(size)
            self.boxes += 1
            limits = (right, bottom, right, bottom)
            pairs = zip(box, limits, strict=True)
            self.outside += any(not -SLACK * limit <= value <= (1 + SLACK) * limit for value, limit in pairs)
            self.below_one += self.space.name != "unit" and all(0 <= value <= 1 for value in box) and any(box)

    def said(self) -> str:
        """A sentence on boxes that do not fit the space; "" if at most a tenth of them do not."""
        if self.outside * 10 > self.boxes:
            what = f"{self.outside} of {self.boxes} boxes are outside the space {self.space.describe()!r}"
        elif self.below_one * 10 > self.boxes:
            what = f"{self.below_one} of {self.boxes} boxes are below 1 in the space {self.space.describe()!r}"
        else:
            return ""
        others = [name for name in NAMES if name not in (self.space.name, "none")]
        return f"{what}; does the model write {' or '.join(others)} (--space), or resize images otherwise?"

    def warn(self, *, at_end: bool = False) -> None:
        """Logs `said` once: after `FEW` boxes, or at the end of the questions."""
        with self._lock:
            if self.warned or (self.boxes < FEW and not at_end) or not (sentence := self.said()):
                return
            self.warned = True
        log.warning("%s", sentence)
