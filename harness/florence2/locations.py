"""Location tokens `<loc_*>`: one codec between text and boxes, quads and polygons.

An image side has 1,000 bins.  A coordinate in pixels is written as its bin, and parsed as the bin's centre:

    bin = floor(x / (side / 1000)), clipped to 0..999        x = (bin + 0.5) * side / 1000

Florence-2's processor does the same.  transformers' processor then truncates to whole pixels, which loses accuracy on
small objects; this codec keeps floats.

Written forms:
    box       label, then four bins; further boxes of the same label follow without the label
    quad      text, then eight bins
    outline   the bins of its rings, separated by `<sep>`; several objects are inside `<poly>`...`</poly>`

The parser makes one pass over items (text, bins, and markup tokens such as `<sep>`), and accepts any text.
Deliberate differences from the regular expressions of transformers' processor:
    labels keep newlines, `<`, and letters beyond ASCII
    a markup token such as `<and>` ends a label, and is not part of it
    up to three stray bins before a label are dropped, and are not part of it
    a box before the first label has the label ""
    pronouns are kept as phrases
    a ring of fewer than three points is dropped
Inverted boxes stay as they are written.
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
CONTROLS = ("<s>", "</s>", "<pad>")  # tokens that are dropped from every answer
_SPECIAL = re.compile("|".join([*map(re.escape, (*MARKS, *CONTROLS)), r"<loc_(\d{1,3})>"]))


class Item(NamedTuple):
    """Part of an answer: text, a bin (`bin` is its number), or a markup token (`mark`).

    `log_probs` are those of its tokens; empty if they are unknown.
    """

    text: str
    bin: int | None = None
    mark: bool = False
    log_probs: tuple[float, ...] = ()


# ---------------------------------------------------------------------------- writing


def to_bin(coordinate: float, side: float) -> int:
    """The bin of a coordinate; coordinate and side are in pixels.  The nearest bin if outside the image."""
    return min(max(math.floor(coordinate / (side / BINS)), 0), BINS - 1)


def from_bin(number: int, side: float) -> float:
    """The centre of a bin in pixels, on a side in pixels."""
    return (number + 0.5) * (side / BINS)


def write_points(points: Iterable[Point], size: Size) -> str:
    """Points in pixels as location tokens, `<loc_x><loc_y>` each."""
    return "".join(f"<loc_{to_bin(x, size.width)}><loc_{to_bin(y, size.height)}>" for x, y in points)


def write_boxes(value: Boxes, size: Size) -> str:
    """Boxes in pixels as text: label and bins of each; consecutive boxes of one label write the label once."""
    labels = value.labels or ("",) * len(value.boxes)
    parts, previous = [], None
    for (left, top, right, bottom), label in zip(value.boxes, labels, strict=True):
        parts.append(label if label != previous else "")
        parts.append(write_points(((left, top), (right, bottom)), size))
        previous = label
    return "".join(parts)


def write_quads(value: Quads, size: Size) -> str:
    """Quads in pixels as text: label and eight bins of each."""
    return "".join(label + write_points(quad, size) for quad, label in zip(value.quads, value.labels, strict=True))


def write_polygons(value: Polygons, size: Size) -> str:
    """The rings of one object, in pixels, as location tokens; `<sep>` is between rings."""
    return "<sep>".join(write_points(ring, size) for ring in value.rings)


# ---------------------------------------------------------------------------- parsing


def items(text: str) -> list[Item]:
    """A string split into items, without `<s>`, `</s>` and `<pad>`."""
    pieces: list[Item] = []
    end = 0
    for match in _SPECIAL.finditer(text):
        if match.start() > end:
            pieces.append(Item(text[end : match.start()]))
        if match[1] is not None:
            pieces.append(Item(match[0], bin=int(match[1])))
        elif match[0] not in CONTROLS:
            pieces.append(Item(match[0], mark=True))
        end = match.end()
    if end < len(text):
        pieces.append(Item(text[end:]))
    return pieces


def raw(pieces: Sequence[Item]) -> str:
    """The text of an answer with its location tokens, as stored in results."""
    return "".join(piece.text for piece in pieces)


def plain(pieces: Sequence[Item]) -> str:
    """The text of an answer without location and markup tokens."""
    return "".join(piece.text for piece in pieces if piece.bin is None and not piece.mark).strip()


def read_boxes(pieces: Sequence[Item], size: Size) -> Boxes:
    """Labelled boxes in pixels, in their written order; with scores if the items have log-probabilities."""
    boxes: list[Box] = []
    labels: list[str] = []
    region_scores: list[float] = []
    label_scores: list[float] = []
    scored = any(piece.log_probs for piece in pieces)
    for label, bins in _labelled(pieces):
        name = label.text.strip() if label else ""
        for group in _whole(bins, 4):
            left, top, right, bottom = _coordinates(group, size)
            boxes.append((left, top, right, bottom))
            labels.append(name)
            region_scores.append(_confidence(group))
            label_scores.append(_confidence([label] if label else []))
    scores = (tuple(region_scores), tuple(label_scores)) if scored else (None, None)
    return Boxes(tuple(boxes), tuple(labels), *scores)


def read_groups(pieces: Sequence[Item], size: Size) -> list[tuple[str, tuple[Box, ...]]]:
    """Each written label with the boxes in pixels behind it; a label that is written twice is there twice."""
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
    """The rings of one object in pixels; a single coordinate at a ring's end is dropped."""
    rings: list[Ring] = []
    for _, bins in _labelled(pieces):
        points = _points(bins[: len(bins) // 2 * 2], size)
        if len(points) >= 3:
            rings.append(points)
    return Polygons(tuple(rings))


def _labelled(pieces: Sequence[Item]) -> Iterator[tuple[Item | None, list[Item]]]:
    """Runs of bins, each with the label before it; a markup token ends both the run and the label."""
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
    """Consecutive groups of `count` bins; an incomplete last group is dropped."""
    for start in range(0, len(bins) - count + 1, count):
        yield bins[start : start + count]


def _coordinates(bins: Sequence[Item], size: Size) -> tuple[float, ...]:
    return tuple(from_bin(piece.bin or 0, size[index % 2]) for index, piece in enumerate(bins))


def _points(bins: Sequence[Item], size: Size) -> Ring:
    flat = _coordinates(bins, size)
    return tuple(zip(flat[0::2], flat[1::2], strict=True))


def _confidence(pieces: Sequence[Item]) -> float:
    """exp of the mean log-probability of the tokens; 1 for no tokens, so an empty label is certain."""
    log_probs = [value for piece in pieces for value in piece.log_probs]
    return math.exp(sum(log_probs) / len(log_probs)) if log_probs else 1.0
