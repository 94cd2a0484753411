"""Answers and scores as lines of JSON, and back.

A line is an object.  NaN has no JSON form: an undefined score is null, and NaN anywhere else raises ValueError.  The
numbers of an embedding are float16 in base64.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO

import msgspec
from msgspec import Meta

from harness.core import (
    Answer,
    Boxes,
    Embedding,
    Grounded,
    Mask,
    Match,
    Polygons,
    Quads,
    Score,
    Size,
    Text,
    Trail,
    Value,
)

MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)  # raised for a damaged line
MOST = 1 << 53  # the largest number of tokens, seconds or answers
_Count = Annotated[int, Meta(ge=0, le=MOST)]
_number = operator.methodcaller("item")  # a NumPy number as a Python number
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_number)
_VALUES: dict[str, type] = {
    "text": Text,
    "boxes": Boxes,
    "grounded": Grounded,
    "quads": Quads,
    "polygons": Polygons,
    "mask": Mask,
    "embedding": Embedding,
    "match": Match,
}


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored answer.

    `id` is the sample's; `asked` is the digest of the question under which the answer may be reused (see
    `runner.question_digest`).
    """

    id: str
    asked: str
    answer: Answer


class Appender:
    """Appends answers to a file."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream

    def write(self, kept: Kept) -> None:
        """Appends one line and flushes it.  ValueError if a number is NaN or infinite."""
        self.write_all((kept,))

    def write_all(self, answers: Iterable[Kept]) -> None:
        """Appends a line for each and flushes them at the end.  ValueError if a number is NaN or infinite."""
        for kept in answers:
            self.stream.write(_answer_line(kept))
        self.stream.flush()


def _answer_line(kept: Kept) -> bytes:
    """The line of a stored answer; ValueError if a number is NaN or infinite."""
    answer = kept.answer
    record: dict[str, Any] = {
        "id": kept.id,
        "raw": answer.raw,
        "value": encoded(answer.value),
        "tokens": answer.tokens,
        "truncated": answer.truncated,
        "seconds": round(answer.seconds, 6),
        "batch": answer.batch,
        "asked": kept.asked,
    }
    if answer.trail is not None:
        record["trail"] = answer.trail
    if answer.prompts:
        # A question may have half a character, which has no UTF-8.
        record["prompts"] = [text.encode("utf-8", "replace").decode() for text in answer.prompts]
    if answer.log_probs:
        record["log_probs"] = answer.log_probs
    return _line(record)


class _AnswerLine(msgspec.Struct):
    """The form of a stored answer's line."""

    id: str
    raw: tuple[str, ...]
    value: dict[str, Any] | None
    tokens: _Count
    truncated: bool
    seconds: Annotated[float, Meta(ge=0, le=MOST)]
    batch: Annotated[int, Meta(ge=1, le=MOST)]
    asked: str
    trail: Trail | None = None
    prompts: tuple[str, ...] = ()
    log_probs: tuple[tuple[tuple[str, float], ...], ...] = ()


class _Mask(msgspec.Struct):
    size: Size
    counts: str


def parse_answer(line: str) -> Kept:
    """The stored answer of a line; one of `MALFORMED` if the line is damaged, or a field cannot be of an answer."""
    record = msgspec.json.decode(line, type=_AnswerLine)
    value: Value | None = None
    if record.value is not None:
        type_ = _VALUES[record.value.pop("kind")]
        if type_ is Mask:
            mask = msgspec.convert(record.value, _Mask)
            value = Mask(mask.size, mask.counts.encode("ascii"))
        else:
            value = msgspec.convert(record.value, type_)
        _refuse_contradictory(value)
    answer = Answer(
        raw=record.raw,
        value=value,
        tokens=record.tokens,
        truncated=record.truncated,
        seconds=record.seconds,
        batch=record.batch,
        trail=record.trail,
        prompts=record.prompts,
        log_probs=record.log_probs,
    )
    return Kept(record.id, record.asked, answer)


def _refuse_contradictory(value: Any) -> None:
    """ValueError if the parts of a value do not belong together."""
    if isinstance(value, Text) and not value.texts:
        raise ValueError("an answer without its text")
    if isinstance(value, Embedding):
        if value.vectors < 1 or not value.data or len(value.data) % (2 * value.vectors):
            raise ValueError(f"{len(value.data)} bytes are not {value.vectors} vectors of float16 numbers")
        import numpy as np  # here, since most records hold no embedding

        if not np.isfinite(value.array).all():
            raise ValueError("an embedding with a number that is not finite")
    if isinstance(value, Polygons) and not all(value.rings):
        raise ValueError("a ring has no point")
    if isinstance(value, Boxes | Quads):
        count = len(value.boxes) if isinstance(value, Boxes) else len(value.quads)
        parts = (value.region_scores, value.label_scores, value.xywh) if isinstance(value, Boxes) else (value.scores,)
        if any(part is not None and len(part) != count for part in parts) or len(value.labels) not in (0, count):
            raise ValueError(f"{count} regions with another number of labels or scores")


def score_line(name: str, score: Score) -> bytes:
    """The line of a sample's score; an undefined number (NaN) is null.  ValueError if a number is infinite."""
    values = {key: None if math.isnan(value) else value for key, value in score.values.items()}
    return _line({"id": name, "readable": score.readable} | values)


def parse_score(line: str) -> tuple[str, Score]:
    """The sample id and the score of a line, with NaN for null; one of `MALFORMED` if the line is damaged."""
    record = msgspec.json.decode(line, type=dict[str, str | bool | float | None])
    name, readable = msgspec.convert((record.pop("id"), record.pop("readable")), tuple[str, bool])
    values = msgspec.convert(record, dict[str, float | None])
    return name, Score({key: math.nan if value is None else value for key, value in values.items()}, readable)


def encoded(value: Value | None) -> dict[str, Any] | None:
    """A value as data for JSON: its fields that are not None, and its type as `kind`.  None for None."""
    if value is None:
        return None
    for kind, type_ in _VALUES.items():
        if isinstance(value, type_):
            fields = msgspec.to_builtins(value)
            if isinstance(value, Mask):
                fields["counts"] = value.counts.decode("ascii")
            return {"kind": kind, **{name: field for name, field in fields.items() if field is not None}}
    raise TypeError(f"a value of type {type(value).__name__} cannot be an answer")


def _line(record: Mapping[str, Any]) -> bytes:
    """A line of JSON; ValueError for NaN and infinity.

    msgspec writes such numbers as null, so a line with a null is encoded again by the standard library, which raises.
    """
    line = msgspec.json.encode(record, enc_hook=_number)
    return (_ENCODER.encode(record).encode() if b"null" in line else line) + b"\n"
