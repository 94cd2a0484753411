"""Texts about a scene: captions with grounded phrases, and expressions that refer to one thing.

An expression is a noun phrase, possibly with a place, a rank or a relation.  Each of these is a predicate over the
visible boxes and attributes of the things.  An expression is used only for the one thing that satisfies it.  A
comparison is used only where it is clear: by a difference of more than `MARGIN` of the image's side, or by a ratio of
areas above `BIGGER`.

Styles: `refcoco` is short and uses all predicates; `refcoco+` has no places, ranks or relations; `refcocog` has whole
noun phrases with relative clauses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from harness.core import Box
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw

Style = Literal["refcoco", "refcoco+", "refcocog"]
MARGIN = 0.09
BIGGER = 1.35
MOST = 3  # expressions for each thing
FREQUENCIES = ("noun",) * 3 + ("place",) * 3 + ("order", "relation")  # roughly as in RefCOCO


@dataclass(frozen=True, slots=True)
class Appearance:
    """The visible attributes of a thing, and the centre of its visible box as shares of the image's sides."""

    category: str
    colour: str
    large: bool
    x: float
    y: float
    area: float  # of the box in pixels


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase without its article, and the numbers of the things that it fits."""

    text: str
    fits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A text, the kind of its predicate, and the numbers of the things that it fits."""

    text: str
    kind: Literal["noun", "place", "order", "relation"]
    fits: tuple[int, ...]


def appearances(rendered: Rendered) -> list[Appearance]:
    """The appearances of the scene's things, in order."""
    width, height = rendered.scene.size
    result = []
    for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True):
        x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
        result.append(Appearance(thing.category, thing.colour, thing.large, x, y, _area(box)))
    return result


def expressions(rendered: Rendered, style: Style, draw: Draw) -> list[tuple[str, ...]]:
    """For each thing, up to three expressions that fit no other thing; () where there is none."""
    things = appearances(rendered)
    result = []
    for place in range(len(things)):
        options = [e for e in _candidates(things, place, style) if e.fits == (place,)]
        chosen: list[str] = []
        while options and len(chosen) < MOST:
            kind = draw.one_of([kind for kind in FREQUENCIES if any(option.kind == kind for option in options)])
            option = draw.one_of([option for option in options if option.kind == kind])
            chosen.append(option.text)
            options = [other for other in options if other.text != option.text]
        result.append(tuple(chosen))
    return result


def _candidates(things: Sequence[Appearance], target: int, style: Style) -> Iterator[Expression]:
    """All expressions about the thing `target`, also those that fit several things or another one."""
    nouns = list(_nouns(things, target))
    for noun in nouns:
        yield Expression(_sentence(noun.text, "", style), "noun", noun.fits)
    for noun in nouns:
        if len(noun.fits) > 1:
            for word, rank in (("bigger", 1.0), ("smaller", -1.0)):
                best = _extreme(noun.fits, [rank * thing.area for thing in things], ratio=True)
                if best is not None and len(noun.fits) == 2:
                    yield Expression(_sentence(f"{word} {noun.text}", "", style), "noun", (best,))
    if style == "refcoco+":
        return
    for noun in nouns:
        if len(noun.fits) > 1 or noun.text == things[target].category:
            yield from _places(things, noun, style)
        if len(noun.fits) > 2:
            yield from _orders(things, noun, style)
        yield from _relations(things, noun, style)


def _nouns(things: Sequence[Appearance], target: int) -> Iterator[Phrase]:
    """Noun phrases for a thing, from short to full: with its category, colour and size."""
    thing = things[target]
    category, colour, large = thing.category, thing.colour, thing.large
    size = "big" if large else "small"
    tests: list[tuple[str, Callable[[Appearance], bool]]] = [
        (category, lambda t: t.category == category),
        (f"{colour} {category}", lambda t: (t.category, t.colour) == (category, colour)),
        (f"{size} {category}", lambda t: (t.category, t.large) == (category, large)),
        (f"{size} {colour} {category}", lambda t: (t.category, t.large, t.colour) == (category, large, colour)),
        (f"{colour} thing", lambda t: t.colour == colour),
    ]
    for text, test in tests:
        yield Phrase(text, tuple(place for place, other in enumerate(things) if test(other)))


_SIDES: tuple[tuple[str, str, Callable[[Appearance], float]], ...] = (
    ("left", "on the left", lambda t: -t.x),
    ("right", "on the right", lambda t: t.x),
    ("top", "at the top", lambda t: -t.y),
    ("bottom", "at the bottom", lambda t: t.y),
)


def _places(things: Sequence[Appearance], noun: Phrase, style: Style) -> Iterator[Expression]:
    """The leftmost, rightmost, topmost and bottommost of the things that the noun fits."""
    if len(noun.fits) < 2:
        return
    for word, phrase, measure in _SIDES:
        best = _extreme(noun.fits, [measure(thing) for thing in things])
        if best is None:
            continue
        if style == "refcoco":
            yield Expression(f"{word} {noun.text}", "place", (best,))
            yield Expression(f"{noun.text} {phrase}", "place", (best,))
        else:
            yield Expression(_sentence(noun.text, f"{phrase} of the picture", style), "place", (best,))


