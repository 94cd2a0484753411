"""Places in sentences, read by hand."""

from __future__ import annotations

import pytest

from harness.data_engine.grammar import Grammar
from harness.data_engine.parsing import parse
from harness.data_engine.places import Placed, places


def found(text: str) -> list[Placed]:
    return list(places(Grammar(parse([text])[0])))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A car is on the left, and a truck is on the right side of the image.", "car left, truck right"),
        ("In the top right corner of the picture, there is a circle.", "circle top+right"),
        ("On the right is a star.", "star right"),
        ("There are two dogs in the middle.", "dog middle"),
        ("The left side of the image shows a house and a tree.", "house left, tree left"),
        ("The image shows a bus at the left and a tree at the right.", "bus left, tree right"),
        ("A dog and a cat are at the bottom.", "dog bottom, cat bottom"),
        ("To the left of the tree stands a man.", "man left of tree"),
        ("A bird flies over the water.", "bird above of water"),
        ("The dog sits below the table.", "dog below of table"),
        ("A cup is on top of the box.", "cup above of box"),
        ("The car is to the left of the house and above the tree.", "car left of house, car above of tree"),
        ("A woman cooks. The man stands to her right.", "man right of woman"),
        ("The left dog is black.", "dog left"),
        ("The man left the room.", ""),
        ("The game is over.", ""),
        ("A cat is right next to a dog.", ""),
        ("A dog behind a tree near a house.", ""),
        ("", ""),
    ],
)
def test_places_are_of_their_things(text: str, said: str) -> None:
    shown = [
        f"{place.figure} {'+'.join(place.where)}{f' of {place.ground}' if place.ground else ''}"
        for place in found(text)
    ]
    assert ", ".join(shown) == said


def test_colours_of_both_things_and_the_words_are_kept() -> None:
    [place] = found("The black dog sits below the white table.")
    assert (place.figure_is, place.ground_is, place.said) == (("black",), ("white",), "below the white table")


def test_part_of_a_thing_is_told_from_its_side() -> None:
    assert [place.inside for place in found("A dog is on the left side of the street.")] == [True]
    assert [place.inside for place in found("A dog is to the left of the car.")] == [False]
    assert [place.inside for place in found("A cup is in the middle of the table.")] == [True]


def test_subject_of_the_clause_may_be_meant_instead_of_the_noun_before() -> None:
    [place] = found("A train stands at the platform on the left.")
    assert {place.figure, *place.instead} == {"train", "platform"}


def test_place_of_nothing_has_no_figure() -> None:
    [place] = found("On the left.")
    assert (place.figure, place.where) == ("", ("left",))
