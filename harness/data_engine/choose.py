"""Which text describes a region best: its category, a brief text, or a noun chunk of that text.

The paper gives each region three texts and keeps the one that Florence-1 finds most similar to the region
(arXiv:2311.06242v1, section 4.3).  Two steps do this here: a specialist of the kind `match` or `embed` gives each text
its similarity to the region's crop, which the engine folder keeps, and the stage `Choice` decides from these numbers.

A region's texts are the text annotations with the region as a parent, or with one that was merged into it.  Its own
label counts as its category, under the region's id, if no text is its category.  So after the choice, the text of a
region is its kept text, else its label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from harness.core import Boxes, Text
from harness.data_engine.parsing import identity
from harness.data_engine.phrases import noun_chunks
from harness.data_engine.records import Annotation, Length, Origin, Record, Verdict
from harness.data_engine.texts import text_of

SIMILARITY = "similarity"
LENGTHS: tuple[Length, ...] = ("category", "brief", "chunk")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The stage that keeps one text of each region; the verdict on the others is "superseded".

    A text replaces the category only if it is more similar by more than `margin`.  Among other texts, the more similar
    is kept, then the longer kind (brief before chunk), then the first by id.  What was not measured cannot be compared:
    a region that has a text without a similarity keeps its texts, except for chunks, which repeat its brief text.
    """

    name: ClassVar[str] = "choice"
    version: ClassVar[int] = 2

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
            if any(map(math.isnan, numbers.values())):
                verdicts += [
                    Verdict(annotation=each.id, status="dropped", stage=f"{self.name}.unmeasured")
                    for each in options
                    if _length(each) == "chunk"
                ]
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
    regions = regions_of(record)
    found: dict[str, list[Annotation]] = {}
    for text in record.kept("text"):
        if text.length in LENGTHS:
            for region in dict.fromkeys(regions[parent].id for parent in text.parents if parent in regions):
                found.setdefault(region, []).append(text)
    for id_, options in found.items():
        if not any(text.length == "category" for text in options) and label_of(regions[id_]):
            options.insert(0, regions[id_])
    return found


def regions_of(record: Record) -> dict[str, Annotation]:
    """The kept regions, each by its own id and by those of the regions that were merged into it."""
    found = {region.id: region for region in record.kept("region")}
    merged = {id_: verdict.by for id_, verdict in record.status().items() if verdict.status == "merged" and verdict.by}
    for first in merged:
        last, seen = first, set[str]()
        while last in merged and last not in seen:
            seen.add(last)
            last = merged[last]
        if last in found:
            found[first] = found[last]
    return found


def with_chunks(record: Record) -> Record:
    """The record with the noun chunks of each kept brief text of a region, as texts of the region.

    A chunk has the region and the text as parents, and `chunk_origin` as origin.  One that is the whole text, or the
    region's label, adds nothing and is left out.  ResourceError as `parsing.parse`.
    """
    regions = regions_of(record)
    briefs = [text for text in record.kept("text") if text.length == "brief" and regions.keys() & set(text.parents)]
    if not briefs:
        return record
    origin = chunk_origin().id
    chunks = []
    for brief, phrases in zip(briefs, noun_chunks([text_of(brief) for brief in briefs]), strict=True):
        for region in {regions[parent].id: regions[parent] for parent in brief.parents if parent in regions}.values():
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


def _length(each: Annotation) -> Length:
    return each.length if each.kind == "text" else "category"


def label_of(region: Annotation) -> str:
    """The label of a region; "" for a proposal."""
    return region.value.labels[0] if isinstance(region.value, Boxes) and region.value.labels else ""
