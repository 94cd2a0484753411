"""Mentions and numbers of sentences, read by hand."""

from __future__ import annotations

import pytest

from harness.data_engine.parsing import parse
from harness.data_engine.statements import Mention, Statements, statements


def said(text: str) -> Statements:
    return statements(parse([text])[0])


@pytest.mark.parametrize(
    ("text", "noun", "number", "several", "indefinite"),
    [
        ("A dog is black.", "dog", 1, False, True),
        ("The dog is black.", "dog", None, False, False),
        ("Another dog is black.", "dog", 1, False, True),
        ("Two dogs are black.", "dog", 2, True, False),
        ("12 dogs are black.", "dog", 12, True, False),
        ("Dogs are black.", "dog", None, True, False),
        ("Several dogs are black.", "dog", None, True, False),
        ("A pair of dogs is black.", "dog", 2, True, True),
        ("A group of people is here.", "person", None, True, False),
        ("A group of three people is here.", "person", 3, True, True),
        ("A sheep is black.", "sheep", 1, False, True),
        ("Two sheep are black.", "sheep", 2, True, False),
        ("Both dogs are black.", "dog", 2, True, False),
        ("There is no dog.", "dog", 0, False, False),
        ("It is without a dog.", "dog", 0, False, False),
    ],
)
def test_mention_says_how_many(text: str, noun: str, number: int | None, several: bool, indefinite: bool) -> None:
    [mention] = said(text).mentions
    assert (mention.noun, mention.number, mention.several) == (noun, number, several)
    assert mention.indefinite is indefinite


def test_mentions_have_sentence_and_attributes() -> None:
    assert said("There is a red car. The small dog is asleep.").mentions == (
        Mention("car", 0, 1, False, True, ("red",)),
        Mention("dog", 1, None, False, False, ("small",)),
    )


def test_nouns_include_those_of_compounds_and_of_the_image() -> None:
    assert said("The picture shows a tennis player.").nouns == {"picture", "tennis", "player"}


def test_numbers_of_no_noun_are_kept() -> None:
    assert said("A bus in 1995.").numbers == ("1995",)
    assert said("Two dogs and one of the cats.").numbers == ()


def test_empty_text_says_nothing() -> None:
    assert said("") == Statements((), frozenset(), (), (), ())
