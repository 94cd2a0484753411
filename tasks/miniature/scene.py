"""A scene: what is where, drawn from a seed.

Every draw comes from `random.Random(seed).random()`, and everything else from it by + - * / and comparisons, so a
seed means the same scene on every machine.
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
BOARD = (0.36, 0.44)
SMALL, LARGE = (0.115, 0.155), (0.2, 0.265)  # half an object's side, as a share of the picture's shorter side


class Draw:
    """Draws that are stable across versions of Python."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random

    def between(self, low: float, high: float) -> float:
        """Uniform in low..high."""
        return low + (high - low) * self.random()

    def below(self, count: int) -> int:
        """0..count - 1."""
        return int(self.random() * count)

    def one_of(self, options: Sequence[T]) -> T:
        """Any of the options."""
        return options[self.below(len(options))]

    def shuffled(self, options: Sequence[T]) -> list[T]:
        """The options in some order."""
        left = list(options)
        return [left.pop(self.below(len(left))) for _ in range(len(left))]


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: `x`, `y` its centre and `half` half its side in pixels; `tilt` is tan of half its turn.

    A sign says a `word`.
    """

    category: str
    colour: str
    large: bool
    x: float
    y: float
    half: float
    tilt: float
    mirrored: bool
    word: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Things back to front before a background; `texture` seeds its noise."""

    size: Size
    background: str
    horizon: float  # as a share of the height
    texture: int
    things: tuple[Thing, ...]


def draw_scene(seed: int, attempt: int, categories: Sequence[str] = SEEN, most: int = 5) -> Scene:
    """The scene of a seed; a higher `attempt` where an earlier one could not be used.  Two to `most` things."""
    draw = Draw(seed * 1000 + attempt)
    size = draw.one_of(SIZES)
    wanted = 2 + draw.below(most - 1)
    kinds = _kinds(draw, wanted, categories)
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
    """A scene with one or two signs, before one to three other things; None where no sign found room."""
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
    beside = [thing for thing in plain.things if all(_apart(thing.x, thing.y, thing.half, sign) for sign in signs)]
    return replace(plain, things=(*beside, *signs)) if signs else None


def _kinds(draw: Draw, wanted: int, categories: Sequence[str]) -> list[tuple[str, str, bool]]:
    """Category, colour and size of each thing; in three scenes of five, several share a category."""
    colours = tuple(COLOURS)
    if draw.random() < 0.6:
        shared = draw.one_of(categories)
        among = [shared] * (2 + draw.below(max(1, wanted - 1)))
        among += [draw.one_of(categories) for _ in range(wanted)]
    else:
        among = draw.shuffled(categories)
    kinds: list[tuple[str, str, bool]] = []
    for category in among[:wanted]:
        colour = draw.one_of(colours)
        same = [kind for kind in kinds if kind[0] == category]
        if same and draw.random() < 0.25:
            colour = same[0][1]
        kinds.append((category, colour, draw.random() < 0.5))
    return draw.shuffled(kinds)


def _apart(x: float, y: float, half: float, other: Thing) -> bool:
    """Whether two things overlap a little at most: their centres are farther than most of their sides."""
    reach = 0.8 * (half + other.half)
    return (x - other.x) * (x - other.x) + (y - other.y) * (y - other.y) > 1.3 * reach * reach
