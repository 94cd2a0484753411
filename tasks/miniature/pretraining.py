"""Scenes for pre-training, which differ from the benchmarks as FLD-5B differs from COCO.

The scenes have their own seeds (from 5,000,000) and their own wording.  There are no questions and answers, and some of
the benchmarks' categories are in no scene (`UNSEEN`).  As in FLD-5B, an image has texts of three lengths, regions with
their category or a phrase, phrases of each text with their regions, outlines by phrase or region, and the text on
signs.  A phrase states what a thing is and in which part of the image it is, but no relation to another thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Question, Sample, Text, Value
from tasks.miniature.language import Appearance, appearances, counted
from tasks.miniature.render import Rendered, rendered_scene, rendered_signs
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import SEEN
from tasks.miniature.training import WITH_SIGNS, MiniatureScene, letters_of, outline_of, spelled, things_of, written

FIRST_PRETRAINING_SEED = 5_000_000
UNSEEN = ("rocket", "umbrella", "cup")  # in fine-tuning only
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
Named = tuple[str, tuple[int, ...]]  # a phrase and the numbers of the things that it fits


def pretraining_scene(seed: int) -> MiniatureScene:
    """The scene of a seed with its samples, and the classes of its regions; every third seed has signs."""
    rendered = rendered_signs(seed, KNOWN) if seed % WITH_SIGNS == 0 else rendered_scene(seed, KNOWN)
    image, draw = f"pretraining scene {seed}", Draw(seed)
    samples = [*_texts(rendered, image, draw), *_phrases(rendered, image, draw), *_regions(rendered, image)]
    if any(thing.word for thing in rendered.scene.things):
        samples += [*written(image, rendered), *spelled(image, rendered)]
    things = [(box, (*classes, 0)) for box, classes in things_of(rendered)]
    return MiniatureScene(rendered.image, tuple(samples), (*things, *letters_of(rendered)))


def _texts(rendered: Rendered, image: str, draw: Draw) -> list[Sample[Value]]:
    """Texts of three lengths, the categories of the regions, and the phrases of the short text with their regions."""
    scene, size = rendered.scene, rendered.scene.size
    things = appearances(rendered)
    order = draw.shuffled(range(len(things)))
    ground = GROUNDS[scene.background]

    text = draw.one_of(OPENINGS)
    plain = draw.random() < 0.5  # "red car, blue fish"; else "a red car, two blue fish"
    phrases: list[Phrase] = []
    boxes: list[tuple[Box, ...]] = []
    for colour, category, fits in _grouped(things, order):
        text += "" if not phrases else " and " if draw.random() < 0.3 else ", "
        phrase = f"{colour} {category}" if plain else counted(len(fits), colour, category)
        phrases.append(Phrase(phrase, len(text), len(text) + len(phrase)))
        boxes.append(tuple(rendered.boxes[i] for i in fits))
        text += phrase
    brief = f"{text}, {ground}" if draw.random() < 0.5 else text
    told = [things[i] for i in order]
    long, in_long = _told(f"{ground} with ", told, "", ", ")
    longest, in_longest = _told(f"Scene: {ground}. One can see ", told, ".", " One can see ")

    def text_sample(kind: Kind, answer: str) -> Sample[Value]:
        return Sample(kind, Question(image, size, kind), Text((answer,)), image)

    across = sorted(range(len(things)), key=lambda i: rendered.boxes[i])
    regions = Boxes(tuple(rendered.boxes[i] for i in across), tuple(scene.things[i].category for i in across))
    each = tuple((rendered.boxes[i],) for i in order)

    def grounded(sentence: str, phrases: Sequence[Phrase], boxes: Sequence[tuple[Box, ...]]) -> Sample[Value]:
        question = Question(image, size, "ground", sentence, tuple(phrases))
        return Sample(f"ground {sentence}", question, Grounded(tuple(boxes)), image)

    return [
        text_sample("caption", brief),
        text_sample("detailed_caption", long),
        text_sample("more_detailed_caption", longest),
        Sample("detect", Question(image, size, "detect"), regions, image),
        grounded(text, phrases, boxes),
        grounded(long, in_long, each),
        grounded(longest, in_longest, each),
    ]


def _told(text: str, things: Sequence[Appearance], end: str, between: str) -> tuple[str, list[Phrase]]:
    """The text with a phrase for each thing and its place, and these phrases."""
    phrases: list[Phrase] = []
    for thing in things:
        text += between if phrases else ""
        phrase = _full(thing)
        phrases.append(Phrase(phrase, len(text), len(text) + len(phrase)))
        text += f"{phrase} {_part(thing)}{end}"
    return text, phrases


def _regions(rendered: Rendered, image: str) -> list[Sample[Value]]:
    """All regions, with a description and without; and the category, description, outline and word of each."""
    size, things = rendered.scene.size, appearances(rendered)
    across = sorted(range(len(things)), key=lambda i: rendered.boxes[i])
    boxes, texts = tuple(rendered.boxes[i] for i in across), tuple(_full(things[i]) for i in across)
    samples: list[Sample[Value]] = [
        Sample("regions", Question(image, size, "regions"), Boxes(boxes, texts), image),
        Sample("propose", Question(image, size, "propose"), Boxes(boxes), image),
    ]

    def of_region(kind: Kind, place: int, target: Value) -> Sample[Value]:
        question = Question(image, size, kind, region=rendered.boxes[place])
        return Sample(f"{kind} {place}", question, target, image)

    for place, thing in enumerate(things):
        samples += [
            of_region("name", place, Text((thing.category,))),
            of_region("describe", place, Text((_full(thing),))),
            of_region("outline", place, outline_of(rendered, place)),
        ]
        if word := rendered.scene.things[place].word:
            samples.append(of_region("read", place, Text((word,))))
    return samples


def _phrases(rendered: Rendered, image: str, draw: Draw) -> list[Sample[Value]]:
    """Single phrases: the box and the outline of the only thing that one fits, or the boxes of all that one fits."""
    size, things = rendered.scene.size, appearances(rendered)
    samples: list[Sample[Value]] = []
    for place in range(len(things)):
        options = [(text, fits) for text, fits in _names(things, place) if fits == (place,)]
        for text, _ in draw.shuffled(options)[:3]:
            phrase = f"a {text}" if draw.random() < 0.3 else text
            box = Boxes((rendered.boxes[place],), (phrase,))
            samples.append(Sample(f"refer {place} {phrase}", Question(image, size, "refer", phrase), box, image))
            outline = outline_of(rendered, place)
            segment = Question(image, size, "segment", phrase)
            samples.append(Sample(f"segment {place} {phrase}", segment, outline, image))
    for text, fits in dict(_names(things, draw.below(len(things)))).items():
        boxes = tuple(sorted(rendered.boxes[i] for i in fits))
        question = Question(image, size, "find", phrases=(Phrase(text),))
        samples.append(Sample(f"find {text}", question, Boxes(boxes, (text,) * len(boxes)), image))
    return samples


def _names(things: Sequence[Appearance], target: int) -> list[Named]:
    """Phrases for a thing, from short to full, each with all things that it fits."""
    thing = things[target]
    category, colour, full, part = thing.category, thing.colour, _full(thing), _part(thing)
    tests: list[tuple[str, Callable[[Appearance], bool]]] = [
        (category, lambda t: t.category == category),
        (f"{colour} {category}", lambda t: (t.colour, t.category) == (colour, category)),
        (full, lambda t: _full(t) == full),
        (f"{colour} object", lambda t: t.colour == colour),
        (f"{category} {part}", lambda t: (t.category, _part(t)) == (category, part)),
        (f"{colour} object {part}", lambda t: (t.colour, _part(t)) == (colour, part)),
    ]
    return [(text, tuple(i for i, other in enumerate(things) if test(other))) for text, test in tests]


def _grouped(things: Sequence[Appearance], order: Sequence[int]) -> list[tuple[str, str, list[int]]]:
    """Colour, category and numbers of the things that share both, in this order."""
    groups: dict[tuple[str, str], list[int]] = {}
    for i in order:
        groups.setdefault((things[i].colour, things[i].category), []).append(i)
    return [(*same, fits) for same, fits in groups.items()]


def _full(thing: Appearance) -> str:
    return f"{'large' if thing.large else 'little'} {thing.colour} {thing.category}"


def _part(thing: Appearance) -> str:
    """The part of the image, of nine, that contains the centre of a thing."""
    across = "left" if thing.x < 0.37 else "right" if thing.x > 0.63 else ""
    down = "upper" if thing.y < 0.37 else "lower" if thing.y > 0.63 else ""
    name = " ".join(word for word in (down, across) if word)
    return f"in the {name} part" if name else "in the centre"
