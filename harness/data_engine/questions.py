"""What specialists are asked about an image, and the annotations of their answers.

    kind                                    asked about           annotations
    caption, detailed_, more_detailed_      the image             text: brief, detailed, more detailed
    detect, find                            the image             a region with its label for each box
    propose                                 the image             a region without a label for each box
    regions                                 the image             a region, and a brief text of it, for each box
    ocr_regions                             the image             written text for each quadrilateral
    name, describe                          each kept region      text of the region: category, brief
    match, embed                            each text of a region none: a measure, its similarity to the crop
    outline                                 each kept region      its outline
    ground                                  each kept text        a phrase with its boxes for each noun chunk found
    segment                                 each kept phrase      its outline, where the phrase has one box

The kinds are asked in this order, because later ones are about what is kept of earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from harness.core import Boxes, Grounded, Kind, Mask, Match, Phrase, Polygons, Quads, Question, Text, Value
from harness.data_engine.choose import SIMILARITY, candidates, label_of
from harness.data_engine.records import Annotation, AnnotationKind, ImageRow, Length, Record, digest
from harness.data_engine.similarity import COMPARED, has_pixels
from harness.data_engine.tables import Row
from harness.errors import UsageError

LENGTHS: dict[Kind, Length] = {
    "caption": "brief", "detailed_caption": "detailed", "more_detailed_caption": "more_detailed", "name": "category",
    "describe": "brief",
}  # fmt: skip
OF_IMAGES: tuple[Kind, ...] = (
    "caption", "detailed_caption", "more_detailed_caption", "detect", "find", "propose", "regions", "ocr_regions",
)  # fmt: skip
OF_PARENTS: tuple[Kind, ...] = ("name", "describe", *COMPARED, "outline", "ground", "segment")
KINDS = (*OF_IMAGES, *OF_PARENTS)
Chunks = Callable[[Sequence[str]], list[tuple[Phrase, ...]]]  # the noun chunks of each text, with their spans


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about an image, and the annotations that it is about.

    `key` identifies the question, the bytes of the image and who is asked.
    """

    key: str
    image: ImageRow
    question: Question
    parents: tuple[str, ...] = ()


def refuse_unknown(kind: str) -> None:
    """UsageError, with the kinds that there are, for a kind that an engine does not ask."""
    if kind not in KINDS:
        known = "an engine has no use for its answers" if kind in get_args(Kind) else "there is no such kind"
        raise UsageError(f"specialist {kind}: {known}; kinds are {', '.join(KINDS)}")


def questions(
    kind: Kind, record: Record, origin: str, categories: Sequence[str] = (), chunks: Chunks | None = None
) -> Iterator[Asked]:
    """The questions of a kind about a record, after its verdicts; the origin is that of who is asked.

    `categories` are the phrases of `detect` and `find`.  ValueError for `ground` without `chunks`.
    """
    image = record.image

    def asked(question: Question, *parents: str) -> Asked:
        phrases = [[phrase.text, phrase.start, phrase.end] for phrase in question.phrases]
        about = [origin, image.sha256, kind, question.text, phrases, question.region, list(parents)]
        return Asked(digest(about), image, question, parents)

    if kind in OF_IMAGES:
        phrases = tuple(map(Phrase, categories)) if kind in ("detect", "find") else ()
        yield asked(Question(image.reference, image.size, kind, phrases=phrases))
    elif kind in ("name", "describe", "outline"):
        for region in record.kept("region"):
            if isinstance(region.value, Boxes):
                yield asked(Question(image.reference, image.size, kind, region=region.value.boxes[0]), region.id)
    elif kind in COMPARED:
        regions = {region.id: region for region in record.kept("region")}
        for id_, texts in candidates(record).items():
            value = regions[id_].value
            if isinstance(value, Boxes) and has_pixels(value.boxes[0], image.size):
                for each in texts:
                    said = each.value.texts[0] if isinstance(each.value, Text) else label_of(each)
                    question = Question(image.reference, image.size, kind, region=value.boxes[0], text=said)
                    yield asked(question, each.id, id_)
    elif kind == "ground":
        if chunks is None:
            raise ValueError("to ground texts, their noun chunks are needed")
        captions = list(_texts_of_image(record))
        for (id_, text), spans in zip(captions, chunks([text for _, text in captions]), strict=True):
            if spans:
                yield asked(Question(image.reference, image.size, kind, text=text, phrases=spans), id_)
    else:
        for phrase in record.kept("phrase"):
            if isinstance(phrase.value, Boxes) and len(phrase.value.boxes) == 1 and phrase.value.labels:
                yield asked(Question(image.reference, image.size, kind, text=phrase.value.labels[0]), phrase.id)


