"""A look at predictions as a whole, which finds mistakes of units that would only lower the score.

Each prediction by itself may be right: a box under a pixel, a box outside of its image, an empty text.  Where a large
share of a file is like this, the file is in other units or another form than its format, or of other images.  Then the
likely cause is named: the reading of the same numbers that puts nearly all boxes into their images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.core import Answer, Box, Boxes, Grounded, Objects, Polygons, Sample, Size, Text, Value
from harness.geometry.boxes import area, to_xywh

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


@dataclass(frozen=True, slots=True)
class _Found:
    """A predicted box, the size of its image (None if unknown), and whether its format writes corners."""

    box: Box
    size: Size | None
    corners: bool


def look(samples: Sequence[Sample[Any]], answers: Mapping[str, Answer]) -> Sanity:
    """The counts and shares of the predictions of these samples, and the likely cause where they are suspect."""
    found: list[_Found] = []
    texts: list[str] = []
    expected = without = 0
    for sample in samples:
        value = answers[sample.id].value if sample.id in answers else None
        if isinstance(value, Text):
            texts += value.texts
            continue
        own = [_Found(box, sample.question.size, isinstance(value, Grounded)) for box in _boxes(value)]
        found += own
        if not isinstance(sample.target, Text | None) and not (
            isinstance(sample.target, Objects) and not sample.target.xywh
        ):
            expected += 1
            without += not own and not _is_mask(value)
    count = len(found)
    shares = {
        "tiny": _share(sum(_is_tiny(each.box) for each in found), count),
        "outside": _share(sum(not _is_inside(each.box, each.size) for each in found), count),
        "past": _share(sum(_is_past(each) for each in found), count),
        "inverted": _share(sum(_is_inverted(each.box) for each in found), count),
        "without": _share(without, expected),
        "empty": _share(sum(not text.strip() for text in texts), len(texts)),
    }
    return Sanity(count, texts=len(texts), suspect=_suspect(shares, found), **shares)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


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


def _is_tiny(box: Box) -> bool:
    return not _is_inverted(box) and min(box[2] - box[0], box[3] - box[1]) < 1


def _is_inverted(box: Box) -> bool:
    return box[2] < box[0] or box[3] < box[1]


def _is_past(each: _Found) -> bool:
    """Whether a box ends more than a pixel past the right or lower edge of its image."""
    return each.size is not None and (each.box[2] > each.size.width + 1 or each.box[3] > each.size.height + 1)


def _is_inside(box: Box, size: Size | None) -> bool:
    """Whether at least half of a box is inside of its image; True for an inverted box and for an unknown size."""
    if size is None or _is_inverted(box):
        return True
    clipped = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], size.width), min(box[3], size.height))
    if not area(box):
        return clipped[0] <= clipped[2] and clipped[1] <= clipped[3]
    return area(clipped) >= area(box) / 2


# ---------------------------------------------------------------------------- likely causes


def _suspect(shares: Mapping[str, float], found: Sequence[_Found]) -> str:
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


def _one_sided(shares: Mapping[str, float], found: Sequence[_Found]) -> str:
    """A problem of boxes that are too far right and down, if another reading explains it; else "".

    A detector that does not clip its boxes has as many past the left and upper edges.
    """
    before = _share(sum(min(each.box[:2]) < -1 for each in found), len(found))
    if shares["past"] < PAST or before >= BEFORE:
        return ""
    measured = [each for each in found if each.size is not None]
    for reading, cause in ((_other_form, _form_cause(measured[0])), (_centred, CENTRED)):
        if _fits(measured, reading):
            return f"{shares['past']:.0%} of the boxes end past the right or lower edge of their image: likely {cause}"
    return ""


def _in_corner(found: Sequence[_Found]) -> str:
    """A problem of boxes that are all in the upper left of their images; "" if there is none."""
    if len(found) < ENOUGH:
        return ""
    for each in found:
        if each.size is None or each.box[2] > CORNER * each.size.width or each.box[3] > CORNER * each.size.height:
            return ""
    return (
        f"all {len(found):,} boxes are in the upper left {CORNER:.0%} of their images: likely coordinates in pixels of "
        f"a smaller image, or from 0 to {BINS}"
    )


CENTRED = "[centre x, centre y, width, height]; the format is [x, y, width, height]"


def _form_cause(each: _Found) -> str:
    if each.corners:
        return "[x, y, width, height]; the format is [x0, y0, x1, y1]"
    return "[x0, y0, x1, y1]; the format is [x, y, width, height]"


def _cause(found: Sequence[_Found]) -> str:
    """The first other reading of the numbers under which nearly all boxes lie in their images; "" if there is none."""
    measured = [each for each in found if each.size is not None]
    if found and all(max(map(abs, each.box)) <= 2 for each in found):
        return "normalised coordinates (0 to 1); the format is in pixels of the image"
    for reading, cause in (
        (_other_form, _form_cause(found[0])),
        (_centred, CENTRED),
        (_swapped, "x and y in the wrong order"),
        (_from_bins, f"coordinates from 0 to {BINS}; the format is in pixels of the image"),
    ):
        if measured and _fits(measured, reading):
            return cause
    return "coordinates in pixels of a resized image, or predictions of other images" if measured else ""


def _fits(found: Sequence[_Found], reading: Callable[[_Found], Box]) -> bool:
    """Whether nearly all boxes have a positive area within their image, up to a pixel, if they are read like this."""
    inside = 0
    for each in found:
        left, top, right, bottom = reading(each)
        width, height = each.size or Size(0, 0)
        inside += -1 <= left < right <= width + 1 and -1 <= top < bottom <= height + 1
    return inside >= EXPLAINED * len(found)


def _other_form(each: _Found) -> Box:
    """The box if corners were written as [x, y, width, height], or the other way round."""
    if each.corners:
        left, top, width, height = each.box
        return (left, top, left + width, top + height)
    return to_xywh(each.box)


def _centred(each: _Found) -> Box:
    """The box if the centre was written in place of the upper left corner."""
    left, top, right, bottom = each.box
    width, height = right - left, bottom - top
    return (left - width / 2, top - height / 2, left + width / 2, top + height / 2)


def _swapped(each: _Found) -> Box:
    left, top, right, bottom = each.box
    return (top, left, bottom, right)


def _from_bins(each: _Found) -> Box:
    width, height = each.size or Size(0, 0)
    left, top, right, bottom = each.box
    return (left * width / BINS, top * height / BINS, right * width / BINS, bottom * height / BINS)
