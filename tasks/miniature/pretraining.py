"""Scenes to pre-train on, which differ from the benchmarks as FLD-5B differs from COCO.

Scenes of their own (seeds from 5,000,000), words of their own, no questions and answers, and some of the benchmarks'
categories in no scene: `UNSEEN`.  As in FLD-5B an image has texts of three lengths, regions with their category or a
phrase, phrases of a text with their regions, outlines by phrase, and what is written in it; a phrase says what a thing
is and in which part of the picture, never how it stands to another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Question, Sample, Text, Value
from tasks.miniature.language import Seen, look
from tasks.miniature.render import Rendered, rendered_scene, rendered_signs
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import SEEN
from tasks.miniature.training import WITH_SIGNS, MiniatureScene, letters_of, outline_of, spelled, things_of, written

FIRST_PRETRAINING_SEED = 5_000_000
UNSEEN = ("rocket", "umbrella", "cup")  # first met in fine-tuning
KNOWN = tuple(name for name in SEEN if name not in UNSEEN)
OPENINGS = ("", "image of ", "drawing: ", "showing ")
GROUNDS = {
    "meadow": "grassland",
    "hills": "hill landscape",
    "sea": "seaside",
    "night": "night sky",
    "paper": "striped background",
    "checks": "checked background",
    "dusk": "evening sky",
}
Named = tuple[str, tuple[int, ...]]  # a phrase and the things it fits


def pretraining_scene(seed: int) -> MiniatureScene:
    """The scene of a seed, every third with signs: pixels, samples, and what is taught of its regions."""
    rendered = rendered_signs(seed, KNOWN) if seed % WITH_SIGNS == 0 else rendered_scene(seed, KNOWN)
    image, draw = f"pretraining scene {seed}", Draw(seed)
    samples = [*_texts(rendered, image, draw), *_phrases(rendered, image, draw)]
    if any(thing.word for thing in rendered.scene.things):
        samples += [*written(image, rendered), *spelled(image, rendered)]
    things = [(box, (*classes, 0)) for box, classes in things_of(rendered)]
    return MiniatureScene(rendered.image, tuple(samples), (*things, *letters_of(rendered)))


def _texts(rendered: Rendered, image: str, draw: Draw) -> list[Sample[Value]]:
    """Texts of three lengths, the regions' categories, and the brief text's phrases with their regions."""
    scene, size = rendered.scene, rendered.scene.size
    things = look(rendered)
    order = draw.shuffled(range(len(things)))
    ground = GROUNDS[scene.background]

    text = draw.one_of(OPENINGS)
    phrases: list[Phrase] = []
    boxes: list[tuple[Box, ...]] = []
    for phrase, fits in _grouped(things, order):
        text += "" if not phrases else " and " if draw.random() < 0.3 else ", "
        phrases.append(Phrase(phrase, len(text), len(text) + len(phrase)))
        boxes.append(tuple(rendered.boxes[i] for i in fits))
        text += phrase
    brief = f"{text}, {ground}" if draw.random() < 0.5 else text
    long = f"{ground} with " + ", ".join(f"{_full(things[i])} {_part(things[i])}" for i in order)
    longest = f"Scene: {ground}. " + " ".join(f"One can see {_full(things[i])} {_part(things[i])}." for i in order)

    def told(kind: Kind, answer: str) -> Sample[Value]:
        return Sample(kind, Question(image, size, kind), Text((answer,)), image)

    across = sorted(range(len(things)), key=lambda i: rendered.boxes[i])
    regions = Boxes(tuple(rendered.boxes[i] for i in across), tuple(scene.things[i].category for i in across))
    grounded = Question(image, size, "ground", text, tuple(phrases))
    return [
        told("caption", brief),
        told("detailed_caption", long),
        told("more_detailed_caption", longest),
        Sample("detect", Question(image, size, "detect"), regions, image),
        Sample("ground", grounded, Grounded(tuple(boxes)), image),
    ]


def _phrases(rendered: Rendered, image: str, draw: Draw) -> list[Sample[Value]]:
    """Single phrases: the box and outline of a thing that one fits alone, and the boxes of all that one fits."""
    size, things = rendered.scene.size, look(rendered)
    found: list[Sample[Value]] = []
    for place in range(len(things)):
        options = [(text, fits) for text, fits in _names(things, place) if fits == (place,)]
        for text, _ in draw.shuffled(options)[:3]:
            said = f"a {text}" if draw.random() < 0.3 else text
            box = Boxes((rendered.boxes[place],), (said,))
            found.append(Sample(f"refer {place} {said}", Question(image, size, "refer", said), box, image))
            outline = outline_of(rendered, place)
            found.append(Sample(f"segment {place} {said}", Question(image, size, "segment", said), outline, image))
    for text, fits in dict(_names(things, draw.below(len(things)))).items():
        boxes = tuple(sorted(rendered.boxes[i] for i in fits))
        question = Question(image, size, "find", phrases=(Phrase(text),))
        found.append(Sample(f"find {text}", question, Boxes(boxes, (text,) * len(boxes)), image))
    return found


def _names(things: Sequence[Seen], me: int) -> list[Named]:
    """What a thing can be called, from bare to full, and everything that is called so too."""
    mine = things[me]
    named: list[tuple[str, Callable[[Seen], bool]]] = [
        (mine.category, lambda t: t.category == mine.category),
        (f"{mine.colour} {mine.category}", lambda t: (t.colour, t.category) == (mine.colour, mine.category)),
        (_full(mine), lambda t: _full(t) == _full(mine)),
        (f"{mine.colour} object", lambda t: t.colour == mine.colour),
        (f"{mine.category} {_part(mine)}", lambda t: (t.category, _part(t)) == (mine.category, _part(mine))),
        (f"{mine.colour} object {_part(mine)}", lambda t: (t.colour, _part(t)) == (mine.colour, _part(mine))),
    ]
    return [(text, tuple(i for i, thing in enumerate(things) if test(thing))) for text, test in named]


def _grouped(things: Sequence[Seen], order: Sequence[int]) -> list[Named]:
    """The things by what they are called, in this order; several of a name are named once."""
    groups: dict[str, list[int]] = {}
    for i in order:
        groups.setdefault(f"{things[i].colour} {things[i].category}", []).append(i)
    return [(text, tuple(fits)) for text, fits in groups.items()]


def _full(thing: Seen) -> str:
    return f"{'large' if thing.large else 'little'} {thing.colour} {thing.category}"


def _part(thing: Seen) -> str:
    """The part of the picture it is in, of nine; its middle has no name of its own."""
    across = "left" if thing.x < 0.37 else "right" if thing.x > 0.63 else ""
    down = "upper" if thing.y < 0.37 else "lower" if thing.y > 0.63 else ""
    named = " ".join(word for word in (down, across) if word)
    return f"in the {named} part" if named else "in the centre"
