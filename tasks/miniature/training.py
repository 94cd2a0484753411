"""Training scenes: a scene with all questions about it and their targets, as samples.

Seeds do not overlap: benchmarks use seeds below 1,000,000, training from 1,000,000 on.  Every third scene has signs.
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
from tasks.miniature.telling import detailed, more_detailed, queries, reading, spaced, unanswerable, words

FIRST_TRAINING_SEED = 1_000_000
OUTLINE_POINTS = 16  # at most, for each ring
WITH_SIGNS = 3  # every third scene has signs
STYLES: tuple[Style, ...] = ("refcoco", "refcoco+", "refcocog")
CATEGORIES = (*SEEN, SIGN)


@dataclass(frozen=True, slots=True)
class MiniatureScene:
    """An image (H, W, 3) with its samples, and the box and classes of each thing: category and colour.

    In `every_scene` the classes also have the letter, 0 for none, and each letter on a sign is an entry of `things`.
    """

    image: NDArray[np.uint8]
    samples: tuple[Sample[Value], ...]
    things: tuple[tuple[Box, tuple[int, ...]], ...]


def every_scene(seed: int) -> MiniatureScene:
    """The scene of a seed with samples of all kinds.

    Captions, detection, grounding, expressions, outlines, questions, categories to find, and words on signs to read.
    """
    rendered = rendered_signs(seed) if seed % WITH_SIGNS == 0 else rendered_scene(seed)
    samples = regions_of(rendered, seed) + _text_samples(rendered, seed)
    things = [(box, (*classes, 0)) for box, classes in things_of(rendered)]
    return MiniatureScene(rendered.image, tuple(samples), (*things, *letters_of(rendered)))


def things_of(rendered: Rendered) -> list[tuple[Box, tuple[int, int]]]:
    """The box of each thing and its classes: category and colour."""
    return [(box, _classes(thing)) for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True)]


def letters_of(rendered: Rendered) -> list[tuple[Box, tuple[int, int, int]]]:
    """The box of each letter on a sign and its classes: the sign's category and colour, and the letter."""
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


def _text_samples(rendered: Rendered, seed: int) -> list[Sample[Value]]:
    """Long captions, questions, words on signs, a sentence to ground, and phrases to find, present or not."""
    image, size, draw = f"scene {seed}", rendered.scene.size, Draw(seed + 1)

    def text_sample(kind: Kind, answer: str, question: str = "") -> Sample[Value]:
        return Sample(f"{kind} {question}", Question(image, size, kind, question), Text((answer,)), image)

    samples = [
        text_sample("detailed_caption", detailed(rendered)),
        text_sample("more_detailed_caption", more_detailed(rendered)),
    ]
    questions = [*queries(rendered, draw), unanswerable(rendered, draw)]
    if words(rendered):
        questions += reading(rendered) * 4  # about as many as the others together
        samples += [*written(image, rendered), *spelled(image, rendered)]
    samples += [text_sample("vqa", query.answer, query.question) for query in questions]
    text, spans = spaced(*caption(rendered, draw))
    phrases = tuple(Phrase(text[start:end], start, end) for start, end, _ in spans)
    boxes = Grounded(tuple(tuple(rendered.boxes[i] for i in places) for _, _, places in spans))
    samples.append(Sample("ground spaced", Question(image, size, "ground", text, phrases), boxes, image))
    samples += [_find_sample(image, rendered, phrase) for phrase in _phrases_to_find(rendered, draw)]
    return samples


def written(image: str, rendered: Rendered) -> list[Sample[Value]]:
    """The words on signs as one text, and each word with its corners."""
    size, signs = rendered.scene.size, words(rendered)
    text = Text((" ".join(word for word, _ in signs),))
    quads = Quads(tuple(quad for _, quad in signs), tuple(word for word, _ in signs))
    return [
        Sample("ocr", Question(image, size, "ocr"), text, image),
        Sample("ocr_regions", Question(image, size, "ocr_regions"), quads, image),
    ]


def spelled(image: str, rendered: Rendered) -> list[Sample[Value]]:
    """The letters on signs with their boxes, and the box of each letter that occurs once.

    A model must distinguish letters before it can read words.
    """
    size = rendered.scene.size
    signs = sorted((thing for thing in rendered.scene.things if thing.word), key=lambda thing: (thing.y, thing.x))
    letters = "".join(sign.word for sign in signs)
    boxes = [box for sign in signs for box in lettering.letter_places(sign.word, sign.x, sign.y, sign.half)]
    question = Question(image, size, "find", phrases=(Phrase("letters"),))
    samples: list[Sample[Value]] = [Sample("find letters", question, Boxes(tuple(boxes), tuple(letters)), image)] * 3
    for letter, box in zip(letters, boxes, strict=True):
        if letters.count(letter) == 1:
            sentence = f"the letter {letter}"
            refer = Question(image, size, "refer", sentence)
            samples.append(Sample(sentence, refer, Boxes((box,), (sentence,)), image))
    return samples


def _phrases_to_find(rendered: Rendered, draw: Draw) -> list[str]:
    """The categories of the scene, one thing with its colour, and one category that is not in the scene."""
    things = rendered.scene.things
    names = [thing.category for thing in things]
    coloured = [f"{thing.colour} {draw.one_of((thing.category, 'thing'))}" for thing in things]
    return [*dict.fromkeys(names), draw.one_of(coloured), draw.one_of([name for name in SEEN if name not in names])]


def _find_sample(image: str, rendered: Rendered, phrase: str) -> Sample[Value]:
    """A phrase to find, with the boxes of all things that it fits, from left to right."""
    fits = [
        box
        for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True)
        if phrase in (thing.category, f"{thing.colour} {thing.category}", f"{thing.colour} thing")
    ]
    question = Question(image, rendered.scene.size, "find", phrases=(Phrase(phrase),))
    return Sample(f"find {phrase}", question, Boxes(tuple(sorted(fits)), (phrase,) * len(fits)), image)


def regions_of(rendered: Rendered, seed: int) -> list[Sample[Value]]:
    """The samples of a scene for captions, detection, grounding, expressions and outlines."""
    scene, boxes, draw = rendered.scene, rendered.boxes, Draw(seed)
    image, size = f"scene {seed}", scene.size
    text, spans = caption(rendered, draw)
    order = sorted(range(len(boxes)), key=lambda i: (boxes[i][0], boxes[i][1]))
    samples: list[Sample[Value]] = [
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
        for place, sentences in enumerate(expressions(rendered, style, draw)):
            for sentence in sentences:
                name = f"{style} {place} {sentence}"
                refer = Question(image, size, "refer", sentence)
                samples.append(Sample(name, refer, Boxes((boxes[place],), (sentence,)), image))
                segment = Question(image, size, "segment", sentence)
                samples.append(Sample(name, segment, outlines[place], image))
    return samples


def outline_of(rendered: Rendered, place: int) -> Polygons:
    """The outline of a thing, largest piece first, each piece simplified to at most 16 points."""
    rings = (simplify(ring, OUTLINE_POINTS) for ring in rendered.rings[place])
    return Polygons(tuple(ring for ring in rings if len(ring) >= 3))
