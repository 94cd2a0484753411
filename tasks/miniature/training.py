"""Scenes to learn from: everything a scene says, as samples.

Seeds are apart: benchmarks draw from below 1,000,000, training from 1,000,000, validation from 9,000,000.  Every
third scene of `every_scene` has signs to read; `training_scene` has none, and asks for less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Polygons, Quads, Question, Sample, Text, Value
from harness.geometry.outlines import simplify
from tasks.miniature import lettering
from tasks.miniature.language import Style, caption, expressions
from tasks.miniature.render import Rendered, rendered_scene, rendered_signs
from tasks.miniature.scene import Draw, Thing
from tasks.miniature.shapes import COLOURS, SEEN, SIGN
from tasks.miniature.telling import detailed, hopeless, more_detailed, queries, reading, spaced, words

FIRST_TRAINING_SEED = 1_000_000
FIRST_VALIDATION_SEED = 9_000_000
OUTLINE_POINTS = 16
WITH_SIGNS = 3  # one scene in so many
STYLES: tuple[Style, ...] = ("refcoco", "refcoco+", "refcocog")
CATEGORIES = (*SEEN, SIGN)


@dataclass(frozen=True, slots=True)
class MiniatureScene:
    """An image (H, W, 3), everything that can be asked of it, and each thing's box and classes: category and colour.

    Of `every_scene` also the letter, 0 for none: a sign's letters are there as well, each with its box.
    """

    image: NDArray[np.uint8]
    samples: tuple[Sample[Value], ...]
    things: tuple[tuple[Box, tuple[int, ...]], ...]


def training_scene(seed: int) -> MiniatureScene:
    """The scene of a seed, with captions, detection, grounding, expressions and outlines."""
    rendered = rendered_scene(seed)
    return MiniatureScene(rendered.image, tuple(regions_of(rendered, seed)), tuple(things_of(rendered)))


def every_scene(seed: int) -> MiniatureScene:
    """The same, every third with signs; also captions at length, questions, categories to find, and words to read."""
    rendered = rendered_signs(seed) if seed % WITH_SIGNS == 0 else rendered_scene(seed)
    samples = regions_of(rendered, seed) + _told(rendered, seed)
    things = [(box, (*classes, 0)) for box, classes in things_of(rendered)]
    return MiniatureScene(rendered.image, tuple(samples), (*things, *letters_of(rendered)))


def things_of(rendered: Rendered) -> list[tuple[Box, tuple[int, int]]]:
    """Each thing's box and its classes: category and colour."""
    return [(box, _classes(thing)) for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True)]


def letters_of(rendered: Rendered) -> list[tuple[Box, tuple[int, int, int]]]:
    """Each sign's letters with their boxes: the sign's classes and the letter's."""
    letters = tuple(lettering.GLYPHS)
    return [
        (box, (*_classes(thing), 1 + letters.index(letter)))
        for thing in rendered.scene.things
        for letter, box in zip(
            thing.word, lettering.letter_places(thing.word, thing.x, thing.y, thing.half), strict=True
        )
    ]


def _classes(thing: Thing) -> tuple[int, int]:
    return CATEGORIES.index(thing.category), tuple(COLOURS).index(thing.colour)


def _told(rendered: Rendered, seed: int) -> list[Sample[Value]]:
    """Everything that is answered in words, and the things of a category, there or not."""
    image, size, draw = f"scene {seed}", rendered.scene.size, Draw(seed + 1)

    def told(kind: Kind, answer: str, question: str = "") -> Sample[Value]:
        return Sample(f"{kind} {question}", Question(image, size, kind, question), Text((answer,)), image)

    found = [told("detailed_caption", detailed(rendered)), told("more_detailed_caption", more_detailed(rendered))]
    asked = [*queries(rendered, draw), hopeless(rendered, draw)]
    if words(rendered):
        asked += reading(rendered) * 4  # as often as the others together
        found += [*written(image, rendered), *spelled(image, rendered)]
    found += [told("vqa", query.answer, query.question) for query in asked]
    text, spans = spaced(*caption(rendered, draw))
    phrases = tuple(Phrase(text[start:end], start, end) for start, end, _ in spans)
    boxes = Grounded(tuple(tuple(rendered.boxes[i] for i in places) for _, _, places in spans))
    found.append(Sample("ground spaced", Question(image, size, "ground", text, phrases), boxes, image))
    found += [_found(image, rendered, phrase) for phrase in _to_find(rendered, draw)]
    return found


