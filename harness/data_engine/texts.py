"""Texts: words, objects, attributes, actions and their complexity, and the filter on them.

The paper extracts objects, attributes and actions with a parser on spaCy (arXiv:2311.06242v1, sections 4.2 and 5.2.2).
The complexity of a word is its degree in the undirected dependency tree.  The paper does not publish its rules on tags,
how complexities are averaged, or a threshold; these are this project's:

    object        a common noun (NN, NNS) that is not the first part of a compound
    proper noun   NNP, NNPS
    attribute     an adjective (JJ, JJR, JJS), or a word that modifies a noun as one (amod, nummod)
    action        a verb that is neither an auxiliary, a form of "be", nor an attribute
    complexity    the mean over the objects, or actions, of a text; 0 for a text without any

The rules run in this order, and the first that a text breaks decides.  Each names itself in the verdict.

    texts.empty               no word
    texts.broken              a control or replacement character, markup, an address, or no letter
    texts.words               fewer or more words than the band of its length
    texts.repeated            too many of its trigrams repeat an earlier one
    texts.unfinished          a detailed text that does not end as a sentence does
    texts.objects             too many objects
    texts.object_complexity   below the minimum      } of brief texts of the whole image
    texts.action_complexity   below the minimum      }

Texts of people are measured and never dropped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

from harness.core import Text
from harness.data_engine.parsing import BATCH, Parse, Word, parse
from harness.data_engine.records import Annotation, Length, Origin, Record, Verdict

WORD = re.compile(r"\w+(?:[-'’]\w+)*")
NOT_PROSE = re.compile(r"<[^<>\s][^<>]*>|https?://|www\.|\{\{|\}\}|```")
FINISHED = re.compile(r"[.!?…][\"'”’)\]]*$")
BANDS: Mapping[Length, tuple[int, int]] = {
    "": (2, 250), "category": (1, 6), "chunk": (1, 12), "brief": (2, 30), "detailed": (10, 100),
    "more_detailed": (20, 250),
}  # fmt: skip
"""Words of a text of each length.  The paper's means are 7.95, 31.65 and 70.53 tokens (table 2)."""


class Elements(NamedTuple):
    """The places of a text's semantic elements in its parse."""

    objects: tuple[int, ...]
    proper_nouns: tuple[int, ...]
    attributes: tuple[int, ...]
    actions: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The stage of texts; see the module for its rules.

    `bands` has the fewest and the most words by length; a length that it lacks has that of BANDS.  `repeated` is the
    largest share of trigrams that repeat an earlier one.  `brief_objects` and `objects` are the most objects of a brief
    and of any other text.  `pinned` are the ids of origins that are people, after `for_origins`.
    """

    name: ClassVar[str] = "texts"
    version: ClassVar[int] = 1

    bands: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    repeated: float = 0.3
    brief_objects: int = 12
    objects: int = 40
    object_complexity: float = 1.0
    action_complexity: float = 0.0
    pinned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for an unknown length, a band that no text is in, and a share that is not from 0 to 1."""
        for length, (least, most) in self.bands.items():
            if length not in BANDS or not 0 <= least <= most:
                raise ValueError(
                    f"bands has {length}: {least} to {most} words; lengths: {', '.join(filter(None, BANDS))}"
                )
        if not 0 <= self.repeated <= 1:
            raise ValueError(f"repeated is {self.repeated}; it is from 0 to 1")

    def for_origins(self, origins: Mapping[str, Origin]) -> Texts:
        """The stage with the origins of people pinned."""
        return replace(self, pinned=tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "human")))

    def __call__(self, record: Record) -> Record:
        """The record with the measures of every kept text, and a verdict on each that breaks a rule."""
        texts = list(record.kept("text"))
        parses = parse([text_of(each) for each in texts])
        measures = {each.id: measured(parsed) for each, parsed in zip(texts, parses, strict=True)}
        verdicts = []
        for each in texts:
            broken = next(self._broken(each, measures[each.id]), None)
            if broken is not None and each.origin not in self.pinned:
                verdicts.append(broken)
        return record.extended(measures=measures, verdicts=verdicts)

    def _broken(self, each: Annotation, numbers: Mapping[str, float]) -> Iterator[Verdict]:
        """A verdict for each rule that a text breaks, in their order."""

        def verdict(rule: str, number: float | None = None, bound: float | None = None) -> Verdict:
            return Verdict(
                annotation=each.id, status="dropped", stage=f"{self.name}.{rule}", measured=number, bound=bound
            )

        text, words = text_of(each), numbers["words"]
        least, most = self.bands.get(each.length, BANDS[each.length])
        if not text.strip():
            yield verdict("empty", 0, 1)
        if is_broken(text):
            yield verdict("broken")
        if not least <= words <= most:
            yield verdict("words", words, least if words < least else most)
        if numbers["repeated"] > self.repeated:
            yield verdict("repeated", numbers["repeated"], self.repeated)
        if each.length in ("detailed", "more_detailed") and not FINISHED.search(text.strip()):
            yield verdict("unfinished")
        bound = self.brief_objects if each.length == "brief" else self.objects
        if numbers["objects"] > bound:
            yield verdict("objects", numbers["objects"], bound)
        if each.length == "brief" and not each.parents:
            for rule in ("object_complexity", "action_complexity"):
                if numbers[rule] < getattr(self, rule):
                    yield verdict(rule, numbers[rule], getattr(self, rule))


