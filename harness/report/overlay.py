"""Boxes, outlines and masks drawn on an image: the region of a question in blue, targets green, predictions magenta."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from harness.core import Box, Boxes, Grounded, Mask, Objects, Polygons, Quads, Ring, Size, Value
from harness.geometry.masks import pixels, rasterise

TARGET = (46, 160, 67)
ANSWER = (214, 0, 140)
REGION = (9, 105, 218)
SHORT_SIDE = 240  # pixels, at least, unless the long side is at its limit
LONG_SIDE = 640  # pixels, at most
OPACITY = 0.35  # of the tint of a mask
TEXT = 12  # pixels, the height of a label


def overlay(
    image: Image.Image,
    answer: Value | None,
    target: Value | None = None,
    *,
    region: Box | None = None,
    first: bool = False,
    labels: bool = True,
) -> Image.Image:
    """The image with the region of the question, the target and the answer drawn on it, as RGB.

    Coordinates are pixels of `image`; they are clipped to at most one image size outside it.  The result is scaled to
    SHORT_SIDE and LONG_SIDE.  `first` draws only the first box of each value; `labels` draws the labels of boxes and
    quads.

    ValueError for a mask that is not of the image's size.
    """
    size = Size(*image.size)
    scale = max(1.0, SHORT_SIDE / min(size))
    scale = min(scale, LONG_SIDE / max(size)) if max(size) * scale > LONG_SIDE else scale
    for value, colour in ((target, TARGET), (answer, ANSWER)):
        image = _tinted(image, value, size, colour)
    sides = max(1, round(size.width * scale)), max(1, round(size.height * scale))
    shown = image.resize(sides, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(shown)
    region_box = None if region is None else Boxes((region,))
    for value, colour, width in ((region_box, REGION, 4), (target, TARGET, 4), (answer, ANSWER, 2)):
        for place, ring in enumerate(rings_of(value, first=first)):
            clipped = np.clip((*ring, ring[0]), [-side for side in size], [2 * side for side in size])
            points = [(x * scale, y * scale) for x, y in clipped.tolist()]
            pen.line(points, fill=colour, width=width, joint="curve")
            if labels and isinstance(value, Boxes | Quads) and place < len(value.labels):
                _label(pen, points[0], value.labels[place], colour)
    return shown


def _label(pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, colour: tuple[int, int, int]) -> None:
    """Draws white text on a filled rectangle, above the corner if there is space."""
    font = ImageFont.load_default(TEXT)
    x, y = corner[0], max(0.0, corner[1] - TEXT - 4)
    left, top, right, bottom = pen.textbbox((x + 2, y + 1), text, font=font)
    pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=colour)
    pen.text((x + 2, y + 1), text, fill=(255, 255, 255), font=font)


def _tinted(image: Image.Image, value: Value | None, size: Size, colour: tuple[int, int, int]) -> Image.Image:
    """The image with the pixels of a mask or of polygons tinted; unchanged for any other value."""
    if not isinstance(value, Polygons | Mask):
        return image
    inside = pixels(rasterise(value, size))
    shown = np.array(image, dtype=np.float64)
    shown[inside] = (1 - OPACITY) * shown[inside] + OPACITY * np.array(colour)
    return Image.fromarray(shown.round().astype(np.uint8))


def rings_of(value: Value | None, *, first: bool = False) -> list[Ring]:
    """The closed lines that represent a value, in its coordinates; none for a mask or text.

    `first` keeps only the first box of a value with boxes.
    """
    boxes = value.boxes if isinstance(value, Boxes | Objects) else ()
    if isinstance(value, Grounded):
        boxes = tuple(box for of_phrase in value.boxes for box in of_phrase)
    if boxes:
        return [((x0, y0), (x1, y0), (x1, y1), (x0, y1)) for x0, y0, x1, y1 in (boxes[:1] if first else boxes)]
    if isinstance(value, Quads):
        return list(value.quads)
    return list(value.rings) if isinstance(value, Polygons) else []
