"""The categories and their parts."""

from __future__ import annotations

from collections import Counter

import pytest

from tasks.miniature.render import rendered_scene
from tasks.miniature.shapes import COLOURS, FIXED, HELD_OUT, LIVING, SEEN, SHAPES, SIGN, Ellipse, Part, Polygon
from tasks.miniature.training import FIRST_TRAINING_SEED

PARTS = [(name, part) for name, parts in SHAPES.items() for part in parts]


def test_held_out_categories_are_in_no_training_scene() -> None:
    assert len(SEEN) + len(HELD_OUT) >= 12
    assert len(HELD_OUT) >= 2
    assert not set(SEEN) & set(HELD_OUT)
    trained = Counter(
        thing.category for seed in range(60) for thing in rendered_scene(FIRST_TRAINING_SEED + seed).scene.things
    )
    assert trained.keys() == set(SEEN)


def test_categories_are_seen_held_out_or_signs() -> None:
    assert set(SHAPES) == {*SEEN, *HELD_OUT, SIGN}
    assert set(LIVING) < set(SEEN)


@pytest.mark.parametrize(("name", "part"), PARTS, ids=[f"{name} {n}" for n, (name, _) in enumerate(PARTS)])
def test_part_is_convex_clockwise_and_within_the_frame(name: str, part: Part) -> None:
    assert part.tone in {"main", "light", "dark", *FIXED}
    if isinstance(part, Ellipse):
        assert part.rx > 0 and part.ry > 0
        assert abs(part.x) + part.rx <= 1.01
        return
    assert isinstance(part, Polygon)
    points = part.points
    for place, (ax, ay) in enumerate(points):
        (bx, by), (cx, cy) = points[(place + 1) % len(points)], points[(place + 2) % len(points)]
        # With y down, a clockwise turn has a positive cross product.
        assert (bx - ax) * (cy - by) - (by - ay) * (cx - bx) > 0
        assert -1 <= ax <= 1 and -1 <= ay <= 1


def test_colours_are_far_apart() -> None:
    colours = list(COLOURS.values())
    distances = [
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for place, one in enumerate(colours)
        for other in colours[:place]
    ]
    assert min(distances) > 50  # of 255
