"""Phrases: the noun chunks of a text as spans, and the filter on grounded phrases.

The rules run in this order, and the first that a phrase breaks decides.  Each names itself in the verdict.

    phrases.span         the span is not of the parent text, or not what the boxes are labelled with
    phrases.blacklist    on Florence-2's published list (BLACKLIST)
    phrases.not_a_thing  on this project's list (NOT_THINGS)
    phrases.score        below the threshold of its origin
    phrases.box_score    a box below the threshold of its origin, if the origin gives boxes a score of their own
    phrases.empty        no box
    phrases.form         a box without area
    phrases.whole        a box covers nearly the whole image, and the phrase names no scenery
    phrases.many         more boxes than one phrase has

The paper has thresholds on phrases and boxes and a blacklist of pronouns and abstract concepts (arXiv:2311.06242v1,
section 4.3), and publishes none of them.  Phrases of people are never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from harness.core import Boxes, Phrase
from harness.data_engine.parsing import Parse, parse
from harness.data_engine.records import Annotation, Origin, Record, Verdict
from harness.data_engine.texts import text_of
from harness.geometry.boxes import area

BLACKLIST = frozenset((
    "it", "I", "me", "mine", "you", "your", "yours", "he", "him", "his", "she", "her", "hers", "they", "them", "their",
    "theirs", "one", "oneself", "we", "us", "our", "ours", "its", "myself", "yourself", "himself", "herself", "itself",
    "ourselves", "yourselves", "themselves", "this", "that", "these", "those", "who", "whom", "whose", "which", "what",
    "all", "another", "any", "anybody", "anyone", "anything", "each", "everybody", "everyone", "everything", "few",
    "many", "nobody", "none", "several", "some", "somebody", "someone", "something", "each other", "one another",
    "the image", "image", "images", "the", "a", "an", "a group", "other objects", "lots", "a set",
))  # fmt: skip
"""The phrases that Florence-2's published processor removes from grounded captions.

Source: `processing_florence2.py` of microsoft/Florence-2-large, whose list of 100 repeats 28; the same in the converter
of transformers.  The processor compares letter by letter; the stage ignores case, since "It" begins a sentence.
"""

_PLACE = "a place in the image, whose box is not that of a thing"
_PICTURE = "the image itself"
_AMOUNT = 'an amount; the thing follows it ("a variety of fruit")'
_ABSTRACT = "no visible thing"
NOT_THINGS: Mapping[str, str] = {
    **dict.fromkeys((
        "left", "right", "top", "bottom", "middle", "center", "centre", "front", "back", "side", "left side",
        "right side", "top left", "top right", "bottom left", "bottom right", "upper left", "upper right", "lower left",
        "lower right", "corner", "edge", "background", "foreground", "distance", "surroundings", "surrounding area",
        "rest", "end", "other side", "opposite side", "sides", "area",
    ), _PLACE),
    **dict.fromkeys((
        "picture", "photo", "photograph", "photography", "scene", "view", "close-up", "close up", "closeup", "shot",
        "snapshot", "illustration", "composition", "frame", "depiction", "angle", "camera angle",
    ), _PICTURE),
    **dict.fromkeys((
        "variety", "lot", "couple", "number", "pair", "bunch", "collection", "series", "row", "rows", "line", "piece",
        "pieces", "part", "parts", "type", "kind", "sort", "group", "groups", "set", "half",
    ), _AMOUNT),
    **dict.fromkeys((
        "time", "day", "night", "evening", "morning", "love", "way", "attention", "focus", "atmosphere", "mood",
        "overall mood", "ambiance", "sense", "feeling", "color", "colors", "colour", "colours", "size", "shape",
        "design", "style", "direction", "position", "motion", "action", "addition", "presence", "appearance", "use",
        "beauty", "fun", "air", "place", "things", "thing", "objects", "items", "details", "other", "others", "both",
        "two", "three", "there", "here",
    ), _ABSTRACT),
}  # fmt: skip
"""Phrases, without their determiner, that this project removes besides the published list, each with its reason."""

SCENERY = frozenset((
    "sky", "sea", "ocean", "water", "river", "lake", "beach", "sand", "snow", "field", "grass", "meadow", "lawn",
    "park", "garden", "forest", "wood", "woods", "desert", "mountain", "mountains", "hill", "hills", "landscape",
    "street", "road", "city", "town", "village", "room", "kitchen", "bedroom", "bathroom", "office", "restaurant",
    "store", "shop", "market", "station", "airport", "stadium", "court", "wall", "floor", "ground", "ceiling",
    "building", "house", "crowd", "table", "sunset", "sunrise", "night sky", "clouds", "trees", "map", "poster",
    "painting", "page", "screen",
))  # fmt: skip
"""Words that may fill a whole image."""

_DETERMINER = re.compile(r"^(?:the|an?|this|that|these|those|its|his|her|their|our|my|your|some|any)\s+")


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """The stage of grounded phrases; see the module for its rules.

    `score` and `box_score` are the thresholds of origins that `scores` and `box_scores` do not name.  A phrase's score
    is that of its annotation; the scores of its boxes are the measures `box_score` (the lowest).  A missing score
    passes.  `whole` is a share of the image.  `pinned` are the ids of origins that are people, after `for_origins`.
    """

    name: ClassVar[str] = "phrases"
    version: ClassVar[int] = 1

    score: float = 0.25
    box_score: float = 0.25
    scores: Mapping[str, float] = field(default_factory=dict)
    box_scores: Mapping[str, float] = field(default_factory=dict)
    whole: float = 0.95
    most: int = 20
    pinned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for a threshold or share that is not from 0 to 1."""
        named = {"score": self.score, "box_score": self.box_score, "whole": self.whole}
        for name, value in [*named.items(), *self.scores.items(), *self.box_scores.items()]:
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is from 0 to 1")

    def for_origins(self, origins: Mapping[str, Origin]) -> Phrases:
        """The stage with thresholds by the origins' ids, and with the origins of people pinned."""

        def by_id(named: Mapping[str, float]) -> dict[str, float]:
            return {id_: named[origin.name] for id_, origin in origins.items() if origin.name in named}

        people = tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "human"))
        return replace(self, scores=by_id(self.scores), box_scores=by_id(self.box_scores), pinned=people)

    def __call__(self, record: Record) -> Record:
        """The record with the measures of every kept phrase, and a verdict on each that breaks a rule."""
        texts = {each.id: text_of(each) for each in record.annotations if each.kind == "text"}
        measures: dict[str, dict[str, float]] = {}
        verdicts = []
        for each in record.kept("phrase"):
            share = largest_share(each, record)
            measures[each.id] = {"boxes": float(len(boxes_of(each).boxes)), "largest": share}
            broken = next(self._broken(each, texts, share, record.measures.get(each.id, {})), None)
            if broken is not None and each.origin not in self.pinned:
                verdicts.append(broken)
        return record.extended(measures=measures, verdicts=verdicts)

    def _broken(
        self, each: Annotation, texts: Mapping[str, str], share: float, measured: Mapping[str, float]
    ) -> Iterator[Verdict]:
        """A verdict for each rule that a phrase breaks, in their order."""

        def verdict(rule: str, number: float | None = None, bound: float | None = None) -> Verdict:
            return Verdict(
                annotation=each.id, status="dropped", stage=f"{self.name}.{rule}", measured=number, bound=bound
            )

        value, text = boxes_of(each), texts.get(each.parents[0])
        phrase = spanned(each, text)
        if (
            phrase is None
            or text is None
            or each.span is None
            or any(not same(label, phrase) for label in value.labels)
        ):
            yield verdict("span")
            return
        if is_blacklisted(phrase):
            yield verdict("blacklist")
        if reason_against(phrase):
            yield verdict("not_a_thing")
        bound = self.scores.get(each.origin, self.score)
        if each.score is not None and each.score < bound:
            yield verdict("score", each.score, bound)
        bound = self.box_scores.get(each.origin, self.box_score)
        if "box_score" in measured and measured["box_score"] < bound:
            yield verdict("box_score", measured["box_score"], bound)
        if not value.boxes:
            yield verdict("empty", 0, 1)
        if not all(area(box) > 0 for box in value.boxes):
            yield verdict("form")
        if share > self.whole and not names_scenery(text, each.span):
            yield verdict("whole", share, self.whole)
        if len(value.boxes) > self.most:
            yield verdict("many", len(value.boxes), self.most)


