"""Scenes to learn from: everything a scene says, as samples.

Seeds are apart: benchmarks draw from below 1,000,000, training from 1,000,000, validation from 9,000,000.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core import Box, Boxes, Polygons, Question, Ring, Sample, Text, Value
from tasks.miniature.language import Style, caption, expressions
from tasks.miniature.outline import simplify
from tasks.miniature.render import Rendered, rendered_scene
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import COLOURS, SEEN

FIRST_TRAINING_SEED = 1_000_000
FIRST_VALIDATION_SEED = 9_000_000
OUTLINE_POINTS = 16
STYLES: tuple[Style, ...] = ("refcoco", "refcoco+", "refcocog")


@dataclass(frozen=True, slots=True)
class MiniatureScene:
    """An image (H, W, 3), everything that can be asked of it, and each thing's box and (category, colour)."""

    image: NDArray[np.uint8]
    samples: tuple[Sample[Value], ...]
    things: tuple[tuple[Box, tuple[int, int]], ...]


def training_scene(seed: int) -> MiniatureScene:
    """The scene of a seed, with captions, detection, grounding, expressions and outlines."""
    rendered = rendered_scene(seed)
    things = tuple(
        (box, (SEEN.index(thing.category), tuple(COLOURS).index(thing.colour)))
        for thing, box in zip(rendered.scene.things, rendered.boxes, strict=True)
    )
    return MiniatureScene(rendered.image, tuple(_samples(rendered, seed)), things)


def _samples(rendered: Rendered, seed: int) -> list[Sample[Value]]:
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
            Question(image, size, "ground", text),
            Boxes(
                tuple(boxes[i] for _, _, places in spans for i in places),
                tuple(text[start:end] for start, end, places in spans for _ in places),
            ),
            image,
        ),
    ]
    outlines = [Polygons(_outline(rings)) for rings in rendered.rings]
    for style in STYLES:
        for place, said in enumerate(expressions(rendered, style, draw)):
            for sentence in said:
                name = f"{style} {place} {sentence}"
                refer = Question(image, size, "refer", sentence)
                found.append(Sample(name, refer, Boxes((boxes[place],), (sentence,)), image))
                segment = Question(image, size, "segment", sentence)
                found.append(Sample(name, segment, outlines[place], image))
    return found


def _outline(rings: tuple[Ring, ...]) -> tuple[Ring, ...]:
    """Each piece in few points, the largest first."""
    return tuple(ring for ring in (simplify(ring, OUTLINE_POINTS) for ring in rings) if len(ring) >= 3)
