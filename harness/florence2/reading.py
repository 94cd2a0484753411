"""Florence-2's answers: written items to a value, and a target to the text that a model is trained to write.

The form `each` labels every box with the phrase that was queried, whatever label was written; the form `joined` needs a
label that repeats a phrase.  No form consults the target, and all forms parse coordinates in one way.

An answer is readable if it has the form of its kind.  An empty answer is readable: no boxes, no outline, no words.
Words where boxes are expected, or location tokens alone where words are expected, are unreadable (None).

The published checkpoints write the region again behind a region's category or description (`car<loc_52>...`, in the
examples of their release).  Those location tokens are parsed off, and written behind a target.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Polygons, Quads, Question, Size, Text, Value
from harness.errors import UsageError
from harness.florence2.locations import (
    Item,
    plain,
    read_boxes,
    read_groups,
    read_polygons,
    read_quads,
    write_boxes,
    write_quads,
)
from harness.florence2.locations import write_polygons as write_outline
from harness.florence2.prompts import FORMS, region_tokens

REPEATED = ("name", "describe")  # kinds whose answer has the region behind the words

# ---------------------------------------------------------------------------- reading


def read_answer(question: Question, answers: Sequence[Sequence[Item]], size: Size, form: str = "") -> Value | None:
    """What can be read in the answers (one for each prompt) about an image of this size; None: not of the form."""
    asked = FORMS[question.kind][form or next(iter(FORMS[question.kind]))]
    read = [_read_one(question.kind, pieces, size) for pieces in answers]
    if answers and all(value is None for value in read):
        return None
    if question.kind == "ground":
        if asked.over == "each":
            return Grounded(tuple(value.boxes if isinstance(value, Boxes) else () for value in read))
        return Grounded(assign(question.phrases, read_groups(answers[0], size)))
    if asked.over != "each":
        return read[0]
    return _gathered(question.phrases, read)


def assign(phrases: Sequence[Phrase], groups: Sequence[tuple[str, tuple[Box, ...]]]) -> tuple[tuple[Box, ...], ...]:
    """Written labels to the phrases they repeat: the first time a text is written is its first phrase's, and so on.

    Case and spaces do not count.  Where a text is written oftener than it is asked for, the rest are further guesses
    for its last phrase; where less often, the last written serves the phrases that are left.  A label that repeats no
    phrase is nobody's.
    """
    written: dict[str, list[tuple[Box, ...]]] = {}
    for label, boxes in groups:
        written.setdefault(_plainly(label), []).append(boxes)
    wanted: dict[str, list[int]] = {}
    for place, phrase in enumerate(phrases):
        wanted.setdefault(_plainly(phrase.text), []).append(place)
    found: list[tuple[Box, ...]] = [()] * len(phrases)
    for text, places in wanted.items():
        theirs = written.get(text, [])
        for count, place in enumerate(places):
            last = count == len(places) - 1
            mine = theirs[count:] if last and count < len(theirs) else theirs[: count + 1][-1:]
            found[place] = tuple(box for boxes in mine for box in boxes)
    return tuple(found)


def _plainly(text: str) -> str:
    return " ".join(text.lower().split())


def _gathered(phrases: Sequence[Phrase], read: Sequence[Value | None]) -> Boxes:
    """The boxes found for each phrase, as one answer labelled with the phrases."""
    named = [(phrase.text, value) for phrase, value in zip(phrases, read, strict=True) if isinstance(value, Boxes)]
    scored = all(value.region_scores is not None for _, value in named)
    return Boxes(
        tuple(box for _, value in named for box in value.boxes),
        tuple(text for text, value in named for _ in value.boxes),
        tuple(score for _, value in named for score in value.region_scores or ()) if scored else None,
        tuple(score for _, value in named for score in value.label_scores or ()) if scored else None,
    )


def _read_one(kind: Kind, pieces: Sequence[Item], size: Size) -> Value | None:
    nothing = not any(piece.text.strip() for piece in pieces)
    if kind in ("detect", "find", "ground", "refer", "regions", "propose"):
        boxes = read_boxes(pieces, size)
        if kind == "propose":
            boxes = Boxes(boxes.boxes, region_scores=boxes.region_scores)
        return boxes if boxes.boxes or nothing else None
    if kind in ("segment", "outline"):
        outline = read_polygons(pieces, size)
        return outline if outline.rings or nothing else None
    if kind == "ocr_regions":
        quads = read_quads(pieces, size)
        return quads if quads.quads or nothing else None
    words = plain(pieces)
    return Text((words,)) if words or nothing else None


# ---------------------------------------------------------------------------- writing


def write_answer(question: Question, value: Value, size: Size) -> str:
    """The text that a model is trained to write; UsageError if a value has no written form for this kind.

    DataError if a region has to be written and cannot be (see `prompts.region_tokens`).
    """
    if isinstance(value, Text):
        words = value.texts[0]
        return words + region_tokens(question, size) if words and question.kind in REPEATED else words
    if isinstance(value, Boxes):
        return write_boxes(Boxes(value.boxes) if question.kind == "propose" else value, size)
    if isinstance(value, Grounded):
        named = zip(question.phrases, value.boxes, strict=True)
        return "".join(write_boxes(Boxes(boxes, (phrase.text,) * len(boxes)), size) for phrase, boxes in named)
    if isinstance(value, Quads):
        return write_quads(value, size)
    if isinstance(value, Polygons):
        return write_outline(value, size)
    raise UsageError(f"a {type(value).__name__} cannot be written as the answer to a {question.kind!r} question")
