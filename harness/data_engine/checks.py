"""Whether a rewritten text says only what the facts say.

    language.length      fewer or more words than the band of its length
    language.broken      markup, an address or a control character
    language.uses        an id that no fact has
    language.noun        a thing that no fact names
    language.voice       a text that speaks of itself or to the reader ("I", "please", "you must")
    language.count       more things than the facts have, none where there is one, or a number that is in no fact
    language.attribute   a colour or a size that its thing does not have
    language.place       a side that the boxes deny, or that nothing confirms

Synonyms and broader words of a small table count as named ("person" for a man).  Actions, materials, and relations
without a direction in the image ("behind") are not checked; a grounder, where there is one, looks for every phrase.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from harness.core import Box, Size
from harness.data_engine.facts import Facts, Known, KnownThing
from harness.data_engine.lexicon import GENERIC, names
from harness.data_engine.parsing import parse
from harness.data_engine.places import Placed
from harness.data_engine.records import Length
from harness.data_engine.statements import Mention, Statements, statements
from harness.data_engine.texts import BANDS, WORD, is_broken

MIDDLE = (0.25, 0.75)  # of an image's sides
VOICE = frozenset((
    "i", "i'm", "i've", "i'll", "me", "my", "myself", "you", "your", "yours", "yourself", "please", "sorry", "ai",
    "assistant", "ok", "okay", "hello",
))  # fmt: skip
_VISIBLE_TO_YOU = re.compile(
    r"\b(?:you|we) (?:can|may|could|will)?\s*(?:also )?(?:see|notice|observe)\b", re.IGNORECASE
)
_VISIBLE = 1e-6  # pixels by which centres must differ


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a text is refused: the rule, and what it said, for the model's second try.

    `measured` and `bound` are the numbers that were compared, if there are any.
    """

    rule: str
    said: str
    measured: float | None = None
    bound: float | None = None


def check(text: str, uses: Iterable[str], facts: Facts, length: Length) -> list[Complaint]:
    """Every complaint about a text, in the order of the rules; [] for a text that may be accepted."""
    words, (least, most) = len(WORD.findall(text)), BANDS[length]
    if not least <= words <= most:
        return [
            Complaint(
                "length",
                f"the text has {words} words; {least} to {most} are wanted",
                words,
                least if words < least else most,
            )
        ]
    if is_broken(text):
        return [Complaint("broken", "the text has markup, an address or a control character")]
    found, known = statements(parse([text])[0]), facts.known
    return [
        *(Complaint("uses", f"there is no fact {each!r}") for each in dict.fromkeys(uses) if each not in facts.ids),
        *_voice(text),
        *_nouns(found, known),
        *_counts(found, known),
        *_attributes(found, known),
        *_places(found, known, facts.size),
    ]


def _voice(text: str) -> Iterator[Complaint]:
    """Words that no description has; "you can see" is a way of saying that something is there."""
    words = [word.casefold() for word in WORD.findall(_VISIBLE_TO_YOU.sub(" ", text))]
    for word in dict.fromkeys(words):
        if word in VOICE:
            yield Complaint("voice", f"{word!r} describes nothing in the image")


def _nouns(found: Statements, known: Known) -> Iterator[Complaint]:
    for noun in sorted(found.nouns - GENERIC - known.vocabulary):
        yield Complaint("noun", f"no fact names {noun!r}")


def _counts(found: Statements, known: Known) -> Iterator[Complaint]:
    new: dict[tuple[str, int], list[Mention]] = {}
    for mention in found.mentions:
        most = known.most(mention.noun, mention.attributes)
        if mention.number == 0 and most:
            yield Complaint("count", f"no {mention.noun!r}; the facts have {most}", 0, most)
        if mention.number is not None and mention.number > max(1, most):
            yield Complaint(
                "count", f"{mention.number} of {mention.noun!r}; the facts have {most}", mention.number, most
            )
        elif mention.several and not known.is_several(mention.noun):
            yield Complaint("count", f"several of {mention.noun!r}; the facts have {most}", 2, most)
        if mention.indefinite or (mention.number or 0) > 1:
            new.setdefault((mention.noun, mention.sentence), []).append(mention)
    for (noun, _), mentions in new.items():
        total, most = sum(mention.number or 1 for mention in mentions), known.most(noun)
        if len(mentions) > 1 and total > most:
            yield Complaint("count", f"{total} of {noun!r} in one sentence; the facts have {most}", total, most)
    for number in found.numbers:
        if number.casefold() not in known.vocabulary:
            yield Complaint("count", f"the number {number!r} is in no fact")


def _attributes(found: Statements, known: Known) -> Iterator[Complaint]:
    for noun, each in dict.fromkeys(found.attributes):
        if each not in known.attributes(noun):
            yield Complaint("attribute", f"{each!r} of {noun or 'no thing'!r} is in no fact")


def _places(found: Statements, known: Known, size: Size) -> Iterator[Complaint]:
    said = {place for text in known.texts for place in _claims(text.places)}
    for place in found.places:
        meant = [place, *(replace(place, figure=each, figure_is=()) for each in place.instead)]
        if not any(_holds(each, known, size) or _claims([each]) <= said for each in meant):
            what = place.figure or "no thing"
            yield Complaint("place", f"{place.said!r} of {what!r} does not agree with the boxes")


def _claims(places: Iterable[Placed]) -> set[tuple[str, str, str]]:
    """Each single claim of places: (thing, where, other thing), under all names of the thing."""
    return {(name, where, place.ground) for place in places for where in place.where for name in names(place.figure)}


def _holds(place: Placed, known: Known, size: Size) -> bool:
    """Whether the boxes of some thing agree with a place.

    A part of a thing without a region, such as the middle of a table, is taken as that part of the image.
    """
    things = known.called(place.figure, place.figure_is)
    others = known.called(place.ground, place.ground_is) if place.ground else []
    whole = (0.0, 0.0, float(size.width), float(size.height))
    if not place.ground or place.inside:
        frames = [other.box for other in others] or [whole]
        if any(_is_in(thing, place.where, frame) for frame in frames for thing in things):
            return True
    return any(
        all(_is_beside(thing, where, other) for where in place.where)
        for thing in things
        for other in others
        if thing is not other
    )


def _is_in(thing: KnownThing, where: tuple[str, ...], frame: Box) -> bool:
    """Whether the centre of a thing is in a part of a box."""
    (x, y), (left, top, right, bottom) = _centre(thing), frame
    x, y = (x - left) / max(_VISIBLE, right - left), (y - top) / max(_VISIBLE, bottom - top)
    middle = MIDDLE[0] <= x <= MIDDLE[1] and MIDDLE[0] <= y <= MIDDLE[1]
    holds = {"left": x < 0.5, "right": x > 0.5, "top": y < 0.5, "bottom": y > 0.5, "middle": middle}
    return all(holds.get(each, False) for each in where)


def _is_beside(thing: KnownThing, where: str, other: KnownThing) -> bool:
    (x, y), (other_x, other_y) = _centre(thing), _centre(other)
    return {
        "left": x < other_x - _VISIBLE, "right": x > other_x + _VISIBLE, "above": y < other_y - _VISIBLE,
        "below": y > other_y + _VISIBLE,
    }.get(where, False)  # fmt: skip


def _centre(thing: KnownThing) -> tuple[float, float]:
    left, top, right, bottom = thing.box
    return (left + right) / 2, (top + bottom) / 2
