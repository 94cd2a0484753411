"""The shapes of the categories: convex parts from back to front, in coordinates of -1 to 1 with y down.

A part is a polygon or an ellipse with a tone.  The tones `main`, `light` and `dark` depend on the object's colour; the
others are fixed colours.  No shape has a hole in its outline.
"""

from __future__ import annotations

from dataclasses import dataclass

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Polygon:
    """A convex polygon; the points are clockwise in the image."""

    points: Points
    tone: str = "main"


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse by its centre and radii."""

    x: float
    y: float
    rx: float
    ry: float
    tone: str = "main"


Part = Polygon | Ellipse


def _rect(left: float, top: float, right: float, bottom: float, tone: str = "main") -> Polygon:
    return Polygon(((left, top), (right, top), (right, bottom), (left, bottom)), tone)


def _dome(left: float, top: float, right: float, bottom: float, tone: str = "main") -> Polygon:
    """The upper half of an ellipse as eleven points, by the rational parametrisation of the circle."""
    middle, rx, ry = (left + right) / 2, (right - left) / 2, bottom - top
    points = []
    for step in range(-5, 6):
        t = step / 5
        points.append((middle + rx * 2 * t / (1 + t * t), bottom - ry * (1 - t * t) / (1 + t * t)))
    return Polygon(tuple(points), tone)


def _eyes(x: float, y: float, apart: float, size: float) -> tuple[Part, ...]:
    whites = tuple(Ellipse(x + side * apart, y, size, size, "white") for side in (-1, 1))
    return whites + tuple(Ellipse(x + side * apart, y, size / 2, size / 2, "black") for side in (-1, 1))


SHAPES: dict[str, tuple[Part, ...]] = {
    "house": (
        _rect(0.4, -0.85, 0.62, -0.3, "brick"),
        _rect(-0.75, -0.15, 0.75, 0.95),
        Polygon(((0.0, -0.95), (1.0, -0.1), (-1.0, -0.1)), "dark"),
        _rect(-0.16, 0.35, 0.2, 0.95, "wood"),
        _rect(0.35, 0.12, 0.62, 0.42, "glass"),
        _rect(-0.6, 0.12, -0.33, 0.42, "glass"),
    ),
    "tree": (
        _rect(-0.16, 0.2, 0.16, 1.0, "wood"),
        Ellipse(-0.42, 0.05, 0.5, 0.42, "dark"),
        Ellipse(0.42, 0.05, 0.5, 0.42, "dark"),
        Ellipse(0.0, -0.35, 0.62, 0.6),
        Ellipse(-0.18, -0.5, 0.22, 0.2, "light"),
    ),
    "car": (
        Polygon(((-0.35, -0.6), (0.35, -0.6), (0.7, -0.05), (-0.6, -0.05)), "dark"),
        Polygon(((-0.28, -0.48), (-0.02, -0.48), (-0.02, -0.1), (-0.44, -0.1)), "glass"),
        Polygon(((0.06, -0.48), (0.3, -0.48), (0.52, -0.1), (0.06, -0.1)), "glass"),
        _rect(-1.0, -0.1, 1.0, 0.4),
        _rect(0.86, 0.0, 1.0, 0.14, "gold"),
        Ellipse(-0.52, 0.4, 0.26, 0.26, "black"),
        Ellipse(0.52, 0.4, 0.26, 0.26, "black"),
        Ellipse(-0.52, 0.4, 0.1, 0.1, "white"),
        Ellipse(0.52, 0.4, 0.1, 0.1, "white"),
    ),
    "boat": (
        _rect(-0.07, -0.95, 0.07, 0.35, "wood"),
        Polygon(((0.05, -0.85), (0.8, 0.22), (0.05, 0.22)), "light"),
        Polygon(((-0.05, -0.6), (-0.05, 0.22), (-0.6, 0.22)), "white"),
        Polygon(((-1.0, 0.2), (1.0, 0.2), (0.65, 0.8), (-0.65, 0.8))),
        Polygon(((-1.0, 0.2), (1.0, 0.2), (0.92, 0.34), (-0.92, 0.34)), "dark"),
    ),
    "fish": (
        Polygon(((0.4, 0.0), (1.0, -0.5), (0.84, 0.06)), "dark"),
        Polygon(((0.4, 0.0), (0.84, -0.06), (1.0, 0.5)), "dark"),
        Polygon(((0.2, -0.7), (0.32, -0.25), (-0.35, -0.25)), "dark"),
        Ellipse(-0.15, 0.0, 0.78, 0.46),
        Ellipse(-0.1, 0.16, 0.5, 0.2, "light"),
        Ellipse(-0.58, -0.1, 0.12, 0.12, "white"),
        Ellipse(-0.6, -0.1, 0.06, 0.06, "black"),
    ),
    "mushroom": (
        Polygon(((-0.24, 0.0), (0.24, 0.0), (0.36, 0.95), (-0.36, 0.95)), "cream"),
        _dome(-0.95, -0.85, 0.95, 0.15),
        Ellipse(-0.4, -0.25, 0.16, 0.15, "white"),
        Ellipse(0.15, -0.5, 0.15, 0.14, "white"),
        Ellipse(0.5, -0.1, 0.14, 0.12, "white"),
    ),
    "rocket": (
        Polygon(((-0.2, 0.6), (0.2, 0.6), (0.0, 1.0)), "flame"),
        Polygon(((-0.2, 0.2), (-0.2, 0.65), (-0.7, 0.85)), "dark"),
        Polygon(((0.2, 0.2), (0.7, 0.85), (0.2, 0.65)), "dark"),
        Ellipse(0.0, -0.1, 0.36, 0.85),
        Polygon(((0.0, -1.0), (0.27, -0.6), (-0.27, -0.6)), "dark"),
        Ellipse(0.0, -0.15, 0.18, 0.18, "white"),
        Ellipse(0.0, -0.15, 0.12, 0.12, "glass"),
    ),
    "flower": (
        _rect(-0.06, -0.2, 0.06, 1.0, "leaf"),
        Ellipse(0.26, 0.6, 0.26, 0.12, "leaf"),
        Ellipse(-0.26, 0.72, 0.26, 0.12, "leaf"),
        Ellipse(0.0, -0.74, 0.24, 0.26),
        Ellipse(0.0, 0.04, 0.24, 0.26),
        Ellipse(-0.36, -0.55, 0.26, 0.24, "light"),
        Ellipse(0.36, -0.55, 0.26, 0.24, "light"),
        Ellipse(-0.36, -0.15, 0.26, 0.24, "light"),
        Ellipse(0.36, -0.15, 0.26, 0.24, "light"),
        Ellipse(0.0, -0.35, 0.26, 0.26, "gold"),
    ),
    "umbrella": (
        _rect(-0.06, -0.2, 0.06, 0.85, "wood"),
        _rect(-0.06, 0.75, 0.32, 0.9, "wood"),
        _dome(-1.0, -0.85, 1.0, 0.05),
        _dome(-0.34, -0.85, 0.34, 0.05, "light"),
        Polygon(((0.0, -1.0), (0.06, -0.8), (-0.06, -0.8)), "dark"),
    ),
    "robot": (
        _rect(-0.05, -1.0, 0.05, -0.7, "black"),
        _rect(-0.82, -0.2, -0.5, 0.4, "dark"),
        _rect(0.5, -0.2, 0.82, 0.4, "dark"),
        _rect(-0.42, 0.4, -0.1, 1.0, "dark"),
        _rect(0.1, 0.4, 0.42, 1.0, "dark"),
        _rect(-0.55, -0.25, 0.55, 0.55),
        _rect(-0.42, -0.85, 0.42, -0.2, "light"),
        *_eyes(0.0, -0.58, 0.2, 0.12),
        _rect(-0.22, -0.38, 0.22, -0.3, "black"),
        _rect(-0.3, 0.0, 0.3, 0.3, "grey"),
    ),
    "cat": (
        Polygon(((-0.72, -0.95), (-0.1, -0.45), (-0.7, 0.1)), "dark"),
        Polygon(((0.72, -0.95), (0.7, 0.1), (0.1, -0.45)), "dark"),
        Ellipse(0.0, 0.1, 0.85, 0.72),
        *_eyes(0.0, -0.02, 0.35, 0.17),
        Polygon(((-0.12, 0.28), (0.12, 0.28), (0.0, 0.42)), "nose"),
        Ellipse(0.0, 0.56, 0.24, 0.07, "black"),
    ),
    "cup": (
        Ellipse(0.55, 0.05, 0.42, 0.42, "dark"),
        Ellipse(0.55, 0.05, 0.22, 0.22, "cream"),
        Polygon(((-0.75, -0.6), (0.5, -0.6), (0.36, 0.85), (-0.6, 0.85))),
        Ellipse(-0.125, -0.6, 0.62, 0.17, "light"),
        Ellipse(-0.125, -0.58, 0.5, 0.11, "coffee"),
    ),
    "bird": (
        Polygon(((0.35, 0.0), (1.0, -0.3), (0.95, 0.25)), "dark"),
        Polygon(((-0.75, -0.3), (-0.7, -0.1), (-1.0, -0.15)), "gold"),
        Ellipse(0.05, 0.15, 0.6, 0.42),
        Ellipse(-0.48, -0.25, 0.32, 0.32),
        Ellipse(0.15, 0.1, 0.36, 0.22, "dark"),
        Ellipse(-0.55, -0.32, 0.08, 0.08, "black"),
        _rect(-0.12, 0.5, -0.04, 0.8, "gold"),
        _rect(0.12, 0.5, 0.2, 0.8, "gold"),
    ),
    "snowman": (
        Ellipse(0.0, 0.55, 0.55, 0.45),
        Ellipse(0.0, -0.05, 0.42, 0.38),
        Ellipse(0.0, -0.5, 0.3, 0.3, "light"),
        _rect(-0.34, -0.78, 0.34, -0.7, "black"),
        _rect(-0.22, -1.0, 0.22, -0.72, "black"),
        *_eyes(0.0, -0.55, 0.11, 0.06),
        Polygon(((0.0, -0.47), (0.3, -0.42), (0.0, -0.39)), "flame"),
    ),
    "balloon": (
        _rect(-0.03, 0.3, 0.03, 1.0, "grey"),
        Polygon(((0.0, 0.3), (0.12, 0.48), (-0.12, 0.48)), "dark"),
        Ellipse(0.0, -0.33, 0.58, 0.66),
        Ellipse(-0.22, -0.55, 0.14, 0.2, "light"),
    ),
    "ice cream": (
        Polygon(((-0.5, 0.0), (0.5, 0.0), (0.0, 1.0)), "wood"),
        Ellipse(-0.28, -0.1, 0.36, 0.34, "dark"),
        Ellipse(0.28, -0.1, 0.36, 0.34),
        Ellipse(0.0, -0.5, 0.38, 0.38, "light"),
        Ellipse(0.0, -0.88, 0.1, 0.1, "nose"),
    ),
}
HELD_OUT = ("bird", "snowman", "balloon", "ice cream")
SEEN = tuple(name for name in SHAPES if name not in HELD_OUT)
SIGN = "sign"  # in scenes with words only
SHAPES[SIGN] = (_rect(-0.07, 0.4, 0.07, 1.0, "wood"), _rect(-1.0, -0.5, 1.0, 0.5))
LIVING = ("cat", "fish", "robot")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 48, 44),
    "orange": (242, 140, 28),
    "yellow": (246, 214, 56),
    "green": (62, 166, 74),
    "blue": (46, 108, 216),
    "purple": (136, 70, 188),
    "pink": (246, 140, 184),
    "white": (238, 238, 236),
}
FIXED: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (38, 38, 44),
    "grey": (150, 154, 162),
    "wood": (134, 88, 52),
    "brick": (170, 92, 72),
    "glass": (176, 220, 240),
    "gold": (248, 206, 84),
    "cream": (244, 232, 204),
    "flame": (252, 150, 40),
    "leaf": (72, 144, 66),
    "nose": (232, 110, 130),
    "coffee": (92, 58, 40),
}
