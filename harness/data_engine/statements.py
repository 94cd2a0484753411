"""What a text says that facts about an image can confirm: things, how many, their colours and sizes, and where.

Not found: actions, materials, and relations without a direction in the image.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.data_engine.grammar import PLACEHOLDERS, Grammar, number_of
from harness.data_engine.lexicon import NUMBERS, VAGUE, attribute
from harness.data_engine.parsing import Parse
from harness.data_engine.places import Placed, places

AMOUNTS = ("det", "nummod", "amod", "predet", "quantmod", "advmod")  # how a number modifies a noun


@dataclass(frozen=True, slots=True)
class Mention:
    """A noun of a text.

    `number` is how many it says there are (0 for "no dog"), or None; `several` says that it is two or more.
    `indefinite` marks a thing that is newly introduced ("a dog"), not taken up again ("the dog").  `attributes` are its
    colours and sizes.
    """

    noun: str
    sentence: int
    number: int | None
    several: bool
    indefinite: bool
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statements:
    """All that was found in a text.  `nouns` has every noun, also those within compounds.

    `attributes` are (noun, colour or size); the noun is "" where none was found.  `numbers` are those of no noun.
    """

    mentions: tuple[Mention, ...]
    nouns: frozenset[str]
    attributes: tuple[tuple[str, str], ...]
    places: tuple[Placed, ...]
    numbers: tuple[str, ...]


def statements(parsed: Parse) -> Statements:
    """The statements of a text."""
    grammar = Grammar(parsed)
    counted: set[int] = set()
    mentions = tuple(_mention(grammar, at, counted) for at in grammar.things)
    return Statements(
        mentions=mentions,
        nouns=frozenset(map(grammar.name, grammar.nouns)),
        attributes=tuple((grammar.name(thing), attribute(grammar.lower[at])) for at, thing in grammar.said_of.items()),
        places=tuple(places(grammar)),
        numbers=tuple(
            word.text for at, word in enumerate(parsed.words) if at not in counted and _is_number(grammar, at)
        ),
    )


def _is_number(grammar: Grammar, at: int) -> bool:
    word = grammar.lower[at]
    return NUMBERS.get(word, 0) > 1 or (grammar.words[at].pos == "NUM" and word not in PLACEHOLDERS)


def _mention(grammar: Grammar, at: int, counted: set[int]) -> Mention:
    """The mention of a thing; the places of its numbers are added to `counted`."""
    word = grammar.words[at]
    number, indefinite = None, False
    several = word.tag in ("NNS", "NNPS") and grammar.name(at) != grammar.lower[at]  # not of "a sheep"
    for near in _around(grammar, at):
        said, relation = grammar.lower[near], grammar.words[near].relation
        if near in grammar.things and relation not in AMOUNTS:
            continue
        value = number_of(said)
        indefinite |= said in ("a", "an", "another", "one") and relation in ("det", "nummod")
        several |= said in VAGUE
        if value is not None:
            counted.add(near)
            number = value if value == 0 else max(value, number or 0)
    if several and number == 1:  # a few dogs, a group of dogs
        number, indefinite = None, False
    attributes = tuple(grammar.attributes.get(at, ()))
    several |= (number or 0) > 1
    return Mention(grammar.name(at), grammar.sentence[at], number, several, indefinite, attributes)


def _around(grammar: Grammar, at: int) -> list[int]:
    """The words that may say how many: those that depend on a noun, and "pair" with its own in "a pair of dogs"."""
    found = list(grammar.parsed.children[at])
    head = grammar.words[at].head
    if grammar.lower[head] == "without":
        return [head]
    amount = grammar.words[head].head
    says_how_many = grammar.lower[amount] in VAGUE or grammar.lower[amount] in NUMBERS
    if grammar.words[at].relation == "pobj" and grammar.lower[head] == "of" and says_how_many:
        found += [amount, *grammar.parsed.children[amount]]
    return sorted(found)
