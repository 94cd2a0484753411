"""Boxes, outlines and masks drawn on an image: a region in blue, a target in green, an answer in magenta."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness.core import Box, Boxes, Grounded, Mask, Objects, Polygons, Quads, Size, Value
from harness.geometry.masks import pixels, rasterise

TARGET = (46, 160, 67)
ANSWER = (214, 0, 140)
REGION = (9, 105, 218)
SHORT_SIDE = 240  # pixels, at least
LONG_SIDE = 640  # pixels, at most, of an image that is enlarged
OPACITY = 0.35  # of a mask's colour
TEXT = 12  # pixels, the height of a label
Line = tuple[tuple[float, float], ...]


def overlay(
    image: Image.Image,
    answer: Value | None,
    target: Value | None = None,
    *,
    region: Box | None = None,
    first: bool = False,
    labels: bool = True,
) -> Image.Image:
    """An RGB image with a question's region, a target and an answer on it; a small image is enlarged.

    Coordinates are pixels of the image as given.  `first` draws an answer's first box alone.
    """
    size = Size(*image.size)
    scale = max(1.0, SHORT_SIDE / min(size))
    scale = min(scale, LONG_SIDE / max(size)) if max(size) * scale > LONG_SIDE else scale
    for value, colour in ((target, TARGET), (answer, ANSWER)):
        image = _tinted(image, value, size, colour)
    shown = image.resize((round(size.width * scale), round(size.height * scale)), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(shown)
    about = None if region is None else Boxes((region,))
    for value, colour, width in ((about, REGION, 4), (target, TARGET, 4), (answer, ANSWER, 2)):
        for place, line in enumerate(lines_of(value, first=first)):
            points = [(x * scale, y * scale) for x, y in (*line, line[0])]
            pen.line(points, fill=colour, width=width, joint="curve")
            if labels and isinstance(value, Boxes | Quads) and place < len(value.labels):
                _label(pen, points[0], value.labels[place], colour)
    return shown


def _label(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    """A label on its colour, above a corner where there is room."""
    font = ImageFont.load_default(TEXT)
    x, y = corner[0], max(0.0, corner[1] - TEXT - 4)
    left, top, right, bottom = pen.textbbox((x + 2, y + 1), text, font=font)
    pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=colour)
    pen.text((x + 2, y + 1), text, fill=(255, 255, 255), font=font)


def _tinted(image: Image.Image, value: Value | None, size: Size, colour: tuple[int, int, int]) -> Image.Image:
    """The image with a mask's pixels tinted; the same where the value is no mask."""
    if not isinstance(value, Polygons | Mask):
        return image
    inside = pixels(rasterise(value, size))
    shown = np.array(image, dtype=np.float64)
    shown[inside] = (1 - OPACITY) * shown[inside] + OPACITY * np.array(colour)
    return Image.fromarray(shown.round().astype(np.uint8))


def lines_of(value: Value | None, *, first: bool = False) -> list[Line]:
    """The closed lines that a value is drawn as; `first` keeps a value's first box alone."""
    boxes = value.boxes if isinstance(value, Boxes | Objects) else ()
    if isinstance(value, Grounded):
        boxes = tuple(box for found in value.boxes for box in found)
    if boxes:
        return [((x0, y0), (x1, y0), (x1, y1), (x0, y1)) for x0, y0, x1, y1 in (boxes[:1] if first else boxes)]
    if isinstance(value, Quads):
        return list(value.quads)
    return list(value.rings) if isinstance(value, Polygons) else []
