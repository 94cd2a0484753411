"""A smaller world for studies: images of 64 x 64 pixels with two things of four categories and four colours.

A study trains dozens of models, so each must score well above the floor after minutes.  In all other respects, scenes,
files and scoring are those of the miniature.  Evaluation uses seeds from 7,000,000 on, training from 8,000,000 on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.core import Box, Question, Sample, Size, Text, Value
from tasks.miniature import coco, flickr30k, refcoco
from tasks.miniature.drawing import save
from tasks.miniature.render import Rendered, first_acceptable, jpeg
from tasks.miniature.scene import Draw, Scene, Thing
from tasks.miniature.telling import detailed, more_detailed
from tasks.miniature.training import MiniatureScene, regions_of

VERSION = 1
FIRST_SEED, FIRST_TRAINING_SEED = 7_000_000, 8_000_000
EVALUATED = 200  # scenes
SIDE = 64
CATEGORIES = ("house", "fish", "car", "cat")
COLOURS = ("red", "yellow", "green", "blue")
BACKGROUNDS = ("paper", "night", "meadow")
HALF = (0.19, 0.29)  # half the side of a thing, as a share of the image's side: lowest and highest


def small_scene(seed: int) -> MiniatureScene:
    """The scene of a seed with its training samples, and the box and classes (category, colour) of each thing."""
    rendered = rendered_small(seed)
    things: list[tuple[Box, tuple[int, ...]]] = [
        (box, (CATEGORIES.index(thing.category), COLOURS.index(thing.colour)))
        for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True)
    ]
    question = Question(f"scene {seed}", rendered.scene.size, "detailed_caption")
    long: list[Sample[Value]] = [
        Sample("detailed", question, Text((detailed(rendered),)), question.image_name),
        Sample(
            "more",
            replace(question, kind="more_detailed_caption"),
            Text((more_detailed(rendered),)),
            question.image_name,
        ),
    ]
    return MiniatureScene(rendered.image, (*regions_of(rendered, seed), *long), tuple(things))


def rendered_small(seed: int) -> Rendered:
    """The scene of a seed: the first attempt that `render.first_acceptable` accepts."""
    return first_acceptable(lambda attempt: _draw(Draw(seed * 1000 + attempt), seed * 1000 + attempt))


def write(root: Path) -> None:
    """Writes the evaluation scenes' captions, boxes, phrases and outlines in the files of four benchmarks."""
    scenes = [(seed, rendered_small(seed)) for seed in range(FIRST_SEED, FIRST_SEED + EVALUATED)]
    photos = [coco.Photo(seed, "test", rendered) for seed, rendered in scenes]
    for (_, rendered), photo, job in zip(scenes, photos, flickr30k.jobs(seed for seed, _ in scenes), strict=True):
        for path in (coco.file_of(photo.number, "val2014"), coco.file_of(photo.number, "val2017"), job.path):
            save(root / path, jpeg(rendered))
        save(root / coco.file_of(photo.number, "train2014"), jpeg(rendered))
    coco.annotate_captions(root, "val2014", photos)
    coco.annotate_objects(root, "val2017", photos)
    flickr30k.annotate(root, "test", scenes)
    refcoco.annotate(root, [refcoco.Picture(photo.number, "val", photo.rendered) for photo in photos])


def _draw(draw: Draw, texture: int) -> Scene:
    """A scene of one or two things; `first_acceptable` skips those with one."""
    things: list[Thing] = []
    for _ in range(1 + draw.below(2)):
        half = draw.between(*HALF) * SIDE
        kind = draw.one_of(CATEGORIES), draw.one_of(COLOURS)
        for _ in range(60):
            x, y = draw.between(half, SIDE - half), draw.between(half, SIDE - half)
            if all((x - other.x) ** 2 + (y - other.y) ** 2 > (half + other.half) ** 2 for other in things):
                large = half > (HALF[0] + HALF[1]) / 2 * SIDE
                things.append(Thing(*kind, large, x, y, half, 0.0, draw.random() < 0.5))
                break
    background, horizon = draw.one_of(BACKGROUNDS), draw.between(0.45, 0.7)
    return Scene(Size(SIDE, SIDE), background, horizon, texture, tuple(things))
