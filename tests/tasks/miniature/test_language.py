"""Expressions and captions: each fits the things that it should, by a plain check of the scene."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import Source
from tasks import TASKS
from tasks.miniature.language import Appearance, Style, appearances, caption, counted, expressions, plural
from tasks.miniature.render import rendered_scene
from tasks.miniature.scene import Draw

LOCATION_WORDS = {
    "left", "right", "top", "bottom", "upper", "lower", "above", "below", "middle", "center", "leftmost", "rightmost",
    "front", "behind", "corner", "side", "up", "down", "highest", "lowest",
}  # fmt: skip
STYLES: tuple[Style, ...] = ("refcoco", "refcoco+", "refcocog")


def test_expression_refers_to_one_object_of_its_image(miniature: Path) -> None:
    for task in ("refcoco", "refcoco_plus", "refcocog"):
        boxes: dict[tuple[str, str], set[object]] = {}
        for split in TASKS[task].splits:
            for sample in TASKS[task].load(Source(miniature, split)):
                boxes.setdefault((sample.question.image, sample.question.text), set()).add(sample.target.boxes)
        assert all(len(different) == 1 for different in boxes.values())


def test_refcoco_plus_has_no_location_words(miniature: Path) -> None:
    words = {
        word
        for split in TASKS["refcoco_plus"].splits
        for sample in TASKS["refcoco_plus"].load(Source(miniature, split))
        for word in sample.question.text.split()
    }
    assert not words & LOCATION_WORDS
    other = {
        word for sample in TASKS["refcoco"].load(Source(miniature, "val")) for word in sample.question.text.split()
    }
    assert len(other & LOCATION_WORDS) >= 4


def names(thing: Appearance) -> set[str]:
    """The noun phrases that describe a thing."""
    size = "big" if thing.large else "small"
    category, colour = thing.category, thing.colour
    return {category, f"{colour} {category}", f"{size} {category}", f"{size} {colour} {category}", f"{colour} thing"}


@pytest.mark.parametrize("style", STYLES)
def test_expression_of_a_plain_noun_describes_its_thing_alone(style: Style) -> None:
    checked = 0
    for seed in range(40):
        rendered = rendered_scene(seed)
        things = appearances(rendered)
        for place, texts in enumerate(expressions(rendered, style, Draw(seed))):
            assert len(set(texts)) == len(texts) <= 3
            for text in texts:
                noun = text.removeprefix("the ")
                described = [other for other, thing in enumerate(things) if noun in names(thing)]
                if described:  # otherwise it has a place, an order, a relation or a comparison
                    assert described == [place], text
                    checked += 1
    assert checked > 50


@pytest.mark.parametrize(
    ("side", "measure"),
    [("left", lambda thing: thing.x), ("right", lambda thing: -thing.x), ("top", lambda thing: thing.y),
     ("bottom", lambda thing: -thing.y)],
)  # fmt: skip
def test_expression_of_a_side_refers_to_the_outermost_thing(side: str, measure: object) -> None:
    checked = 0
    for seed in range(60):
        rendered = rendered_scene(seed)
        things = appearances(rendered)
        for place, texts in enumerate(expressions(rendered, "refcoco", Draw(seed))):
            for text in texts:
                first, _, noun = text.partition(" ")
                fitting = [thing for thing in things if noun in names(thing)]
                if first == side and fitting:
                    assert things[place] == min(fitting, key=measure)  # type: ignore[arg-type]
                    checked += 1
    assert checked > 5


def test_caption_names_every_thing_from_left_to_right() -> None:
    for seed in range(30):
        rendered = rendered_scene(seed)
        things = appearances(rendered)
        text, spans = caption(rendered, Draw(seed))
        assert sorted(place for _, _, places in spans for place in places) == list(range(len(things)))
        for start, end, places in spans:
            first = things[places[0]]
            assert text[start:end] == counted(len(places), first.colour, first.category)
            assert {(things[i].colour, things[i].category) for i in places} == {(first.colour, first.category)}
        lefts = [things[places[0]].x for _, _, places in spans]
        assert lefts == sorted(lefts)


@pytest.mark.parametrize(
    ("count", "colour", "category", "phrase"),
    [(1, "red", "car", "a red car"), (1, "orange", "fish", "an orange fish"), (2, "blue", "fish", "two blue fish"),
     (3, "red", "house", "three red houses"), (5, "pink", "cup", "five pink cups")],
)  # fmt: skip
def test_counted_phrase_has_article_and_plural(count: int, colour: str, category: str, phrase: str) -> None:
    assert counted(count, colour, category) == phrase
    assert plural("box") == "boxes"
