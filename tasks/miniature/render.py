"""From a scene to pixels and masks, with the same bits on every machine.

The drawing uses only + - * /, square roots and comparisons of doubles, element by element, which all machines round
alike.  Edges are smoothed by the signed distance to a part.  A pixel belongs to the front-most thing that covers at
least half of it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.core import Ring
from harness.geometry.outlines import has_hole, outline, refill
from tasks.miniature.lettering import paint
from tasks.miniature.scene import Scene, Thing, draw_scene, draw_signs
from tasks.miniature.shapes import COLOURS, FIXED, SEEN, SHAPES, Ellipse, Part

Map = NDArray[np.float64]
LEAST_VISIBLE = 0.6  # share of a thing's pixels
PALE = ("yellow", "white", "pink", "orange")  # signs of these colours have black letters


@dataclass(frozen=True, slots=True)
class Rendered:
    """A scene's image (H, W, 3), and the visible masks (n, H, W), outlines and boxes of its n things.

    Boxes are (left, top, right, bottom) in pixels, with exclusive right and bottom edges.
    """

    scene: Scene
    image: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    rings: tuple[tuple[Ring, ...], ...]
    boxes: tuple[tuple[float, float, float, float], ...]


def rendered_scene(seed: int, categories: tuple[str, ...] = SEEN, most: int = 5) -> Rendered:
    """The scene of a seed: the first attempt in which every thing is mostly visible and no mask has a hole."""
    return first_acceptable(lambda attempt: draw_scene(seed, attempt, categories, most))


def rendered_signs(seed: int, categories: tuple[str, ...] = SEEN) -> Rendered:
    """The scene of a seed with one or two signs."""
    return first_acceptable(lambda attempt: draw_signs(seed, attempt, categories))


def first_acceptable(draw: Callable[[int], Scene | None]) -> Rendered:
    """The first of the attempts 0, 1, 2, ... that is acceptable; `draw` returns None for one that is not."""
    for attempt in count():
        scene = draw(attempt)
        rendered = _acceptable(scene) if scene is not None else None
        if rendered is not None:
            return rendered
    raise AssertionError("unreachable: attempts do not end")


def jpeg(rendered: Rendered) -> bytes:
    """The image as a JPEG file of quality 95."""
    buffer = io.BytesIO()
    Image.fromarray(rendered.image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def _acceptable(scene: Scene) -> Rendered | None:
    """The rendered scene.

    None unless it has two things or more, and each is mostly visible, has no hole and at most two pieces, and is
    restored exactly by filling its outline.
    """
    if len(scene.things) < 2:
        return None
    image, masks, whole = render(scene)
    rings = []
    for mask, area in zip(masks, whole, strict=True):
        if int(mask.sum()) < LEAST_VISIBLE * area or has_hole(mask):
            return None
        pieces = outline(mask)
        if len(pieces) > 2 or not np.array_equal(refill(pieces, scene.size), mask):
            return None
        rings.append(pieces)
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)))
    return Rendered(scene, image, masks, tuple(rings), tuple(boxes))


def render(scene: Scene) -> tuple[NDArray[np.uint8], NDArray[np.bool_], list[int]]:
    """The image (H, W, 3), the visible masks (n, H, W), and the number of pixels that each thing covers alone."""
    width, height = scene.size
    canvas = _background(scene)
    for thing in scene.things:
        _shadow(canvas, thing)
    owner = np.full((height, width), -1, np.int64)
    whole = []
    for place, thing in enumerate(scene.things):
        covered = _paint(canvas, thing)
        if thing.word:
            tone = "black" if thing.colour in PALE else "white"
            paint(canvas, thing.word, thing.x, thing.y, thing.half, np.array(FIXED[tone], np.float64))
        whole.append(int((covered >= 0.5).sum()))
        top, left = _window(thing, height, width)[:2]
        view = owner[top : top + covered.shape[0], left : left + covered.shape[1]]
        view[covered >= 0.5] = place  # the later thing is in front
    noise = np.random.PCG64(scene.texture).random_raw(width * height * 3 // 8 + 1).view(np.uint8)[: width * height * 3]
    canvas += (noise.reshape(height, width, 3) >> 5).astype(np.float64) - 3.5
    image = np.floor(np.minimum(np.maximum(canvas, 0.0), 255.0) + 0.5).astype(np.uint8)
    masks = (
        np.stack([owner == place for place in range(len(scene.things))])
        if scene.things
        else np.zeros((0, height, width), bool)
    )
    return image, masks, whole


def _window(thing: Thing, height: int, width: int) -> tuple[int, int, int, int]:
    """The window of pixels that a thing can touch: top, left, bottom, right."""
    reach = 1.45 * thing.half + 2
    left, top = max(0, int(thing.x - reach)), max(0, int(thing.y - reach))
    return top, left, min(height, int(thing.y + reach) + 1), min(width, int(thing.x + reach) + 1)


def _paint(canvas: Map, thing: Thing) -> Map:
    """Draws a thing on the canvas, and returns the share of each pixel of its window that it covers."""
    top, left, bottom, right = _window(thing, *canvas.shape[:2])
    view = canvas[top:bottom, left:right]
    x = (np.arange(left, right) + 0.5 - thing.x)[None, :]
    y = (np.arange(top, bottom) + 0.5 - thing.y)[:, None]
    cosine = (1 - thing.tilt * thing.tilt) / (1 + thing.tilt * thing.tilt)
    sine = 2 * thing.tilt / (1 + thing.tilt * thing.tilt)
    along = (cosine * x + sine * y) * (-1.0 if thing.mirrored else 1.0)
    down = cosine * y - sine * x
    shade = 1.1 - 0.2 * np.minimum(np.maximum(down / thing.half * 0.5 + 0.5, 0.0), 1.0)
    covered = np.zeros(view.shape[:2])
    for part in SHAPES[thing.category]:
        near = _near(part, along, down, thing.half)
        distance = _distance(part, along[near], down[near], thing.half)
        cover = np.minimum(np.maximum(0.5 - distance, 0.0), 1.0)
        rim = np.minimum(np.maximum(distance + 2.0, 0.0), 1.0)  # 1 at the edge, 0 two pixels inside
        tone = _tone(thing.colour, part.tone)
        light = (shade[near] * (1.0 - 0.3 * rim))[..., None] * tone
        view[near] += cover[..., None] * (light - view[near])
        covered[near] = np.maximum(covered[near], cover)
    return covered


def _near(part: Part, along: Map, down: Map, half: float) -> tuple[slice, slice]:
    """The rows and columns of a window that a part can touch."""
    if isinstance(part, Ellipse):
        left, right, top, bottom = part.x - part.rx, part.x + part.rx, part.y - part.ry, part.y + part.ry
    else:
        xs, ys = [x for x, _ in part.points], [y for _, y in part.points]
        left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    inside = (
        (along > left * half - 2) & (along < right * half + 2) & (down > top * half - 2) & (down < bottom * half + 2)
    )
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _tone(colour: str, tone: str) -> Map:
    if tone in FIXED:
        return np.array(FIXED[tone], np.float64)
    base = np.array(COLOURS[colour], np.float64)
    if tone == "light":
        return base + 0.3 * (255.0 - base)
    return base * 0.76 if tone == "dark" else base


def _distance(part: Part, x: Map, y: Map, half: float) -> Map:
    """The approximate signed distance of each pixel to the edge of a part, in pixels; negative inside."""
    if isinstance(part, Ellipse):
        u, v = (x / half - part.x) / part.rx, (y / half - part.y) / part.ry
        return (np.sqrt(u * u + v * v) - 1.0) * (min(part.rx, part.ry) * half)
    farthest: Map | None = None
    points = part.points
    for place, (ax, ay) in enumerate(points):
        bx, by = points[(place + 1) % len(points)]
        dx, dy = bx - ax, by - ay
        length = float(np.sqrt(dx * dx + dy * dy))
        outward = (dy / length) * (x - ax * half) - (dx / length) * (y - ay * half)
        farthest = outward if farthest is None else np.maximum(farthest, outward)
    if farthest is None:
        raise ValueError("the polygon has no points")
    return farthest


def _shadow(canvas: Map, thing: Thing) -> None:
    """Darkens an ellipse at the foot of a thing."""
    height, width = canvas.shape[:2]
    top, left, bottom, right = _window(thing, height, width)
    u = (np.arange(left, right) + 0.5 - thing.x)[None, :] / (0.95 * thing.half)
    v = (np.arange(top, bottom) + 0.5 - (thing.y + 0.92 * thing.half))[:, None] / (0.22 * thing.half)
    dark = np.minimum(np.maximum(1.0 - (u * u + v * v), 0.0), 1.0)
    canvas[top:bottom, left:right] *= (1.0 - 0.32 * dark)[..., None]


_SKIES = {  # sky at the top and at the horizon, ground at the horizon and at the bottom
    "meadow": ((168, 212, 240), (222, 238, 244), (150, 190, 110), (110, 160, 84)),
    "hills": ((190, 220, 236), (240, 236, 220), (164, 178, 120), (126, 146, 96)),
    "sea": ((180, 214, 236), (236, 240, 240), (92, 150, 184), (60, 112, 156)),
    "night": ((30, 36, 74), (72, 72, 118), (58, 74, 72), (40, 52, 54)),
    "dusk": ((120, 100, 150), (244, 186, 140), (150, 116, 104), (110, 84, 84)),
}


def _background(scene: Scene) -> Map:
    """The background (H, W, 3) in 0 to 255."""
    width, height = scene.size
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    if scene.background in ("paper", "checks"):
        warm = np.array((236.0, 228.0, 212.0)) if scene.texture % 2 else np.array((222.0, 228.0, 232.0))
        step = 16 + scene.texture % 3 * 8
        cells = (x // step + y // step) % 2 if scene.background == "checks" else ((x + y) // step % 2)
        return warm - 10.0 * cells[..., None] - (14.0 * y / height)[..., None]
    high, low, near, far = (np.array(colour, np.float64) for colour in _SKIES[scene.background])
    horizon = scene.horizon * height + np.zeros_like(x)
    if scene.background == "hills":
        centre = (0.25 + 0.5 * (scene.texture % 7) / 6) * width
        bump = 1.0 - ((x - centre) / (0.6 * width)) * ((x - centre) / (0.6 * width))
        horizon = horizon - 0.25 * height * np.maximum(bump, 0.0)
    sky = high + (low - high) * (y / np.maximum(horizon, 1.0)).clip(0.0, 1.0)[..., None]
    depth = ((y - horizon) / np.maximum(height - horizon, 1.0)).clip(0.0, 1.0)
    ground = near + (far - near) * depth[..., None]
    below = (y - horizon + 0.5).clip(0.0, 1.0)[..., None]
    picture: Map = sky + below * (ground - sky)
    if scene.background == "sea":
        picture += (below[..., 0] * 7.0 * ((y // 5 + x // 23) % 3 == 0))[..., None]
    if scene.background == "night":
        raw = np.random.PCG64(scene.texture + 1).random_raw(60)
        for star in raw:
            sx, sy = int(star) % width, int(star) // 4096 % max(1, int(0.9 * scene.horizon * height))
            picture[sy, sx] = 235.0
    return picture
