"""The `<loc_*>` alphabet: boxes, quads and polygons to text and back, in one codec.

A coordinate is written as one of 1,000 bins of its image's side and read at the bin's centre, as a float:

    bin = floor(x / (side / 1000)), kept within 0..999        x = (bin + 0.5) * side / 1000

(Florence-2's processor does the same; transformers' then cuts to whole pixels, which costs small objects
dearly, and ours does not.)  What is written: `label` + four bins a box, further boxes of the same label
following on; a quad is `text` + eight bins; an outline is its bins, rings apart by `<sep>`, objects within
`<poly>`...`</poly>`.

The parser passes once over items (text, a bin, or a mark such as `<sep>`), from a string or from token ids,
and never fails.  Where it reads otherwise than transformers' regular expressions, on purpose:
    labels keep newlines, `<` and letters beyond ASCII; a mark such as `<and>` ends a label, and is no part of it;
    up to three stray bins before a label are dropped, and do not become part of it; a box before any label has
    the label "";  no phrase is dropped for being a pronoun;  a ring of fewer than three points is dropped.
Inverted boxes are kept as they are written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from harness.core import Box, Boxes, Point, Polygons, Quad, Quads, Ring, Size

BINS = 1000
MARKS = (
    "<od>", "</od>", "<ocr>", "</ocr>",
    "<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>", "<seg>", "</seg>",
    "<sep>", "<region_cap>", "</region_cap>", "<region_to_desciption>", "</region_to_desciption>",
    "<proposal>", "</proposal>", "<poly>", "</poly>", "<and>",
)  # fmt: skip
ADDED_TOKENS = (*MARKS[:4], *(f"<loc_{i}>" for i in range(BINS)), *MARKS[4:])  # in the published order of ids
UNSPOKEN = ("<s>", "</s>", "<pad>")
_SPECIAL = re.compile("|".join([*map(re.escape, (*MARKS, *UNSPOKEN)), r"<loc_(\d{1,3})>"]))


class Item(NamedTuple):
    """Part of an answer: plain text, a bin (`bin` is not None), or a mark.  With its tokens' log-probabilities."""

    text: str
    bin: int | None = None
    mark: bool = False
    log_probs: tuple[float, ...] = ()


# ---------------------------------------------------------------------------- writing


def to_bin(coordinate: float, side: float) -> int:
    """The bin of a coordinate in pixels on a side of so many pixels; what lies outside goes to the nearest bin."""
    return min(max(math.floor(coordinate / (side / BINS)), 0), BINS - 1)


def from_bin(number: int, side: float) -> float:
    """The centre of a bin, in pixels."""
    return (number + 0.5) * (side / BINS)


def write_points(points: Iterable[Point], size: Size) -> str:
    """Points as bins: `<loc_x><loc_y>` each."""
    return "".join(f"<loc_{to_bin(x, size.width)}><loc_{to_bin(y, size.height)}>" for x, y in points)


def write_boxes(value: Boxes, size: Size) -> str:
    """`label` + bins of each box; a label is not repeated while it stays the same."""
    labels = value.labels or ("",) * len(value.boxes)
    parts, before = [], None
    for (left, top, right, bottom), label in zip(value.boxes, labels, strict=True):
        parts.append(label if label != before else "")
        parts.append(write_points(((left, top), (right, bottom)), size))
        before = label
    return "".join(parts)


def write_quads(value: Quads, size: Size) -> str:
    """`text` + eight bins of each quad."""
    return "".join(label + write_points(quad, size) for quad, label in zip(value.quads, value.labels, strict=True))


def write_polygons(value: Polygons, size: Size) -> str:
    """One object's rings, apart by `<sep>`."""
    return "<sep>".join(write_points(ring, size) for ring in value.rings)


# ---------------------------------------------------------------------------- reading


def items(text: str) -> list[Item]:
    """A string as items; `<s>`, `</s>` and `<pad>` vanish."""
    found: list[Item] = []
    end = 0
    for match in _SPECIAL.finditer(text):
        if match.start() > end:
            found.append(Item(text[end : match.start()]))
        if match[1] is not None:
            found.append(Item(match[0], bin=int(match[1])))
        elif match[0] not in UNSPOKEN:
            found.append(Item(match[0], mark=True))
        end = match.end()
    if end < len(text):
        found.append(Item(text[end:]))
    return found


