"""Captions of three lengths, questions with answers, and the words on signs, in the style of human annotators.

Questions have VQA's three answer types; some cannot be answered, like those of people who do not see the image.  Ten
simulated annotators answer each question, and some of their answers are wrong (`noisy`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.core import Quad
from tasks.miniature.language import Appearance, appearances, caption, counted, plural
from tasks.miniature.lettering import place
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import COLOURS, SEEN

ANNOTATORS = 10
CARELESS = 0.15  # share of annotators' answers that are worded differently or wrong
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
Spans = tuple[tuple[int, int, tuple[int, ...]], ...]  # of phrases: start, end, and the numbers of the things
AnswerType = Literal["yes/no", "number", "other", "unanswerable"]


@dataclass(frozen=True, slots=True)
class Query:
    """A question with its answer, and VQA's types of the answer and of the question."""

    question: str
    answer: str
    answer_type: AnswerType
    question_type: str


# ---------------------------------------------------------------------------- captions


def references(rendered: Rendered, draw: Draw) -> list[str]:
    """Five captions: three name all things, one the two largest things, one all things and the place."""
    things = appearances(rendered)
    largest = sorted(range(len(things)), key=lambda i: -things[i].area)[:2]
    captions = [caption(rendered, draw)[0] for _ in range(3)]
    captions.append(caption(rendered, draw, largest)[0])
    captions.append(f"{caption(rendered, draw)[0]} {SETTINGS[rendered.scene.background]}")
    return [f"{text[0].upper()}{text[1:]}." if draw.random() < 0.7 else text for text in captions]


def spaced(text: str, spans: Spans) -> tuple[str, Spans]:
    """A caption in Flickr30k's spelling, with spaces before commas and the full stop, and the spans of its phrases."""
    moved = [
        (start + text.count(",", 0, start), end + text.count(",", 0, start), things) for start, end, things in spans
    ]
    return text.replace(",", " ,") + " .", tuple(moved)


def detailed(rendered: Rendered) -> str:
    """One sentence with the size and position of each thing."""
    parts = [f"{_described(rendered, i)} {_where(thing)}" for i, thing in _in_order(rendered)]
    enumeration = ", ".join(parts[:-1]) + (" and " if parts[1:] else "") + parts[-1]
    return f"The picture shows {enumeration}, {SETTINGS[rendered.scene.background]}."


def more_detailed(rendered: Rendered) -> str:
    """A paragraph: the number of things, a sentence about each with its left neighbour, and the words on signs."""
    things = _in_order(rendered)
    count = NUMBERS[len(things)]
    place = SETTINGS[rendered.scene.background]
    sentences = [f"There {'is' if len(things) == 1 else 'are'} {count} {plural('thing', len(things))} {place}."]
    for number, (i, thing) in enumerate(things):
        other = things[number - 1][1]
        before = f" to the right of the {other.colour} {other.category}" if number else ""
        sentences.append(f"{_described(rendered, i).capitalize()} is {_where(thing)}{before}.")
    sentences += [f"The {sign.colour} sign says {sign.word}." for sign in rendered.scene.things if sign.word]
    return " ".join(sentences)


def _in_order(rendered: Rendered) -> list[tuple[int, Appearance]]:
    """The things with their numbers, from left to right."""
    return sorted(enumerate(appearances(rendered)), key=lambda pair: pair[1].x)


def _described(rendered: Rendered, i: int) -> str:
    thing = rendered.scene.things[i]
    return f"a {'big' if thing.large else 'small'} {thing.colour} {thing.category}"


def _where(thing: Appearance) -> str:
    if thing.x < 0.35:
        return "on the left"
    return "on the right" if thing.x > 0.65 else "in the middle"


# ---------------------------------------------------------------------------- questions


def queries(rendered: Rendered, draw: Draw, categories: Sequence[str] = SEEN) -> list[Query]:
    """Questions of every type with one right answer each, about things that are present and things that are not."""
    things = appearances(rendered)
    names = [thing.category for thing in things]
    unique = [thing for thing in things if names.count(thing.category) == 1]
    missing = [name for name in categories if name not in names]
    present, absent = draw.one_of(names), draw.one_of(missing)
    wrong = draw.one_of([name for name in COLOURS if all((name, present) != (t.colour, t.category) for t in things)])
    right = draw.one_of([thing.colour for thing in things if thing.category == present])
    result = [
        Query(f"Is there a {present} in the picture?", "yes", "yes/no", "is there a"),
        Query(f"Is there a {absent} in the picture?", "no", "yes/no", "is there a"),
        Query(f"Is there {counted(1, right, present)}?", "yes", "yes/no", "is there"),
        Query(f"Is there {counted(1, wrong, present)}?", "no", "yes/no", "is there"),
        Query(f"How many {plural(present)} are there?", str(names.count(present)), "number", "how many"),
        Query("How many things are there?", str(len(things)), "number", "how many"),
    ]
    for thing in unique:
        result.append(Query(f"What color is the {thing.category}?", thing.colour, "other", "what color is the"))
    order = sorted(things, key=lambda thing: thing.x)
    if order[1].x - order[0].x > 0.09:
        result.append(Query("What is on the left?", order[0].category, "other", "what is on the"))
    if order[-1].x - order[-2].x > 0.09:
        result.append(Query("What is on the right?", order[-1].category, "other", "what is on the"))
    return result


def unanswerable(rendered: Rendered, draw: Draw, categories: Sequence[str] = SEEN) -> Query:
    """A question about a thing that is not in the image."""
    names = {thing.category for thing in rendered.scene.things}
    absent = draw.one_of([name for name in categories if name not in names])
    return Query(f"What color is the {absent}?", UNANSWERABLE, "unanswerable", "what color is the")


def reading(rendered: Rendered) -> list[Query]:
    """Questions about the words on the signs; several signs are named by their colours."""
    signs = [thing for thing in rendered.scene.things if thing.word]
    if len(signs) == 1:
        return [Query("What does the sign say?", signs[0].word.lower(), "other", "what does the")]
    return [
        Query(f"What does the {sign.colour} sign say?", sign.word.lower(), "other", "what does the") for sign in signs
    ]


def noisy(query: Query, draw: Draw) -> list[str]:
    """The answers of ten annotators to a question: 15 % of them, on average, are worded differently or wrong."""
    others = {
        "yes/no": ("yes", "no", "maybe"),
        "number": tuple("12345"),
        "other": (*COLOURS, *SEEN),
        "unanswerable": ("unsuitable", "blue", UNANSWERABLE),
    }[query.answer_type]
    answers = []
    for _ in range(ANNOTATORS):
        if draw.random() >= CARELESS:
            answers.append(query.answer)
        elif draw.random() < 0.5:
            answers.append(draw.one_of((f"{query.answer}.", query.answer.capitalize(), f"the {query.answer}")))
        else:
            answers.append(draw.one_of(others))
    return answers


# ---------------------------------------------------------------------------- words on signs


def words(rendered: Rendered) -> list[tuple[str, Quad]]:
    """The words on signs with their corners in pixels, from top to bottom."""
    signs = sorted((thing for thing in rendered.scene.things if thing.word), key=lambda thing: (thing.y, thing.x))
    return [(sign.word, place(sign.word, sign.x, sign.y, sign.half)) for sign in signs]
