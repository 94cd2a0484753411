"""What words of a sentence are about, read by hand."""

from __future__ import annotations

import pytest

from harness.data_engine.grammar import Grammar, number_of
from harness.data_engine.parsing import parse


def grammar(text: str) -> Grammar:
    return Grammar(parse([text])[0])


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("The image shows a tennis racket on the left side.", "racket"),  # "tennis" is within a compound
        ("It is a pair of dogs.", "dog"),
        ("One of the cats is near the other one.", "cat"),
        ("", ""),
    ],
)
def test_things_are_nouns_that_name_one(text: str, things: str) -> None:
    found = grammar(text)
    assert " ".join(map(found.name, found.things)) == things


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("A small red ball and a car.", "small ball, red ball"),
        ("The dog is black and the cat is white.", "black dog, white cat"),
        ("A dog, which is black, sees a white cat.", "black dog, white cat"),
        ("A red and white bus.", "red bus, white bus"),
        ("The car is red. It is small.", "red car, small car"),
        ("There is a house that is tall.", "tall house"),
    ],
)
def test_colours_and_sizes_are_of_their_thing(text: str, pairs: str) -> None:
    found = grammar(text)
    assert ", ".join(f"{found.lower[at]} {found.name(thing)}" for at, thing in found.said_of.items()) == pairs


def test_what_is_said_of_a_pronoun_is_not_an_attribute_of_its_word() -> None:
    found = grammar("The fish on the left is red, while the one on the right is blue.")
    assert [found.name(thing) for thing in found.said_of.values()] == ["fish", "fish"]
    assert list(found.attributes.values()) == [["red"]]


def test_sentences_are_numbered() -> None:
    found = grammar("A dog runs. A cat sleeps. It is small.")
    assert found.sentence == [0] * 4 + [1] * 4 + [2] * 4


def test_antecedent_is_the_last_subject_and_none_at_the_start() -> None:
    found = grammar("It stands. A dog sees a cat. It runs.")
    assert found.antecedent(0) is None
    assert found.name(found.antecedent(9)) == "dog"
    assert found.name(found.antecedent(9, [found.lower.index("dog")])) == "cat"


@pytest.mark.parametrize(
    ("word", "number"), [("two", 2), ("12", 12), ("a", 1), ("pair", 2), ("dog", None), ("²", None), ("9" * 30, None)]
)
def test_number_of_a_word(word: str, number: int | None) -> None:
    assert number_of(word) == number