def raw(pieces: Sequence[Item]) -> str:
    """The text of an answer with its location tokens, as results keep it."""
    return "".join(piece.text for piece in pieces)


def plain(pieces: Sequence[Item]) -> str:
    """The words of an answer, without bins and marks."""
    return "".join(piece.text for piece in pieces if piece.bin is None and not piece.mark).strip()


def read_boxes(pieces: Sequence[Item], size: Size) -> Boxes:
    """Labelled boxes in pixels, in the order written, with scores where the items carry log-probabilities."""
    boxes: list[Box] = []
    labels: list[str] = []
    region: list[float] = []
    named: list[float] = []
    scored = any(piece.log_probs for piece in pieces)
    for label, bins in _labelled(pieces):
        name = label.text.strip() if label else ""
        for group in _whole(bins, 4):
            left, top, right, bottom = _coordinates(group, size)
            boxes.append((left, top, right, bottom))
            labels.append(name)
            region.append(_confidence(group))
            named.append(_confidence([label] if label else []))
    scores = (tuple(region), tuple(named)) if scored else (None, None)
    return Boxes(tuple(boxes), tuple(labels), *scores)


def read_groups(pieces: Sequence[Item], size: Size) -> list[tuple[str, tuple[Box, ...]]]:
    """Each label as often as it is written, with the boxes that follow it."""
    groups: list[tuple[str, tuple[Box, ...]]] = []
    for label, bins in _labelled(pieces):
        boxes = read_boxes(bins, size).boxes
        if boxes:
            groups.append((label.text.strip() if label else "", boxes))
    return groups


def read_quads(pieces: Sequence[Item], size: Size) -> Quads:
    """Labelled quadrilaterals in pixels."""
    quads: list[Quad] = []
    labels: list[str] = []
    for label, bins in _labelled(pieces):
        for group in _whole(bins, 8):
            a, b, c, d = _points(group, size)
            quads.append((a, b, c, d))
            labels.append(label.text.strip() if label else "")
    return Quads(tuple(quads), tuple(labels))


def read_polygons(pieces: Sequence[Item], size: Size) -> Polygons:
    """Every ring of an answer about one object, in pixels; an odd coordinate at a ring's end is dropped."""
    rings: list[Ring] = []
    for _, bins in _labelled(pieces):
        points = _points(bins[: len(bins) // 2 * 2], size)
        if len(points) >= 3:
            rings.append(points)
    return Polygons(tuple(rings))


def outline_score(pieces: Sequence[Item]) -> float | None:
    """exp of the mean log-probability of an answer's location tokens; None where none are known."""
    bins = [piece for piece in pieces if piece.bin is not None and piece.log_probs]
    return _confidence(bins) if bins else None


def _labelled(pieces: Sequence[Item]) -> Iterator[tuple[Item | None, list[Item]]]:
    """Runs of bins, each with the text before it; a mark ends both the run and the label."""
    label: Item | None = None
    bins: list[Item] = []
    for piece in pieces:
        if piece.bin is not None:
            bins.append(piece)
            continue
        if bins:
            yield label, bins
            bins = []
        label = None if piece.mark else piece
    if bins:
        yield label, bins


def _whole(bins: list[Item], count: int) -> Iterator[list[Item]]:
    """Complete groups of `count`; what is left over is dropped."""
    for start in range(0, len(bins) - count + 1, count):
        yield bins[start : start + count]


def _coordinates(bins: Sequence[Item], size: Size) -> tuple[float, ...]:
    return tuple(from_bin(piece.bin or 0, size[place % 2]) for place, piece in enumerate(bins))


def _points(bins: Sequence[Item], size: Size) -> Ring:
    flat = _coordinates(bins, size)
    return tuple(zip(flat[0::2], flat[1::2], strict=True))


def _confidence(pieces: Sequence[Item]) -> float:
    """exp of the mean log-probability of the tokens; 1 where there are none (an empty label is certain)."""
    log_probs = [value for piece in pieces for value in piece.log_probs]
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else 1.0
