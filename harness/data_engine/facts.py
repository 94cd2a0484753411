"""What is known of an image before a language model writes about it: regions, written words and a brief text.

Facts are given to the model as data, and its text is checked against them (`checks`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from harness.core import Box, Boxes, Quads, Size
from harness.data_engine.choose import label_of
from harness.data_engine.lexicon import fits, names, singular
from harness.data_engine.parsing import parse
from harness.data_engine.records import Annotation, Record
from harness.data_engine.statements import Statements, statements
from harness.data_engine.texts import WORD, text_of

MOST_REGIONS = 60  # in a request; the largest are taken
MOST_WORDS = 40


@dataclass(frozen=True, slots=True)
class Thing:
    """A region: its id in the request, its label, what is said of it ("" for nothing more), and its box in pixels."""

    id: str
    label: str
    text: str
    box: Box


@dataclass(frozen=True)
class Facts:
    """The facts of one image.  `source` is the brief text, `words` are written in the image."""

    size: Size
    source: str
    things: tuple[Thing, ...]
    words: tuple[str, ...] = ()

    @property
    def ids(self) -> frozenset[str]:
        """The ids that a text may say it used: t for the source, r1, r2, ... for regions, and w1, w2, ... for words."""
        numbered = [f"w{number}" for number in range(1, len(self.words) + 1)]
        return frozenset(["t", *(thing.id for thing in self.things), *numbered])

    def as_data(self) -> dict[str, Any]:
        """The facts as plain data for a request; boxes as whole pixels, and as the part of the image in words."""
        return {
            "image": {"width": self.size.width, "height": self.size.height},
            "text": {"id": "t", "text": self.source},
            "regions": [
                {
                    "id": thing.id, "label": thing.label, **({"text": thing.text} if thing.text else {}),
                    "box": [round(edge) for edge in thing.box], "place": place_of(thing.box, self.size),
                }
                for thing in self.things
            ],
            "written_words": [{"id": f"w{number}", "text": word} for number, word in enumerate(self.words, 1)],
        }  # fmt: skip

    @cached_property
    def known(self) -> Known:
        """The facts as the checks look them up."""
        said = parse([self.source, *(f"{thing.text or thing.label}" for thing in self.things)])
        source, *of_things = map(statements, said)
        return Known(
            things=tuple(
                KnownThing(
                    names(_head(thing.label)) | names(_head(thing.text)), frozenset(_of(found, thing)), thing.box
                )
                for thing, found in zip(self.things, of_things, strict=True)
            ),
            texts=(source, *of_things),
            vocabulary=frozenset(
                name
                for text in (self.source, *(f"{thing.label} {thing.text}" for thing in self.things), *self.words)
                for word in WORD.findall(text)
                for name in {*names(singular(word)), word.casefold()}
            ),
        )


@dataclass(frozen=True, slots=True)
class KnownThing:
    """A region for the checks: all that it may be called, its colours and sizes, and its box in pixels."""

    names: frozenset[str]
    attributes: frozenset[str]
    box: Box


@dataclass(frozen=True)
class Known:
    """Facts for the checks.  `vocabulary` has every word of every fact, with synonyms; `texts` what the texts state."""

    things: tuple[KnownThing, ...]
    texts: tuple[Statements, ...]
    vocabulary: frozenset[str]

    def called(self, noun: str, attributes: Iterable[str] = ()) -> list[KnownThing]:
        """The regions that a noun with these colours and sizes may mean."""
        return [thing for thing in self.things if noun in thing.names and fits(attributes, thing.attributes)]

    def attributes(self, noun: str) -> frozenset[str]:
        """The colours and sizes of anything that a noun may mean; of everything for the noun ""."""
        of_things = (each for thing in self.things if noun in thing.names or not noun for each in thing.attributes)
        said = (each for text in self.texts for owner, each in text.attributes if not noun or noun in names(owner))
        return frozenset((*of_things, *said))

    def most(self, noun: str, attributes: Iterable[str] = ()) -> int:
        """How many things there may be of a noun with these colours and sizes: by the regions, or as a text says."""
        asked = tuple(attributes)
        of_things = len(self.called(noun, asked))
        said = [
            mention.number or (2 if mention.several else 1)
            for text in self.texts
            for mention in text.mentions
            if noun in names(mention.noun) and fits(asked, mention.attributes)
        ]
        return max([of_things, *said])

    def is_several(self, noun: str) -> bool:
        """Whether there may be more than one thing of a noun."""
        return self.most(noun) > 1


def facts_of(record: Record) -> tuple[Facts, Annotation] | None:
    """The facts of a record and the brief text that is among them; None without such a text or without a region.

    The text is the first kept brief one of the image.  A region without a label or a text is no fact.
    """
    regions = {each.id: each for each in record.kept("region")}
    texts = list(record.kept("text"))
    every = {each.id for each in record.annotations if each.kind == "region"}
    briefs = [each for each in texts if each.length == "brief" and not every & set(each.parents)]
    said = {parent: text_of(each) for each in texts for parent in each.parents if parent in regions}
    named = [each for each in regions.values() if label_of(each) or each.id in said]
    if not briefs or not named:
        return None
    largest = sorted(named, key=lambda each: (-_area(each), each.id))[:MOST_REGIONS]
    things = tuple(
        Thing(f"r{number}", label_of(each) or said[each.id], said.get(each.id, ""), _box(each))
        for number, each in enumerate(sorted(largest, key=lambda each: (_box(each)[0], each.id)), 1)
    )
    written = [
        each.value.labels[0] for each in record.kept("written") if isinstance(each.value, Quads) and each.value.labels
    ]
    return Facts(record.image.size, text_of(briefs[0]), things, tuple(written[:MOST_WORDS])), briefs[0]


def place_of(box: Box, size: Size) -> str:
    """The part of the image that the centre of a box is in, of nine: "top left", "left", "middle", ..."""
    x, y = (box[0] + box[2]) / 2 / size.width, (box[1] + box[3]) / 2 / size.height
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    return f"{row} {column}".strip() or "middle"


def _head(label: str) -> str:
    """The singular of the noun that a label names a thing by: its last word before any preposition."""
    [parsed] = parse([label])
    chunk = next(iter(parsed.chunks), None)
    if chunk is not None:
        return singular(parsed.words[chunk.root].text)
    words = WORD.findall(label)
    return singular(words[-1]) if words else ""


def _of(found: Statements, thing: Thing) -> list[str]:
    """The colours and sizes that the text of a region says of the region itself."""
    called = names(_head(thing.label)) | names(_head(thing.text))
    return [each for owner, each in found.attributes if not owner or called & names(owner)]


def _area(region: Annotation) -> float:
    left, top, right, bottom = _box(region)
    return (right - left) * (bottom - top)


def _box(region: Annotation) -> Box:
    if not isinstance(region.value, Boxes):
        raise ValueError(f"a {region.kind} annotation has no box")
    return region.value.boxes[0]
