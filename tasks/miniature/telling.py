"""What people say of a scene when asked: captions of three lengths, answers to questions, the words on signs.

Questions are those of VQA's three answer types, and some that cannot be answered, as people who cannot see the picture
put them.  Ten annotators answer, and not all of them well: `noisy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core import Quad
from tasks.miniature.language import Seen, caption, counted, look, plural
from tasks.miniature.lettering import place
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import COLOURS, SEEN

ANNOTATORS = 10
CARELESS = 0.15  # the share of answers that are not quite, or not at all, what is right
NUMBERS = ("no", "one", "two", "three", "four", "five")
UNANSWERABLE = "unanswerable"
SETTINGS = {
    "meadow": "in a meadow",
    "hills": "in front of a hill",
    "sea": "by the sea",
    "night": "at night",
    "paper": "on striped paper",
    "checks": "on checked paper",
    "dusk": "at dusk",
}
Spans = tuple[tuple[int, int, tuple[int, ...]], ...]  # of phrases: where each begins and ends, and its things
AnswerType = Literal["yes/no", "number", "other", "unanswerable"]


@dataclass(frozen=True, slots=True)
class Query:
    """A question, its answer, and VQA's two ways to sort it."""

    question: str
    answer: str
    answer_type: AnswerType
    question_type: str


# ---------------------------------------------------------------------------- captions


def references(rendered: Rendered, draw: Draw) -> list[str]:
    """Five captions by five people: three name everything, one the two largest things, one the place as well."""
    things = look(rendered)
    largest = sorted(range(len(things)), key=lambda i: -things[i].area)[:2]
    said = [caption(rendered, draw)[0] for _ in range(3)]
    said.append(caption(rendered, draw, largest)[0])
    said.append(f"{caption(rendered, draw)[0]} {SETTINGS[rendered.scene.background]}")
    return [f"{text[0].upper()}{text[1:]}." if draw.random() < 0.7 else text for text in said]


def spaced(text: str, spans: Spans) -> tuple[str, Spans]:
    """A caption as Flickr30k writes sentences, with its phrases' places in it: commas apart, and a full stop."""
    moved = [
        (start + text.count(",", 0, start), end + text.count(",", 0, start), things) for start, end, things in spans
    ]
    return text.replace(",", " ,") + " .", tuple(moved)


def detailed(rendered: Rendered) -> str:
    """One sentence with every thing's size and where it stands."""
    said = [f"{_described(rendered, i)} {_where(thing)}" for i, thing in _in_order(rendered)]
    listed = ", ".join(said[:-1]) + (" and " if said[1:] else "") + said[-1]
    return f"The picture shows {listed}, {SETTINGS[rendered.scene.background]}."


def more_detailed(rendered: Rendered) -> str:
    """A paragraph: how many there are, a sentence each, and who is beside whom."""
    things = _in_order(rendered)
    count = NUMBERS[len(things)]
    place = SETTINGS[rendered.scene.background]
    said = [f"There {'is' if len(things) == 1 else 'are'} {count} {plural('thing', len(things))} {place}."]
    for number, (i, thing) in enumerate(things):
        other = things[number - 1][1]
        before = f" to the right of the {other.colour} {other.category}" if number else ""
        said.append(f"{_described(rendered, i).capitalize()} is {_where(thing)}{before}.")
    said += [f"The {sign.colour} sign says {sign.word}." for sign in rendered.scene.things if sign.word]
    return " ".join(said)


def _in_order(rendered: Rendered) -> list[tuple[int, Seen]]:
    return sorted(enumerate(look(rendered)), key=lambda pair: pair[1].x)


def _described(rendered: Rendered, i: int) -> str:
    thing = rendered.scene.things[i]
    return f"a {'big' if thing.large else 'small'} {thing.colour} {thing.category}"


def _where(thing: Seen) -> str:
    if thing.x < 0.35:
        return "on the left"
    return "on the right" if thing.x > 0.65 else "in the middle"


# ---------------------------------------------------------------------------- questions


def queries(rendered: Rendered, draw: Draw, categories: Sequence[str] = SEEN) -> list[Query]:
    """Questions with one right answer each, of every type, about what is there and what is not."""
    things = look(rendered)
    names = [thing.category for thing in things]
    alone = [thing for thing in things if names.count(thing.category) == 1]
    absent = [name for name in categories if name not in names]
    there, gone = draw.one_of(names), draw.one_of(absent)
    colour = draw.one_of([name for name in COLOURS if all((name, there) != (t.colour, t.category) for t in things)])
    mine = draw.one_of([thing.colour for thing in things if thing.category == there])
    asked = [
        Query(f"Is there a {there} in the picture?", "yes", "yes/no", "is there a"),
        Query(f"Is there a {gone} in the picture?", "no", "yes/no", "is there a"),
        Query(f"Is there {counted(1, mine, there)}?", "yes", "yes/no", "is there"),
        Query(f"Is there {counted(1, colour, there)}?", "no", "yes/no", "is there"),
        Query(f"How many {plural(there)} are there?", str(names.count(there)), "number", "how many"),
        Query("How many things are there?", str(len(things)), "number", "how many"),
    ]
    for thing in alone:
        asked.append(Query(f"What color is the {thing.category}?", thing.colour, "other", "what color is the"))
    order = sorted(things, key=lambda thing: thing.x)
    if order[1].x - order[0].x > 0.09:
        asked.append(Query("What is on the left?", order[0].category, "other", "what is on the"))
    if order[-1].x - order[-2].x > 0.09:
        asked.append(Query("What is on the right?", order[-1].category, "other", "what is on the"))
    return asked


def hopeless(rendered: Rendered, draw: Draw, categories: Sequence[str] = SEEN) -> Query:
    """A question about something that is not in the picture."""
    names = {thing.category for thing in rendered.scene.things}
    gone = draw.one_of([name for name in categories if name not in names])
    return Query(f"What color is the {gone}?", UNANSWERABLE, "unanswerable", "what color is the")


def reading(rendered: Rendered) -> list[Query]:
    """What the signs say: the only one, or each by its colour."""
    signs = [thing for thing in rendered.scene.things if thing.word]
    if len(signs) == 1:
        return [Query("What does the sign say?", signs[0].word.lower(), "other", "what does the")]
    return [
        Query(f"What does the {sign.colour} sign say?", sign.word.lower(), "other", "what does the") for sign in signs
    ]


def noisy(query: Query, draw: Draw) -> list[str]:
    """Ten people's answers to a question."""
    others = {
        "yes/no": ("yes", "no", "maybe"),
        "number": tuple("12345"),
        "other": (*COLOURS, *SEEN),
        "unanswerable": ("unsuitable", "blue", UNANSWERABLE),
    }[query.answer_type]
    said = []
    for _ in range(ANNOTATORS):
        if draw.random() >= CARELESS:
            said.append(query.answer)
        elif draw.random() < 0.5:
            said.append(draw.one_of((f"{query.answer}.", query.answer.capitalize(), f"the {query.answer}")))
        else:
            said.append(draw.one_of(others))
    return said


# ---------------------------------------------------------------------------- letters


def words(rendered: Rendered) -> list[tuple[str, Quad]]:
    """Every word with its corners, from top to bottom."""
    signs = sorted((thing for thing in rendered.scene.things if thing.word), key=lambda thing: (thing.y, thing.x))
    return [(sign.word, place(sign.word, sign.x, sign.y, sign.half)) for sign in signs]
