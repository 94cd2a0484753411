"""Scenes for the data engine: images without annotation files, and a file with the truth for simulated specialists.

    scenes/9000000.jpg
    truth.json          for each image: its things, its caption, and the spans of the caption's phrases

The seeds are from 9,000,000 on, so no scene is in a benchmark or in a training split.  Every fourth scene has signs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.core import Box, Ring, Size
from harness.errors import DataError
from tasks.miniature.drawing import Job, drawn
from tasks.miniature.language import appearances, caption
from tasks.miniature.render import Rendered
from tasks.miniature.scene import Draw, draw_scene
from tasks.miniature.telling import words
from tasks.miniature.training import outline_of

VERSION = 1
FIRST_SEED = 9_000_000
SCENES = 120
WITH_SIGNS = 4
TRUTH = "truth.json"


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing of a scene with its outline; `word` is what a sign says."""

    category: str
    colour: str
    large: bool
    box: Box
    rings: tuple[Ring, ...] = ()
    word: str = ""
    quad: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """What an image shows."""

    size: Size
    things: tuple[Thing, ...]
    caption: str = ""


def reference_of(seed: int) -> str:
    """The path of a scene's image below the root."""
    return f"scenes/{seed}.jpg"


def write(root: Path, scenes: int) -> None:
    """Writes images and their truth under `root`."""
    jobs = [
        Job(seed, reference_of(seed), signs=seed % WITH_SIGNS == 0, outlines=True)
        for seed in range(FIRST_SEED, FIRST_SEED + scenes)
    ]
    truths = {job.path: truth_of(rendered) for job, rendered in zip(jobs, drawn(root, jobs, "drawing"), strict=True)}
    (root / TRUTH).write_text(json.dumps(msgspec.to_builtins(truths)))


def truth_of(rendered: Rendered) -> Truth:
    """What a drawn scene shows."""
    signs = dict(words(rendered))
    things = []
    for place, thing in enumerate(appearances(rendered)):
        word = rendered.scene.things[place].word
        rings = outline_of(rendered, place).rings
        box = rendered.boxes[place]
        things.append(Thing(thing.category, thing.colour, thing.large, box, rings, word, signs.get(word, ())))
    return Truth(rendered.scene.size, tuple(things), caption(rendered, Draw(rendered.scene.texture))[0])


def sketched(seed: int) -> Truth:
    """What a scene shows before it is drawn: squares around things, a thousand times as fast to make.

    For studies of boxes on many scenes.  A thing may be hidden by others.
    """
    scene = draw_scene(seed, 0)
    things = [
        Thing(each.category, each.colour, each.large, _square(each.x, each.y, each.half)) for each in scene.things
    ]
    return Truth(scene.size, tuple(things))


def _square(x: float, y: float, half: float) -> Box:
    return (x - half, y - half, x + half, y + half)


def truths_of(root: Path) -> dict[str, Truth]:
    """The truth of every image of a root, by reference; DataError for a root that `write` did not write."""
    path = root / TRUTH
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Truth])
    except (OSError, ValueError) as error:
        raise DataError(
            f"simulated specialists know the embedded world alone, and {path} is not there or malformed: give "
            "--data miniature, or other specialists"
        ) from error


def objects(truths: Mapping[str, Truth]) -> Iterator[tuple[str, str, Box]]:
    """The reference of an image, the category and the box of each thing."""
    for reference, truth in truths.items():
        for thing in truth.things:
            yield reference, thing.category, thing.box
