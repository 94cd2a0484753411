"""Which text describes a region best: its category, a brief text, or a noun chunk of that text.

The paper gives each region three texts and keeps the one that Florence-1 finds most similar to the region
(arXiv:2311.06242v1, section 4.3).  Two steps do this here: `measure` asks a two-tower model once and stores the measure
`similarity` of each text, and the stage `Choice` decides from these measures.

A region's texts are the text annotations with the region as a parent.  Its own label counts as its category, under the
region's id, if no text is its category.  So after the choice, the text of a region is its kept text, else its label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.core import Answer, Box, Boxes, Embedding, Failure, GivenImage, Model, Question, Text
from harness.data_engine.parsing import identity
from harness.data_engine.phrases import noun_chunks
from harness.data_engine.records import Annotation, Length, Origin, Record, Verdict
from harness.data_engine.texts import text_of
from harness.errors import ResourceError
from harness.geometry.boxes import is_finite

if TYPE_CHECKING:
    from PIL.Image import Image

SIMILARITY = "similarity"
LENGTHS: tuple[Length, ...] = ("category", "brief", "chunk")
Similarity = Callable[["Image", Sequence[str]], Sequence[float]]
"""A crop and its texts to a similarity each; higher is more similar."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The stage that keeps one text of each region; the verdict on the others is "superseded".

    A text replaces the category only if it is more similar by more than `margin`.  Among other texts, the more similar
    is kept, then the longer kind (brief before chunk), then the first by id.  A region that has a text without a
    similarity is left as it is, because what was not measured cannot be compared.
    """

    name: ClassVar[str] = "choice"
    version: ClassVar[int] = 1

    margin: float = 0.0

    def __post_init__(self) -> None:
        """ValueError for a negative margin."""
        if not self.margin >= 0:
            raise ValueError(f"margin is {self.margin}; at least 0")

    def __call__(self, record: Record) -> Record:
        """The record with a verdict on each text that describes its region less well."""
        verdicts = []
        for options in candidates(record).values():
            numbers = {each.id: record.measures.get(each.id, {}).get(SIMILARITY, math.nan) for each in options}
            if len(options) < 2 or any(map(math.isnan, numbers.values())):
                continue
            best = self._best(options, numbers)
            verdicts += [
                Verdict(
                    annotation=each.id, status="superseded", stage=f"{self.name}.{SIMILARITY}",
                    measured=numbers[each.id], bound=numbers[best.id], by=best.id,
                )
                for each in options
                if each is not best and each.kind == "text"
            ]  # fmt: skip
        return record.extended(verdicts=verdicts)

    def _best(self, options: Sequence[Annotation], numbers: Mapping[str, float]) -> Annotation:
        def rank(each: Annotation) -> tuple[float, int, str]:
            return -numbers[each.id], LENGTHS.index(_length(each)), each.id

        best = min(options, key=rank)
        categories = sorted((each for each in options if _length(each) == "category"), key=rank)
        if categories and numbers[best.id] - numbers[categories[0].id] <= self.margin:
            return categories[0]
        return best


@dataclass(frozen=True, kw_only=True)
class Chunks:
    """The stage that adds the noun chunks of each region's brief text as texts of the region (`with_chunks`)."""

    name: ClassVar[str] = "chunks"
    version: ClassVar[int] = 1

    @property
    def makes(self) -> tuple[Origin, ...]:
        """The origins of annotations that the stage adds."""
        return (chunk_origin(),)

    def __call__(self, record: Record) -> Record:
        """The record with the chunks."""
        return with_chunks(record)


def candidates(record: Record) -> dict[str, list[Annotation]]:
    """The kept texts of each kept region that has any, by the region's id; see the module for its label."""
    regions = {region.id: region for region in record.kept("region")}
    found: dict[str, list[Annotation]] = {}
    for text in record.kept("text"):
        if text.length in LENGTHS:
            for region in filter(regions.__contains__, text.parents):
                found.setdefault(region, []).append(text)
    for id_, options in found.items():
        if not any(text.length == "category" for text in options) and label_of(regions[id_]):
            options.insert(0, regions[id_])
    return found


