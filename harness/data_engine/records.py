"""The types of the data engine: who said what about an image, what was measured of it, and what was decided.

An annotation is one assertion about one image.  It is never changed or deleted.  Filters add measures and verdicts,
and the last verdict on an annotation decides; an annotation without a verdict is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

from harness.core import Boxes, Mask, Polygons, Quads, Size, Text
from harness.store.lines import encoded

OriginKind = Literal["human", "specialist", "model", "llm", "rule"]
AnnotationKind = Literal["text", "region", "phrase", "outline", "written"]
Length = Literal["", "category", "chunk", "brief", "detailed", "more_detailed"]
Status = Literal["kept", "dropped", "merged", "superseded"]

OF_FILE = "file "  # how the fingerprint of what people said in a file begins; its digest follows
VALUES: Mapping[AnnotationKind, tuple[type, ...]] = {
    "text": (Text,),
    "region": (Boxes,),
    "phrase": (Boxes,),
    "outline": (Polygons, Mask),
    "written": (Quads,),
}
"""The kinds of annotations, and the types of their values.  Values carry no scores; `Annotation.score` has them.

- `text`: one text of the image or, if it has a region as parent, of the region.  `length` says which: a category, a
  noun chunk, a brief, detailed or more detailed text.
- `region`: one box, with one label or none (a proposal).
- `phrase`: the boxes of a span of the parent text; every box is labelled with the phrase.
- `outline`: the outline of the parent region.
- `written`: one quadrilateral with the text in it, as optical character recognition gives it.
"""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Who made an annotation.

    `fingerprint` is the model's own (`Model.fingerprint`).  For a language model, it also covers its prompt, schema
    and parameters; for a rule, it is its version.  `round` is 0 for specialists, and counts the rounds of the model
    that is taught.  `licence` is that of the model's weights, or of what people wrote; "" is not established.
    """

    kind: OriginKind
    name: str
    fingerprint: str
    round: int = 0
    licence: str = ""

    @cached_property
    def id(self) -> str:
        """The digest of all fields."""
        return digest(asdict(self))

    @property
    def called(self) -> str:
        """Its name in settings and tables: with ` round N` for a model of a later round."""
        return f"{self.name} round {self.round}" if self.round else self.name


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One assertion about one image.

    `image` is the SHA-256 of the image's file and `origin` the id of an `Origin`.  `parents` are ids of annotations:
    the text that a phrase is of, the region that an outline or a text is of, the boxes that a box was fused from.
    `span` has the first and the last character (exclusive) of a phrase in its text.  `score` is what the origin gave,
    from 0 to 1, or None; scores of different origins are not comparable.

    ValueError if the value does not have the form of its kind.
    """

    image: str
    kind: AnnotationKind
    value: Text | Boxes | Quads | Polygons | Mask
    origin: str
    length: Length = ""
    parents: tuple[str, ...] = ()
    span: tuple[int, int] | None = None
    score: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.value, VALUES[self.kind]):
            raise ValueError(f"a {self.kind} annotation has no {type(self.value).__name__}")
        value = self.value
        scored = isinstance(value, Boxes) and (value.region_scores or value.label_scores or value.xywh)
        if scored or (isinstance(value, Quads) and value.scores):
            raise ValueError("the score of an annotation is not part of its value")
        count = {"text": "texts", "region": "boxes", "written": "quads"}.get(self.kind)
        if count and len(getattr(value, count)) != 1:
            raise ValueError(f"a {self.kind} annotation has one of its {count}")
        if (self.kind == "phrase") != (self.span is not None) or (
            self.kind in ("phrase", "outline") and not self.parents
        ):
            raise ValueError("a phrase has a span and a parent, an outline a parent, and nothing else has a span")

    @cached_property
    def id(self) -> str:
        """The digest of what is asserted, without the score: the same assertion has the same id on every machine."""
        said = _in_floats(encoded(self.value))
        return digest([self.image, self.kind, said, self.origin, self.length, list(self.parents), self.span])


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a stage decided about an annotation.

    `stage` is the stage and its rule, such as "boxes.score".  `measured` and `bound` are the numbers that were
    compared, if there are any.  `by` is the id of the annotation that suppressed, absorbed or replaced this one.
    """

    annotation: str
    status: Status
    stage: str
    measured: float | None = None
    bound: float | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """An image of an engine folder.

    `reference` is its path under the data root, `sha256` that of its file.  `hash` is the 64-bit perceptual hash, or
    None before it is computed.  `stage` is empty for a kept image, else the rule that dropped it, with the reference of
    the image that it repeats in `by`.
    """

    reference: str
    sha256: str
    size: Size
    hash: int | None = None
    source: str = ""
    licence: str = ""
    stage: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An image with all its annotations, what was measured of each, and all verdicts in the order of their making."""

    image: ImageRow
    annotations: tuple[Annotation, ...] = ()
    measures: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # annotation id -> name -> number
    verdicts: tuple[Verdict, ...] = ()

    def status(self) -> dict[str, Verdict]:
        """The verdict that holds, of each annotation that has one: the last."""
        return {verdict.annotation: verdict for verdict in self.verdicts}

    def kept(self, *kinds: AnnotationKind) -> Iterator[Annotation]:
        """The annotations that no verdict dropped, merged or superseded; of all kinds, if none is named."""
        status = self.status()
        for annotation in self.annotations:
            verdict = status.get(annotation.id)
            if (verdict is None or verdict.status == "kept") and (not kinds or annotation.kind in kinds):
                yield annotation

    def extended(
        self,
        annotations: Sequence[Annotation] = (),
        measures: Mapping[str, Mapping[str, float]] | None = None,
        verdicts: Sequence[Verdict] = (),
    ) -> Record:
        """The record with more annotations, measures and verdicts; an annotation that is there is not added again."""
        known = {annotation.id for annotation in self.annotations}
        new = tuple({each.id: each for each in annotations if each.id not in known}.values())
        measured = {key: dict(numbers) for key, numbers in self.measures.items()}
        for key, numbers in (measures or {}).items():
            measured.setdefault(key, {}).update(numbers)
        return replace(
            self,
            annotations=self.annotations + new,
            measures=measured,
            verdicts=self.verdicts + tuple(verdicts),
        )


class Stage(Protocol):
    """A step from record to record.  It is a frozen dataclass whose fields are its settings.

    It raises nothing for what an annotation says: it adds a verdict.  It changes no annotation and removes none.
    `version` is raised when its verdicts change for the same settings.
    """

    @property
    def name(self) -> str:
        """Its name in verdicts, such as "boxes"."""
        ...

    @property
    def version(self) -> int:
        """The version of its rule."""
        ...

    def __call__(self, record: Record) -> Record:
        """The record with what the stage measured and decided."""
        ...


def _in_floats(value: Any) -> Any:
    """A value of JSON with each number as a float, so that 3 and 3.0 pixels give the same id."""
    if isinstance(value, dict):
        return {key: _in_floats(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_in_floats(each) for each in value]
    return float(value) if isinstance(value, int) else value


def digest(value: Any) -> str:
    """Twenty-four hexadecimal digits that identify a value of JSON."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
