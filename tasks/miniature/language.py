"""What a scene says: captions with grounded phrases, and expressions that pick out one thing.

An expression is a noun phrase and, perhaps, a place, a rank or a relation, each a predicate over the things'
visible boxes and attributes.  It is said only of the one thing that satisfies it, and a comparison only where it is
clear (`MARGIN` of the picture's side, or `BIGGER` times the area).

Styles: `refcoco` says anything, briefly; `refcoco+` has no word of place, order or relation; `refcocog` makes a
sentence of it.
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
MOST = 3  # expressions a thing
OFTEN = ("noun",) * 3 + ("place",) * 3 + ("order", "relation")  # how people put it, roughly


@dataclass(frozen=True, slots=True)
class Seen:
    """A thing as an onlooker knows it: what it is, and its visible box's centre as shares of the picture."""

    category: str
    colour: str
    large: bool
    x: float
    y: float
    area: float


@dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase without its article, and which things it fits."""

    text: str
    fits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Expression:
    """A text, the kind of words it rests on, and which things it fits."""

    text: str
    kind: Literal["noun", "place", "order", "relation"]
    fits: tuple[int, ...]


def look(rendered: Rendered) -> list[Seen]:
    """The scene's things, in order."""
    width, height = rendered.scene.size
    seen = []
    for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True):
        x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
        seen.append(Seen(thing.category, thing.colour, thing.large, x, y, _area(box)))
    return seen


def expressions(rendered: Rendered, style: Style, draw: Draw) -> list[tuple[str, ...]]:
    """For each thing, up to three expressions that fit it alone; () where there is none."""
    things = look(rendered)
    found = []
    for place in range(len(things)):
        options = [e for e in _candidates(things, place, style) if e.fits == (place,)]
        said: list[str] = []
        while options and len(said) < MOST:
            kind = draw.one_of([kind for kind in OFTEN if any(option.kind == kind for option in options)])
            option = draw.one_of([option for option in options if option.kind == kind])
            said.append(option.text)
            options = [other for other in options if other.text != option.text]
        found.append(tuple(said))
    return found


def _candidates(things: Sequence[Seen], me: int, style: Style) -> Iterator[Expression]:
    nouns = list(_nouns(things, me))
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
        if len(noun.fits) > 1 or noun.text == things[me].category:
            yield from _places(things, noun, style)
        if len(noun.fits) > 2:
            yield from _orders(things, noun, style)
        yield from _relations(things, me, noun, style)


def _nouns(things: Sequence[Seen], me: int) -> Iterator[Phrase]:
    """From bare to full: category, colour, size."""
    mine = things[me]
    size = "big" if mine.large else "small"
    tests: list[tuple[str, Callable[[Seen], bool]]] = [
        (mine.category, lambda t: t.category == mine.category),
        (f"{mine.colour} {mine.category}", lambda t: (t.category, t.colour) == (mine.category, mine.colour)),
        (f"{size} {mine.category}", lambda t: (t.category, t.large) == (mine.category, mine.large)),
        (
            f"{size} {mine.colour} {mine.category}",
            lambda t: (t.category, t.large, t.colour) == (mine.category, mine.large, mine.colour),
        ),
        (f"{mine.colour} thing", lambda t: t.colour == mine.colour),
    ]
    for text, test in tests:
        yield Phrase(text, tuple(place for place, thing in enumerate(things) if test(thing)))


_SIDES: tuple[tuple[str, str, Callable[[Seen], float]], ...] = (
    ("left", "on the left", lambda t: -t.x),
    ("right", "on the right", lambda t: t.x),
    ("top", "at the top", lambda t: -t.y),
    ("bottom", "at the bottom", lambda t: t.y),
)


def _places(things: Sequence[Seen], noun: Phrase, style: Style) -> Iterator[Expression]:
    """The left-most, right-most, top-most or bottom-most of those the noun fits."""
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


def _orders(things: Sequence[Seen], noun: Phrase, style: Style) -> Iterator[Expression]:
    """The middle ones of three or four, counted from either side."""
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


_RELATIONS: tuple[tuple[str, str, Callable[[Seen, Seen], float]], ...] = (
    ("left of", "to the left of", lambda a, b: b.x - a.x),
    ("right of", "to the right of", lambda a, b: a.x - b.x),
    ("above", "above", lambda a, b: b.y - a.y),
    ("below", "below", lambda a, b: a.y - b.y),
)


def _relations(things: Sequence[Seen], me: int, noun: Phrase, style: Style) -> Iterator[Expression]:
    """Beside a landmark that needs no explaining; none of those it fits may stand unclearly."""
    for other in range(len(things)):
        if other in noun.fits:
            continue
        landmark = next((p.text for p in _nouns(things, other) if p.fits == (other,)), None)
        if landmark is None:
            continue
        for short, long, measure in _RELATIONS:
            far = [measure(things[i], things[other]) for i in noun.fits]
            if any(-MARGIN / 2 < gap < MARGIN for gap in far):
                continue
            fits = tuple(i for i, gap in zip(noun.fits, far, strict=True) if gap >= MARGIN)
            text = f"{short if style == 'refcoco' else long} the {landmark}"
            yield Expression(_sentence(noun.text, text, style), "relation", fits)


def _extreme(fits: Sequence[int], measures: Sequence[float], ratio: bool = False) -> int | None:
    """The one with the greatest measure, where it is clearly the greatest."""
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
    """A sentence that names everything (or those `among`) from left to right, and each phrase's span and things.

    Things of one colour and category are named together: "a red car, two blue fish and a house"; a sign says its word.
    """
    things = look(rendered)
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
    """ "a red car", "two blue fish"."""
    article = "an" if colour[0] in "aeiou" else "a"
    return f"{('', article, 'two', 'three', 'four', 'five')[count]} {colour} {plural(category, count)}"


def plural(category: str, count: int = 2) -> str:
    """The word for so many of a category."""
    if count == 1 or category == "fish":
        return category
    return f"{category}es" if category.endswith("x") else f"{category}s"


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
