"""Plurals, names of one thing, and colours and sizes that may be meant."""

from __future__ import annotations

import pytest

from harness.data_engine.lexicon import attribute, fits, names, singular


@pytest.mark.parametrize(
    ("plural", "word"),
    [
        ("Dogs", "dog"), ("people", "person"), ("women", "woman"), ("benches", "bench"), ("buses", "bus"),
        ("bus", "bus"), ("glasses", "glass"), ("glass", "glass"), ("cherries", "cherry"), ("knives", "knife"),
        ("sheep", "sheep"), ("tomatoes", "tomato"), ("boxes", "box"), ("tennis", "tennis"), ("horses", "horse"),
        ("vases", "vase"), ("gas", "gas"), ("ties", "tie"), ("shoes", "shoe"), ("cactus", "cactus"), ("skies", "sky"),
    ],
)  # fmt: skip
def test_singular_of_a_noun(plural: str, word: str) -> None:
    assert singular(plural) == word


def test_names_are_synonyms_and_broader_words_but_not_narrower_ones() -> None:
    assert {"man", "guy", "person"} <= names("man") and "woman" not in names("man")
    assert "man" not in names("person")  # a person need not be a man
    assert names("couch") >= {"sofa", "furniture"}
    assert names("puppy") >= {"dog", "animal"}
    assert names("zyzzyva") == {"zyzzyva"}


@pytest.mark.parametrize(
    ("word", "said"),
    [("grey", "grey"), ("gray", "grey"), ("Tiny", "small"), ("red-colored", "red"), ("wooden", ""), ("dog", "")],
)
def test_attribute_is_a_colour_or_size(word: str, said: str) -> None:
    assert attribute(word) == said


@pytest.mark.parametrize(
    ("said", "known", "possible"),
    [
        (("red",), ("red", "white"), True),
        (("red",), ("blue",), False),
        (("red",), (), True),
        (("small",), ("red",), True),  # its size is not known
        (("small", "red"), ("large", "red"), False),
        ((), ("red",), True),
    ],
)
def test_fits_compares_colours_with_colours_and_sizes_with_sizes(
    said: tuple[str, ...], known: tuple[str, ...], possible: bool
) -> None:
    assert fits(said, known) is possible
