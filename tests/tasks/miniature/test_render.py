"""Pixels, masks, outlines and boxes of a scene agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.core import Polygons
from harness.geometry.boxes import iou
from harness.geometry.masks import area, pixels, rasterise
from tasks.miniature.render import LEAST_VISIBLE, first_acceptable, render, rendered_scene, rendered_signs
from tasks.miniature.scene import draw_scene


def test_filled_outlines_are_the_visible_masks() -> None:
    """pycocotools fills the outlines to the pixels of the drawing, without hidden parts."""
    checked = 0
    for seed in range(12):
        rendered = rendered_scene(seed)
        size = rendered.scene.size
        for place, rings in enumerate(rendered.rings):
            filled = rasterise(Polygons(rings), size)
            visible = rendered.masks[place]
            both = np.logical_and(pixels(filled), visible).sum()
            assert both / np.logical_or(pixels(filled), visible).sum() > 0.98
            left, top, right, bottom = rendered.boxes[place]
            rows, columns = np.nonzero(visible)
            assert iou((left, top, right, bottom), (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)) > 0.9
            checked += area(filled) > 0
    assert checked > 20


def test_rendering_is_deterministic() -> None:
    one, other = rendered_scene(3), rendered_scene(3)
    assert np.array_equal(one.image, other.image) and one.rings == other.rings


def test_things_are_mostly_visible_and_later_things_are_in_front() -> None:
    for seed in range(8):
        scene = rendered_scene(seed).scene
        _, masks, whole = render(scene)
        assert not (masks.sum(0) > 1).any()  # a pixel belongs to one thing at most
        assert all(mask.sum() >= LEAST_VISIBLE * covered for mask, covered in zip(masks, whole, strict=True))
        assert masks[-1].sum() == whole[-1]  # nothing is in front of the last thing


def test_thing_alone_covers_the_pixels_counted_for_it() -> None:
    scene = rendered_scene(5).scene
    _, _, whole = render(scene)
    for thing, covered in zip(scene.things, whole, strict=True):
        _, masks, _ = render(replace(scene, things=(thing,)))
        assert masks[0].sum() == covered


def test_first_acceptable_skips_scenes_that_are_none() -> None:
    attempts: list[int] = []

    def draw(attempt: int) -> object:
        attempts.append(attempt)
        return None if attempt < 2 else rendered_scene(0).scene

    assert first_acceptable(draw).scene == rendered_scene(0).scene  # type: ignore[arg-type]
    assert attempts == [0, 1, 2]


def test_scene_without_things_is_background_only() -> None:
    image, masks, whole = render(replace(draw_scene(0, 0), things=()))
    assert image.dtype == np.uint8 and masks.shape[0] == 0 and whole == []


def test_signs_have_words() -> None:
    assert all(any(thing.word for thing in rendered_signs(seed).scene.things) for seed in range(5))