def written(image: str, rendered: Rendered) -> list[Sample[Value]]:
    """The words on signs, and each with its corners."""
    size, signs = rendered.scene.size, words(rendered)
    text = Text((" ".join(word for word, _ in signs),))
    quads = Quads(tuple(quad for _, quad in signs), tuple(word for word, _ in signs))
    return [
        Sample("ocr", Question(image, size, "ocr"), text, image),
        Sample("ocr_regions", Question(image, size, "ocr_regions"), quads, image),
    ]


def spelled(image: str, rendered: Rendered) -> list[Sample[Value]]:
    """The letters of the signs, word by word, each with its box, and the box of some that are there once.

    Letters are to be told apart before words can be read.
    """
    size = rendered.scene.size
    signs = sorted((thing for thing in rendered.scene.things if thing.word), key=lambda thing: (thing.y, thing.x))
    letters = "".join(sign.word for sign in signs)
    boxes = [box for sign in signs for box in lettering.letter_places(sign.word, sign.x, sign.y, sign.half)]
    question = Question(image, size, "find", phrases=(Phrase("letters"),))
    found: list[Sample[Value]] = [Sample("find letters", question, Boxes(tuple(boxes), tuple(letters)), image)] * 3
    for letter, box in zip(letters, boxes, strict=True):
        if letters.count(letter) == 1:
            sentence = f"the letter {letter}"
            refer = Question(image, size, "refer", sentence)
            found.append(Sample(sentence, refer, Boxes((box,), (sentence,)), image))
    return found


def _to_find(rendered: Rendered, draw: Draw) -> list[str]:
    """Names of what is there, with and without a colour, and of one category that is not."""
    things = rendered.scene.things
    names = [thing.category for thing in things]
    coloured = [f"{thing.colour} {draw.one_of((thing.category, 'thing'))}" for thing in things]
    return [*dict.fromkeys(names), draw.one_of(coloured), draw.one_of([name for name in SEEN if name not in names])]


def _found(image: str, rendered: Rendered, phrase: str) -> Sample[Value]:
    """The boxes of everything that a phrase names, from left to right."""
    fits = [
        box
        for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True)
        if phrase in (thing.category, f"{thing.colour} {thing.category}", f"{thing.colour} thing")
    ]
    question = Question(image, rendered.scene.size, "find", phrases=(Phrase(phrase),))
    return Sample(f"find {phrase}", question, Boxes(tuple(sorted(fits)), (phrase,) * len(fits)), image)


def regions_of(rendered: Rendered, seed: int) -> list[Sample[Value]]:
    """Captions, detection, grounding, expressions and outlines of a scene."""
    scene, boxes, draw = rendered.scene, rendered.boxes, Draw(seed)
    image, size = f"scene {seed}", scene.size
    text, spans = caption(rendered, draw)
    order = sorted(range(len(boxes)), key=lambda i: (boxes[i][0], boxes[i][1]))
    found: list[Sample[Value]] = [
        Sample("caption", Question(image, size, "caption"), Text((text,)), image),
        Sample(
            "detect",
            Question(image, size, "detect"),
            Boxes(tuple(boxes[i] for i in order), tuple(scene.things[i].category for i in order)),
            image,
        ),
        Sample(
            "ground",
            Question(
                image, size, "ground", text, tuple(Phrase(text[start:end], start, end) for start, end, _ in spans)
            ),
            Grounded(tuple(tuple(boxes[i] for i in places) for _, _, places in spans)),
            image,
        ),
    ]
    outlines = [outline_of(rendered, place) for place in range(len(boxes))]
    for style in STYLES:
        for place, said in enumerate(expressions(rendered, style, draw)):
            for sentence in said:
                name = f"{style} {place} {sentence}"
                refer = Question(image, size, "refer", sentence)
                found.append(Sample(name, refer, Boxes((boxes[place],), (sentence,)), image))
                segment = Question(image, size, "segment", sentence)
                found.append(Sample(name, segment, outlines[place], image))
    return found


def outline_of(rendered: Rendered, place: int) -> Polygons:
    """A thing's outline, each piece in few points, the largest first."""
    rings = (simplify(ring, OUTLINE_POINTS) for ring in rendered.rings[place])
    return Polygons(tuple(ring for ring in rings if len(ring) >= 3))