def _orders(things: Sequence[Appearance], noun: Phrase, style: Style) -> Iterator[Expression]:
    """The inner things of three or four that the noun fits, counted from both sides."""
    line = sorted(noun.fits, key=lambda i: things[i].x)
    gaps = [things[b].x - things[a].x for a, b in pairwise(line)]
    if min(gaps) < MARGIN or len(line) > 4:
        return
    for place, thing in enumerate(line[1:-1], start=1):
        if len(line) == 3:
            yield Expression(_sentence(f"middle {noun.text}", "", style), "order", (thing,))
        word = ("second", "third")[place - 1]
        yield Expression(_sentence(f"{word} {noun.text}", "from the left", style), "order", (thing,))
        word = ("second", "third")[len(line) - 2 - place]
        yield Expression(_sentence(f"{word} {noun.text}", "from the right", style), "order", (thing,))


_RELATIONS: tuple[tuple[str, str, Callable[[Appearance, Appearance], float]], ...] = (
    ("left of", "to the left of", lambda a, b: b.x - a.x),
    ("right of", "to the right of", lambda a, b: a.x - b.x),
    ("above", "above", lambda a, b: b.y - a.y),
    ("below", "below", lambda a, b: a.y - b.y),
)


def _relations(things: Sequence[Appearance], noun: Phrase, style: Style) -> Iterator[Expression]:
    """Relations to a landmark: a thing that has a noun phrase of its own.

    A relation is used only where it clearly holds or clearly fails for each thing that the noun fits.
    """
    for other in range(len(things)):
        if other in noun.fits:
            continue
        landmark = next((p.text for p in _nouns(things, other) if p.fits == (other,)), None)
        if landmark is None:
            continue
        for short, long, measure in _RELATIONS:
            gaps = [measure(things[i], things[other]) for i in noun.fits]
            if any(-MARGIN / 2 < gap < MARGIN for gap in gaps):
                continue
            fits = tuple(i for i, gap in zip(noun.fits, gaps, strict=True) if gap >= MARGIN)
            text = f"{short if style == 'refcoco' else long} the {landmark}"
            yield Expression(_sentence(noun.text, text, style), "relation", fits)


def _extreme(fits: Sequence[int], measures: Sequence[float], ratio: bool = False) -> int | None:
    """The thing with the greatest measure; None where it is not clearly the greatest.

    With `ratio`, measures are compared by their ratio (`BIGGER`), otherwise by their difference (`MARGIN`).
    """
    order = sorted(fits, key=lambda i: measures[i], reverse=True)
    best, second = measures[order[0]], measures[order[1]]
    much_bigger = abs(best) > BIGGER * abs(second) or abs(second) > BIGGER * abs(best)
    clear = much_bigger if ratio else best - second > MARGIN
    return order[0] if clear else None


def _sentence(noun: str, tail: str, style: Style) -> str:
    text = f"{noun} {tail}".strip()
    if style != "refcocog":
        return text
    return f"the {noun} that is {tail}" if tail else f"the {text}"


def caption(
    rendered: Rendered, draw: Draw, among: Sequence[int] | None = None
) -> tuple[str, tuple[tuple[int, int, tuple[int, ...]], ...]]:
    """A sentence that names all things, or those `among`, from left to right; and the span and things of each phrase.

    Things of the same colour and category share a phrase: "a red car, two blue fish and a green house".  The word of a
    sign is in the sentence.
    """
    things = appearances(rendered)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for place in sorted(range(len(things)) if among is None else among, key=lambda i: things[i].x):
        word = rendered.scene.things[place].word
        groups.setdefault((things[place].colour, things[place].category, word), []).append(place)
    text = draw.one_of(("", "there is ", "a picture of "))
    spans: list[tuple[int, int, tuple[int, ...]]] = []
    for number, ((colour, category, word), places) in enumerate(groups.items()):
        if number:
            text += " and " if number == len(groups) - 1 else ", "
        phrase = counted(len(places), colour, category)
        spans.append((len(text), len(text) + len(phrase), tuple(places)))
        text += f"{phrase} that says {word}" if word else phrase
    return text, tuple(spans)


def counted(count: int, colour: str, category: str) -> str:
    """A phrase with a count of 1 to 5: "a red car", "two blue fish"."""
    article = "an" if colour[0] in "aeiou" else "a"
    return f"{('', article, 'two', 'three', 'four', 'five')[count]} {colour} {plural(category, count)}"


def plural(category: str, count: int = 2) -> str:
    """The noun of a category for this count."""
    if count == 1 or category == "fish":
        return category
    return f"{category}es" if category.endswith("x") else f"{category}s"


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