def with_chunks(record: Record) -> Record:
    """The record with the noun chunks of each kept brief text of a region, as texts of the region.

    A chunk has the region and the text as parents, and `chunk_origin` as origin.  One that is the whole text, or the
    region's label, adds nothing and is left out.  ResourceError as `parsing.parse`.
    """
    regions = {region.id: region for region in record.kept("region")}
    briefs = [text for text in record.kept("text") if text.length == "brief" and regions.keys() & set(text.parents)]
    if not briefs:
        return record
    origin = chunk_origin().id
    chunks = []
    for brief, phrases in zip(briefs, noun_chunks([text_of(brief) for brief in briefs]), strict=True):
        for region in (regions[parent] for parent in brief.parents if parent in regions):
            said = {text_of(brief).casefold(), label_of(region).casefold()}
            chunks += [
                Annotation(
                    image=record.image.sha256, kind="text", value=Text((phrase.text,)), origin=origin, length="chunk",
                    parents=(region.id, brief.id),
                )
                for phrase in phrases
                if phrase.text.casefold() not in said
            ]  # fmt: skip
    return record.extended(chunks)


def chunk_origin() -> Origin:
    """Who makes the chunks: a rule, whose fingerprint names the parser.  ResourceError as `parsing.parse`."""
    return Origin(kind="rule", name="noun chunks", fingerprint=f"v1 {identity()}")


def measure(record: Record, image: Image, similarity: Similarity) -> Record:
    """The record with the similarity of every candidate text to its region's crop, of the opened image.

    A region outside the image has no crop, and its texts are not measured.  A text of two regions has the higher
    similarity.  Texts with a similarity are not measured again.
    """
    regions = {region.id: region for region in record.kept("region")}
    found: dict[str, dict[str, float]] = {}
    for id_, options in candidates(record).items():
        crop = cropped(image, _box(regions[id_]))
        if crop is None or all(SIMILARITY in record.measures.get(each.id, {}) for each in options):
            continue
        texts = [text_of(each) if each.kind == "text" else label_of(each) for each in options]
        for each, number in zip(options, similarity(crop, texts), strict=True):
            known = found.setdefault(each.id, {}).get(SIMILARITY, -math.inf)
            found[each.id][SIMILARITY] = max(known, float(number))
    return record.extended(measures=found)


def cropped(image: Image, box: Box) -> Image | None:
    """The pixels that a box touches; None for a box without any inside the image."""
    if not is_finite(box):
        return None
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(image.width, math.ceil(box[2])), min(image.height, math.ceil(box[3]))
    return image.crop((left, top, right, bottom)) if left < right and top < bottom else None


def similarity_of(model: Model) -> Similarity:
    """The similarity of a two-tower model: the largest cosine of a vector of the crop and one of the text.

    The model answers `embed` questions.  ResourceError if it fails on a crop or a text.
    """

    def similarity(crop: Image, texts: Sequence[str]) -> list[float]:
        questions = [Question(GivenImage("a region", lambda: crop), None, "embed")]
        questions += [Question("", None, "embed", text=text) for text in texts]
        answers = dict(model.answer(enumerate(questions)))
        seen, *said = (_vectors(answers[ticket]) for ticket in range(len(questions)))
        return [float((seen.array.astype("f8") @ each.array.astype("f8").T).max()) for each in said]

    return similarity


def _vectors(answer: Answer | Failure) -> Embedding:
    if isinstance(answer, Answer) and isinstance(answer.value, Embedding):
        return answer.value
    reason = answer.reason if isinstance(answer, Failure) else "its answer is no embedding"
    raise ResourceError(f"the model that compares texts with regions failed: {reason}; use one that answers `embed`")


def _length(each: Annotation) -> Length:
    return each.length if each.kind == "text" else "category"


def label_of(region: Annotation) -> str:
    """The label of a region; "" for a proposal."""
    return region.value.labels[0] if isinstance(region.value, Boxes) and region.value.labels else ""


def _box(region: Annotation) -> Box:
    if not isinstance(region.value, Boxes):
        raise ValueError(f"a {region.kind} annotation has no box")
    return region.value.boxes[0]
