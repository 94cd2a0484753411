"""The location tokens of a raw output, each linked to the coordinate that was parsed from it.

The link is found by value: a run of tokens belongs to the next shape whose coordinates are the centres of their bins.
So it holds whatever rules the parser followed, and a model that writes no location tokens has no links.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core import Size
from harness.florence2 import locations
from harness.florence2.locations import Item

LONGEST = 4000  # items of one output that a page shows
Token = tuple[str, float]  # text, log-probability
Piece = tuple[str, int, int]  # text, number of the shape, number of the coordinate in it; -1 for neither


def linked(raw: Sequence[str], shapes: Sequence[dict[str, Any]], size: Size | None) -> list[list[Piece]]:
    """The pieces of each raw output, in order: text, shape and coordinate.

    A label is linked to the shape behind it, with the coordinate -1.  Without the image's size nothing is linked.
    """
    waiting = [place for place, shape in enumerate(shapes) if shape["kind"] != "mask"] if size is not None else []
    return [_pieces(locations.items(text)[:LONGEST], shapes, waiting, size or Size(1, 1)) for text in raw]


def probable(raw: Sequence[Sequence[Piece]], log_probs: Sequence[Sequence[Token]]) -> list[list[list[Token]]]:
    """For each raw output, the tokens of each of its pieces, and then those of its end; [] if they are not kept.

    An output whose tokens do not make up its pieces has [].
    """
    return [_shared(pieces, tokens) for pieces, tokens in zip(raw, log_probs, strict=False)]


def _shared(pieces: Sequence[Piece], tokens: Sequence[Token]) -> list[list[Token]]:
    waiting = [token for token in tokens if token[0] not in locations.CONTROLS]
    place = 0
    shares: list[list[Token]] = []
    for text, _, _ in pieces:
        share: list[Token] = []
        length = 0
        while length < len(text) and place < len(waiting):
            share.append(waiting[place])
            length += len(waiting[place][0])
            place += 1
        if "".join(part for part, _ in share) != text:
            return []
        shares.append(share)
    if len(pieces) < LONGEST and any(part for part, _ in waiting[place:]):
        return []
    return [*shares, [token for token in tokens if token[0] == "</s>"][-1:]]


def _pieces(items: Sequence[Item], shapes: Sequence[dict[str, Any]], waiting: list[int], size: Size) -> list[Piece]:
    """As `linked`, of one output; removes from `waiting` the shapes that were found."""
    pieces: list[Piece] = []
    place = 0
    while place < len(items):
        item = items[place]
        shape = _next(items, place, shapes, waiting, size) if item.bin is not None else None
        if shape is None:
            pieces.append((item.text, -1, -1))
            place += 1
            continue
        waiting.remove(shape)
        if pieces and items[place - 1].bin is None and not items[place - 1].mark:
            pieces[-1] = (pieces[-1][0], shape, -1)
        count = len(shapes[shape]["points"])
        pieces += [(items[place + number].text, shape, number) for number in range(count)]
        place += count
    return pieces


def _next(
    items: Sequence[Item], start: int, shapes: Sequence[dict[str, Any]], waiting: Sequence[int], size: Size
) -> int | None:
    """The first waiting shape whose coordinates are those of the tokens from `start` on; None if there is none."""
    for shape in waiting:
        points = shapes[shape]["points"]
        tokens = items[start : start + len(points)]
        if len(tokens) == len(points) and all(
            token.bin is not None
            and abs(locations.from_bin(token.bin, size[number % 2]) - point) <= size[number % 2] / locations.BINS / 2
            for number, (token, point) in enumerate(zip(tokens, points, strict=True))
        ):
            return shape
    return None
