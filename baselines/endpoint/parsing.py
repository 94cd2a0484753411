"""Reads the text of an endpoint's answer as a value; None where the text does not have the form of its table.

    text        the whole text, without white space around it
    json        objects with `bbox_2d`, four numbers, and perhaps `label`; in a list, in prose or in a code block
    lists       [x1, y1, x2, y2], four numbers in brackets; `<ref>label</ref>` before them is their label
    florence2   Florence-2's location tokens, read by `harness.florence2.reading`

Any text is accepted.  A box that is cut off, or holds anything but four finite numbers, is dropped; the others count.
An empty list (`[]`) says that there is no box.  Boxes may be inverted, and stay as they are written.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from baselines.endpoint.prompts import Ask
from baselines.endpoint.spaces import Space, Watch
from baselines.written_boxes import WrittenBox, from_json, from_lists, says_none
from harness.core import Boxes, Grounded, Question, Size, Text, Value
from harness.florence2 import locations, reading


class Token(NamedTuple):
    """A generated token as its text, or as the bytes of a part of a letter, and its log-probability."""

    text: str
    data: bytes
    log_prob: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one prompt.  `refusal` is "" unless the server says that the model refused or was stopped."""

    text: str
    truncated: bool = False
    refusal: str = ""
    generated: int = 0  # tokens, as the server counts them; 0 where it does not
    tokens: tuple[Token, ...] = ()  # with log-probabilities, where the server gives them
    seconds: float = 0.0
    first: float = 0.0  # seconds until the first text of a stream

    @property
    def raw(self) -> str:
        """The text as stored; a refusal is marked, so that it is not taken for a wrong answer."""
        return f"[refused: {self.refusal}] {self.text}".strip() if self.refusal else self.text


def read(
    question: Question, ask: Ask, replies: Sequence[Reply], space: Space, size: Size, watch: Watch
) -> Value | None:
    """The value of a question's replies, one per prompt, in pixels of an image of this size; None if unparsable.

    With several prompts, the value is None only if no reply could be parsed.  Boxes are added to `watch`.
    """
    if any(reply.refusal for reply in replies):
        return None
    if ask.read == "florence2":
        return reading.read_answer(question, [items(reply) for reply in replies], size)
    if ask.read == "text":
        text = replies[0].text.strip()
        return Text((text,)) if text else None
    values = [_boxes(reply, ask.read, space, size, watch) for reply in replies]
    if all(value is None for value in values):
        return None
    if question.kind == "ground":
        return Grounded(tuple(() if value is None else value.boxes for value in values))
    if ask.over == "each":
        return _labelled([phrase.text for phrase in question.phrases], values)
    [value] = values
    return Boxes(value.boxes, (), value.region_scores) if value is not None and question.kind == "propose" else value


def _labelled(names: Sequence[str], values: Sequence[Boxes | None]) -> Boxes:
    """The boxes of all phrases, each with its phrase as label; with scores if all boxes have them."""
    pairs = [(name, value) for name, value in zip(names, values, strict=True) if value is not None]
    scored = all(value.region_scores is not None for _, value in pairs)
    return Boxes(
        tuple(box for _, value in pairs for box in value.boxes),
        tuple(name for name, value in pairs for _ in value.boxes),
        tuple(score for _, value in pairs for score in value.region_scores or ()) if scored else None,
    )


def _boxes(reply: Reply, form: str, space: Space, size: Size, watch: Watch) -> Boxes | None:
    """The boxes of one reply in pixels; None for a text without boxes that is no empty list either."""
    found = from_json(reply.text) if form == "json" else from_lists(reply.text)
    if not found:
        return Boxes(()) if says_none(reply.text) else None
    for one in found:
        watch.add(one.box, size)
    scores = _scores(found, reply) if reply.tokens else None
    labels = tuple(one.label for one in found)
    return Boxes(tuple(space.to_pixels(one.box, size) for one in found), labels, scores)


def _scores(found: Sequence[WrittenBox], reply: Reply) -> tuple[float, ...] | None:
    """exp of the mean log-probability of the tokens of each box; None if the tokens are not those of the text."""
    if "".join(token.text for token in reply.tokens) != reply.text:
        return None
    starts, place = [], 0
    for token in reply.tokens:
        starts.append(place)
        place += len(token.text)
    scores = []
    for one in found:
        inside = [
            token.log_prob
            for token, start in zip(reply.tokens, starts, strict=True)
            if start < one.end and start + len(token.text) > one.start
        ]
        scores.append(math.exp(min(0.0, sum(inside) / len(inside))))
    return tuple(scores)


def items(reply: Reply) -> list[locations.Item]:
    """A reply as Florence-2's items, with the log-probabilities of their tokens where the server gives them."""
    if not reply.tokens:
        return locations.items(reply.text)
    pieces: list[locations.Item] = []
    words: list[Token] = []
    for token in (*reply.tokens, Token(locations.CONTROLS[1], b"", 0.0)):
        special = _special(token.text)
        if special is None and token.text not in locations.CONTROLS:
            words.append(token)
            continue
        if words:
            text = b"".join(word.data for word in words).decode("utf-8", "replace")
            pieces.append(locations.Item(text, log_probs=tuple(word.log_prob for word in words)))
            words = []
        if special is not None:
            pieces.append(special._replace(log_probs=(token.log_prob,) if special.bin is not None else ()))
    return pieces


def _special(text: str) -> locations.Item | None:
    """The location or markup token that a text is; None for any other text."""
    pieces = locations.items(text)
    return pieces[0] if len(pieces) == 1 and (pieces[0].mark or pieces[0].bin is not None) else None