def _texts_of_image(record: Record) -> Iterator[tuple[str, str]]:
    """The id and the text of each kept text of the whole image, and not of a region."""
    regions = {each.id for each in record.annotations if each.kind == "region"}
    for each in record.kept("text"):
        if isinstance(each.value, Text) and not regions.intersection(each.parents):
            yield each.id, each.value.texts[0]


def annotations_of(asked: Asked, value: Value | None, origin: str) -> list[Annotation]:
    """The annotations of an answer's value; none for an answer that could not be parsed, or says nothing.

    Of equal assertions in an answer, the one with the highest score counts.
    """
    best: dict[str, Annotation] = {}
    for each in _annotations(asked, value, origin):
        known = best.get(each.id)
        if known is None or (each.score or 0.0) > (known.score or 0.0):
            best[each.id] = each
    return list(best.values())


def measures_of(asked: Asked, value: Value | None, origin: str) -> list[Row]:
    """The rows of what an answer measures of an annotation; none for an answer that asserts something."""
    if not isinstance(value, Match) or asked.question.kind not in COMPARED:
        return []
    annotation, image = asked.parents[0], asked.image.sha256
    return [
        {"image": image, "annotation": annotation, "origin": origin, "name": SIMILARITY, "value": float(value.score)}
    ]


def _annotations(asked: Asked, value: Value | None, origin: str) -> Iterator[Annotation]:
    kind, parents = asked.question.kind, asked.parents

    def annotation(
        what: AnnotationKind,
        value: Text | Boxes | Quads | Polygons | Mask,
        *,
        length: Length = "",
        parents: tuple[str, ...] = (),
        score: float | None = None,
        span: tuple[int, int] | None = None,
    ) -> Annotation:
        return Annotation(
            image=asked.image.sha256, kind=what, value=value, origin=origin, length=length, parents=parents,
            span=span, score=score,
        )  # fmt: skip

    if isinstance(value, Text) and kind in LENGTHS:
        yield annotation("text", Text((_clean(value.texts[0]),)), length=LENGTHS[kind], parents=parents)
    elif isinstance(value, Boxes) and kind in ("detect", "find", "propose", "regions"):
        labels = [_clean(label) for label in value.labels] or [""] * len(value.boxes)
        for box, label, score in zip(value.boxes, labels, _scores(value), strict=True):
            named = (label,) if kind in ("detect", "find") and label else ()
            left, top, right, bottom = map(float, box)
            region = annotation("region", Boxes(((left, top, right, bottom),), named), score=score)
            yield region
            if kind == "regions" and label:
                yield annotation("text", Text((label,)), length="brief", parents=(region.id,))
    elif isinstance(value, Quads) and kind == "ocr_regions":
        labels = [_clean(label) for label in value.labels] or [""] * len(value.quads)
        scores = value.scores or [None] * len(value.quads)
        for quad, label, score in zip(value.quads, labels, scores, strict=True):
            yield annotation("written", Quads((quad,), (label,)), score=score)
    elif isinstance(value, Polygons | Mask) and kind in ("outline", "segment"):
        if isinstance(value, Mask) or value.rings:
            yield annotation("outline", value, parents=parents)
    elif isinstance(value, Grounded) and kind == "ground":
        for phrase, boxes in zip(asked.question.phrases, value.boxes, strict=True):
            if boxes:
                labels = [phrase.text] * len(boxes)
                yield annotation(
                    "phrase", Boxes(boxes, tuple(labels)), parents=parents, span=(phrase.start, phrase.end)
                )


def _scores(value: Boxes) -> list[float | None]:
    """The score of each box: of its region times of its label, where the model gives both."""
    regions, labels = value.region_scores, value.label_scores
    if regions is not None and labels is not None:
        return [float(region * label) for region, label in zip(regions, labels, strict=True)]
    scores = regions if regions is not None else labels
    return [None] * len(value.boxes) if scores is None else list(map(float, scores))


def _clean(text: str) -> str:
    """A text that a file can hold: lone surrogates are replaced."""
    return text.encode("utf-8", "replace").decode()
