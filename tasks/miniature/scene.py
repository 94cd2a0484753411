"""Scenes: things with positions and attributes, at random from a seed.

All random numbers come from `random.Random(seed).random()`.  Everything else is computed from them by + - * / and
comparisons, so a seed gives the same scene on every machine.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from harness.core import Size
from tasks.miniature.lettering import WORDS
from tasks.miniature.shapes import COLOURS, SEEN, SIGN

T = TypeVar("T")
SIZES = (Size(256, 192), Size(256, 192), Size(192, 256), Size(224, 224), Size(288, 176))
BACKGROUNDS = ("meadow", "hills", "sea", "night", "paper", "checks", "dusk")
# Half the side of a thing, as a share of the image's shorter side: lowest and highest.
BOARD = (0.36, 0.44)
SMALL, LARGE = (0.115, 0.155), (0.2, 0.265)


class Draw:
    """Random draws that are the same in all versions of Python."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def between(self, low: float, high: float) -> float:
        """A uniform number from `low` to `high`."""
        return low + (high - low) * self.random()

    def below(self, count: int) -> int:
        """A uniform integer from 0 to `count` - 1."""
        return int(self.random() * count)

    def one_of(self, options: Sequence[T]) -> T:
        """One of the options, uniformly."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in random order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(len(left))]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene."""

    category: str
    colour: str
    large: bool
    x: float  # centre, in pixels
    y: float
    half: float  # half the side, in pixels
    tilt: float  # tangent of half the angle of rotation
    mirrored: bool
    word: str = ""  # on a sign


@dataclass(frozen=True, slots=True)
class Scene:
    """A background with things in front of it."""

    size: Size
    background: str
    horizon: float  # as a share of the height
    texture: int  # seed of the noise
    things: tuple[Thing, ...]  # from back to front


def draw_scene(seed: int, attempt: int, categories: Sequence[str] = SEEN, most: int = 5) -> Scene:
    """The scene of a seed with two to `most` things, fewer where one finds no space.

    Each `attempt` gives another scene, for a seed whose earlier attempts are not acceptable.
    """
    draw = Draw(seed * 1000 + attempt)
    size = draw.one_of(SIZES)
    number = 2 + draw.below(most - 1)
    kinds = _kinds(draw, number, categories)
    things: list[Thing] = []
    for category, colour, large in kinds:
        low, high = LARGE if large else SMALL
        half = draw.between(low, high) * min(size)
        tilt, mirrored = draw.between(-0.12, 0.12), draw.random() < 0.5
        for _ in range(60):
            x, y = draw.between(half, size.width - half), draw.between(half, size.height - half)
            if all(_apart(x, y, half, other) for other in things):
                things.append(Thing(category, colour, large, x, y, half, tilt, mirrored))
                break
    return Scene(size, draw.one_of(BACKGROUNDS), draw.between(0.45, 0.7), seed * 1000 + attempt, tuple(things))


def draw_signs(seed: int, attempt: int, categories: Sequence[str] = SEEN) -> Scene | None:
    """A scene with one or two signs in front of up to three other things; None where no sign finds space."""
    plain = draw_scene(seed, attempt, categories, most=3)
    draw = Draw(seed * 1000 + attempt + 500)
    signs: list[Thing] = []
    for word in draw.shuffled(WORDS)[: 1 + draw.below(2)]:
        half = draw.between(*BOARD) * min(plain.size)
        colour = draw.one_of([colour for colour in COLOURS if all(colour != sign.colour for sign in signs)])
        for _ in range(60):
            x = draw.between(half, plain.size.width - half)
            y = draw.between(0.6 * half, plain.size.height - half)
            if all(_apart(x, y, half, other) for other in signs):
                signs.append(Thing(SIGN, colour, True, x, y, half, 0.0, False, word))
                break
    others = [thing for thing in plain.things if all(_apart(thing.x, thing.y, thing.half, sign) for sign in signs)]
    return replace(plain, things=(*others, *signs)) if signs else None


def _kinds(draw: Draw, number: int, categories: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Category, colour and size (large or not) of each thing; in 60 % of scenes, several things share a category."""
    colours = tuple(COLOURS)
    if draw.random() < 0.6:
        shared = draw.one_of(categories)
        options = [shared] * (2 + draw.below(max(1, number - 1)))
        options += [draw.one_of(categories) for _ in range(number)]
    else:
        options = draw.shuffled(categories)
    kinds: list[tuple[str, str, bool]] = []
    for category in options[:number]:
        colour = draw.one_of(colours)
        same = [kind for kind in kinds if kind[0] == category]
        if same and draw.random() < 0.25:
            colour = same[0][1]
        kinds.append((category, colour, draw.random() < 0.5))
    return draw.shuffled(kinds)


def _apart(x: float, y: float, half: float, other: Thing) -> bool:
    """Whether a thing at (x, y) and another one overlap at most a little, by the distance of their centres."""
    reach = 0.8 * (half + other.half)
    return (x - other.x) * (x - other.x) + (y - other.y) * (y - other.y) > 1.3 * reach * reach
