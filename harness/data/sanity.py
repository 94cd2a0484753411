"""A look at predictions as a whole, which finds mistakes of units that would only lower the score.

Each prediction by itself may be right: a box under a pixel, a box outside of its image, an empty text.  Where a large
share of a file is like this, the file is in other units or another form than its format, or of other images.  Then the
likely cause is named: the reading of the same numbers that puts nearly all boxes into their images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Answer, Box, Boxes, Grounded, Objects, Polygons, Sample, Text, Value

Flags = NDArray[np.bool_]
Numbers = NDArray[np.float64]

TINY = 0.5  # shares from which on a file is suspect: boxes under a pixel, ...
OUTSIDE = 0.1  # ... boxes of which more than half is outside of the image,
INVERTED = 0.01  # boxes whose right or bottom edge comes before the left or top edge,
EMPTY = 0.5  # empty texts, and samples without any box
PAST, BEFORE = 0.05, 0.01  # boxes past the right or lower edge, where fewer are past the left or upper edge
CORNER, ENOUGH = 0.7, 50  # part of each side within which all boxes are suspect, if there are this many
EXPLAINED = 0.99  # share of boxes that a cause must put into their images
BINS = 1000  # in coordinates of some models, the side of every image


@dataclass(frozen=True, slots=True)
class Sanity:
    """Counts and shares (0 to 1) of a prediction file, and the reason why it is suspect; "" if it is not.

    - `boxes` counts boxes and outlines.  `tiny` is the share with a side under one pixel, `outside` the share of which
      more than half is outside of the image, `past` the share that ends past the right or lower edge of the image,
      `inverted` the share with a negative side.
    - `without` is the share of samples without a box or outline, of those that have a target to find.
    - `texts` counts texts; `empty` is the share of empty ones.
    """

    boxes: int = 0
    tiny: float = 0.0
    outside: float = 0.0
    past: float = 0.0
    inverted: float = 0.0
    without: float = 0.0
    texts: int = 0
    empty: float = 0.0
    suspect: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The counts and shares for a record, without those of a kind that the predictions do not have."""
        unused = set() if self.texts else {"texts", "empty"}
        if self.texts and not self.boxes:
            unused |= {"boxes", "tiny", "outside", "past", "inverted", "without"}
        if not self.suspect:
            unused.add("suspect")
        return {name: value for name, value in asdict(self).items() if name not in unused}


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Predicted boxes, the sizes of their images (NaN if unknown), and whether their format writes corners."""

    boxes: Numbers  # (N, 4)
    sizes: Numbers  # (N, 2)
    corners: NDArray[np.bool_]  # (N,)

    def __len__(self) -> int:
        return len(self.boxes)

    def measured(self) -> _Found:
        """Those in images of known size."""
        known = ~np.isnan(self.sizes[:, 0])
        return _Found(self.boxes[known], self.sizes[known], self.corners[known])


def look(samples: Sequence[Sample[Any]], answers: Mapping[str, Answer]) -> Sanity:
    """The counts and shares of the predictions of these samples, and the likely cause where they are suspect."""
    boxes: list[Box] = []
    sizes: list[tuple[float, float]] = []
    corners: list[bool] = []
    texts: list[str] = []
    expected = without = 0
    for sample in samples:
        value = answers[sample.id].value if sample.id in answers else None
        if isinstance(value, Text):
            texts += value.texts
            continue
        own = list(_boxes(value))
        boxes += own
        size = sample.question.size
        sizes += [(size.width, size.height) if size is not None else (np.nan, np.nan)] * len(own)
        corners += [isinstance(value, Grounded)] * len(own)
        if not isinstance(sample.target, Text | None) and not (
            isinstance(sample.target, Objects) and not sample.target.xywh
        ):
            expected += 1
            without += not own and not _is_mask(value)
    found = _Found(
        np.array(boxes, np.float64).reshape(-1, 4), np.array(sizes, np.float64).reshape(-1, 2), np.array(corners, bool)
    )
    count = len(found)
    shares = {
        "tiny": _share(_tiny(found).sum(), count),
        "outside": _share((~_inside(found)).sum(), count),
        "past": _share((found.boxes[:, 2:] > found.sizes + 1).any(axis=1).sum(), count),
        "inverted": _share(_inverted(found).sum(), count),
        "without": _share(without, expected),
        "empty": _share(sum(not text.strip() for text in texts), len(texts)),
    }
    return Sanity(count, texts=len(texts), suspect=_suspect(shares, found), **shares)


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0


def _boxes(value: Value | None) -> Iterator[Box]:
    """The boxes of a value, and the bounds of its outline."""
    if isinstance(value, Boxes):
        yield from value.boxes
    elif isinstance(value, Grounded):
        for of_phrase in value.boxes:
            yield from of_phrase
    elif isinstance(value, Polygons) and any(value.rings):
        across, down = zip(*(point for ring in value.rings for point in ring), strict=True)
        yield min(across), min(down), max(across), max(down)


def _is_mask(value: Value | None) -> bool:
    """Whether the value is an outline that has no bounds here: a mask in its own size."""
    return value is not None and not isinstance(value, Boxes | Grounded | Polygons)


def _tiny(found: _Found) -> Flags:
    width, height = _sides(found.boxes).T
    tiny: Flags = ((width < 1) | (height < 1)) & ~_inverted(found)
    return tiny


def _inverted(found: _Found) -> Flags:
    left, top, right, bottom = found.boxes.T
    inverted: Flags = (right < left) | (bottom < top)
    return inverted


def _sides(boxes: Numbers) -> Numbers:
    """(N, 2): widths and heights."""
    return boxes[:, 2:] - boxes[:, :2]


def _inside(found: _Found) -> Flags:
    """Whether at least half of each box is inside of its image; True for inverted boxes and for unknown sizes."""
    clipped = _sides(np.hstack([np.maximum(found.boxes[:, :2], 0.0), np.minimum(found.boxes[:, 2:], found.sizes)]))
    area = _sides(found.boxes).clip(0.0).prod(axis=1)
    half: Flags = np.where(area > 0, clipped.clip(0.0).prod(axis=1) >= area / 2, (clipped >= 0).all(axis=1))
    return half | _inverted(found) | np.isnan(found.sizes[:, 0])


# ---------------------------------------------------------------------------- likely causes


def _suspect(shares: Mapping[str, float], found: _Found) -> str:
    """Why the predictions are suspect, with the likely cause; "" where they are not."""
    problems = [
        f"{shares[name]:.0%} of {what}"
        for name, limit, what in (
            ("tiny", TINY, "the boxes have a side under one pixel"),
            ("outside", OUTSIDE, "the boxes are mostly outside of their image"),
            ("inverted", INVERTED, "the boxes have a negative side"),
            ("without", EMPTY, "the samples with something to find have no box"),
            ("empty", EMPTY, "the texts are empty"),
        )
        if shares[name] >= limit
    ]
    if not problems:
        return _one_sided(shares, found) or _in_corner(found)
    cause = _cause(found) if any(problem.endswith(("pixel", "image", "side")) for problem in problems) else ""
    if not cause and shares["without"] >= EMPTY:
        cause = "predictions of other images, or of a part of them"
    return f"{'; '.join(problems)}" + (f": likely {cause}" if cause else "")


def _one_sided(shares: Mapping[str, float], found: _Found) -> str:
    """A problem of boxes that are too far right and down, if another reading explains it; else "".

    A detector that does not clip its boxes has as many past the left and upper edges.
    """
    before = _share((found.boxes[:, :2] < -1).any(axis=1).sum(), len(found))
    if shares["past"] < PAST or before >= BEFORE:
        return ""
    measured = found.measured()
    for reading, cause in ((_other_form, _form_cause(measured)), (_centred, CENTRED)):
        if _fits(measured, reading):
            return f"{shares['past']:.0%} of the boxes end past the right or lower edge of their image: likely {cause}"
    return ""


def _in_corner(found: _Found) -> str:
    """A problem of boxes that are all in the upper left of their images; "" if there is none."""
    if len(found) < ENOUGH or not (found.boxes[:, 2:] <= CORNER * found.sizes).all():  # an unknown size is NaN
        return ""
    return (
        f"all {len(found):,} boxes are in the upper left {CORNER:.0%} of their images: likely coordinates in pixels of "
        f"a smaller image, or from 0 to {BINS}"
    )


CENTRED = "[centre x, centre y, width, height]; the format is [x, y, width, height]"


def _form_cause(found: _Found) -> str:
    """The form of the other kind, by the first prediction."""
    if found.corners[0]:
        return "[x, y, width, height]; the format is [x0, y0, x1, y1]"
    return "[x0, y0, x1, y1]; the format is [x, y, width, height]"


def _cause(found: _Found) -> str:
    """The first other reading of the numbers under which nearly all boxes lie in their images; "" if there is none."""
    measured = found.measured()
    if len(found) and (abs(found.boxes) <= 2).all():
        return "normalised coordinates (0 to 1); the format is in pixels of the image"
    for reading, cause in (
        (_other_form, _form_cause(found)),
        (_centred, CENTRED),
        (_swapped, "x and y in the wrong order"),
        (_from_bins, f"coordinates from 0 to {BINS}; the format is in pixels of the image"),
    ):
        if len(measured) and _fits(measured, reading):
            return cause
    return "coordinates in pixels of a resized image, or predictions of other images" if len(measured) else ""


def _fits(found: _Found, reading: Callable[[_Found], Numbers]) -> bool:
    """Whether nearly all boxes have a positive area within their image, up to a pixel, if they are read like this."""
    boxes = reading(found)
    fits = (boxes[:, :2] >= -1) & (boxes[:, :2] < boxes[:, 2:]) & (boxes[:, 2:] <= found.sizes + 1)
    return bool(fits.all(axis=1).sum() >= EXPLAINED * len(found))


def _other_form(found: _Found) -> Numbers:
    """The boxes if corners were written as [x, y, width, height], or the other way round."""
    as_corners = found.boxes[:, :2] + found.boxes[:, 2:]
    as_sides = _sides(found.boxes).round(10)  # as `geometry.boxes.to_xywh`
    return np.hstack([found.boxes[:, :2], np.where(found.corners[:, None], as_corners, as_sides)])


def _centred(found: _Found) -> Numbers:
    """The boxes if the centre was written in place of the upper left corner."""
    half = _sides(found.boxes) / 2
    return np.hstack([found.boxes[:, :2] - half, found.boxes[:, :2] + half])


def _swapped(found: _Found) -> Numbers:
    return found.boxes[:, [1, 0, 3, 2]]


def _from_bins(found: _Found) -> Numbers:
    return found.boxes * np.tile(found.sizes, 2) / BINS