def noun_chunks(texts: Sequence[str]) -> list[tuple[Phrase, ...]]:
    """The noun chunks of each text that may name a thing, as phrases with their spans, for a question of kind `ground`.

    Chunks on either list are left out.  ResourceError as `parsing.parse`.
    """
    return [tuple(_chunks(parsed)) for parsed in parse(texts)]


def _chunks(parsed: Parse) -> Iterator[Phrase]:
    for chunk in parsed.chunks:
        start, end = parsed.span(chunk)
        phrase = parsed.text[start:end]
        if phrase.strip() and not is_blacklisted(phrase) and not reason_against(phrase):
            yield Phrase(phrase, start, end)


def same(one: str, other: str) -> bool:
    """Whether two phrases differ in case and white space only."""
    return one.casefold().split() == other.casefold().split()


def is_blacklisted(phrase: str) -> bool:
    """Whether a phrase is on Florence-2's published list, in any case."""
    return " ".join(phrase.casefold().split()) in _BLACKLIST


def reason_against(phrase: str) -> str:
    """Why a phrase names no thing with a box, by this project's list; "" if it may name one."""
    return NOT_THINGS.get(_DETERMINER.sub("", " ".join(phrase.casefold().split())), "")


def names_scenery(text: str, span: tuple[int, int]) -> bool:
    """Whether the head of a span of a text is a word of SCENERY."""
    [parsed] = parse([text])
    inside = [at for at, word in enumerate(parsed.words) if word.start >= span[0] and word.end <= span[1]]
    heads = [at for at in inside if parsed.words[at].head not in inside or parsed.words[at].head == at]
    return any(word.casefold() in SCENERY for at in heads for word in (parsed.words[at].text, parsed.words[at].lemma))


def spanned(phrase: Annotation, text: str | None) -> str | None:
    """The part of the parent text that a phrase spans; None without that text, or for a span outside it."""
    if text is None or phrase.span is None:
        return None
    start, end = phrase.span
    return text[start:end] if 0 <= start < end <= len(text) else None


def boxes_of(phrase: Annotation) -> Boxes:
    """The boxes of a phrase; ValueError for another kind of annotation."""
    if not isinstance(phrase.value, Boxes):
        raise ValueError(f"a {phrase.kind} annotation has no boxes")
    return phrase.value


def largest_share(phrase: Annotation, record: Record) -> float:
    """The share of the image that the largest box of a phrase covers; 0 without a box."""
    whole = record.image.size.width * record.image.size.height
    shares = [area(box) / whole for box in boxes_of(phrase).boxes if whole]
    return max(shares, default=0.0)


_BLACKLIST = frozenset(phrase.casefold() for phrase in BLACKLIST)