def parsed_ahead(records: Iterable[Record], texts: int = BATCH) -> Iterator[Record]:
    """The same records, whose kept texts are parsed in batches of about `texts` before the first of them is needed.

    spaCy is more than twice as fast on a batch as on the few texts of one image.
    """
    waiting: list[Record] = []
    said: list[str] = []
    for record in records:
        waiting.append(record)
        said += map(text_of, record.kept("text"))
        if len(said) >= texts:
            parse(said)
            yield from waiting
            waiting, said = [], []
    parse(said)
    yield from waiting


def text_of(annotation: Annotation) -> str:
    """The text of a text annotation; ValueError for another kind."""
    if not isinstance(annotation.value, Text):
        raise ValueError(f"a {annotation.kind} annotation has no text")
    return annotation.value.texts[0]


def elements(parsed: Parse) -> Elements:
    """The objects, proper nouns, attributes and actions of a text, by the module's rules."""
    words = list(enumerate(parsed.words))
    objects = [at for at, word in words if word.tag in ("NN", "NNS") and word.relation != "compound"]
    attributes = [at for at, word in words if word.tag.startswith("JJ") or word.relation in ("amod", "nummod")]
    return Elements(
        objects=tuple(at for at in objects if at not in attributes),
        proper_nouns=tuple(at for at, word in words if word.tag in ("NNP", "NNPS")),
        attributes=tuple(attributes),
        actions=tuple(at for at, word in words if is_action(word) and at not in attributes),
    )


def is_action(word: Word) -> bool:
    """Whether a word is a verb other than "be", which spaCy also tags as a verb ("there are trees")."""
    return word.pos == "VERB" and word.lemma != "be"


def measured(parsed: Parse) -> dict[str, float]:
    """The measures of a text: counts, mean complexities, and the share of repeated trigrams."""
    found = elements(parsed)
    return {
        "words": float(len(WORD.findall(parsed.text))),
        "objects": float(len(found.objects)),
        "attributes": float(len(found.attributes)),
        "actions": float(len(found.actions)),
        "proper_nouns": float(len(found.proper_nouns)),
        "object_complexity": complexity(parsed, found.objects),
        "action_complexity": complexity(parsed, found.actions),
        "repeated": repetition(parsed.text),
    }


def complexity(parsed: Parse, places: Sequence[int]) -> float:
    """The mean degree of these words in the undirected dependency tree; 0 for none."""
    return sum(map(parsed.degree, places)) / len(places) if places else 0.0


def repetition(text: str) -> float:
    """The share of a text's trigrams of words that occurred before in it, from 0 to 1; 0 below three words."""
    words = WORD.findall(text.casefold())
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def is_broken(text: str) -> bool:
    """Whether a text has control or replacement characters (not white space), markup or an address, or no letter."""
    odd = any(
        letter == "\ufffd" or unicodedata.category(letter) in ("Cc", "Cs", "Co", "Cn")
        for letter in text
        if not letter.isspace()
    )
    return odd or bool(NOT_PROSE.search(text)) or not any(map(str.isalpha, text))
