"""Training scenes: deterministic, of other seeds, and with targets that agree with the scene."""

from __future__ import annotations

from collections import Counter

import numpy as np

from harness.core import Boxes, Polygons, Quads, Text
from harness.geometry.masks import overlap, rasterise
from tasks.miniature.lettering import GLYPHS
from tasks.miniature.render import rendered_scene, rendered_signs
from tasks.miniature.training import (
    CATEGORIES,
    FIRST_TRAINING_SEED,
    OUTLINE_POINTS,
    WITH_SIGNS,
    every_scene,
)


def test_scene_is_deterministic_and_refers_to_its_boxes() -> None:
    scene = every_scene(FIRST_TRAINING_SEED + 3)
    again = every_scene(FIRST_TRAINING_SEED + 3)
    assert np.array_equal(scene.image, again.image)
    assert scene.samples == again.samples
    boxes = [box for box, _ in scene.things]
    for sample in scene.samples:
        if sample.question.kind == "refer" and isinstance(sample.target, Boxes):
            assert sample.target.boxes[0] in boxes


def test_simplified_outlines_are_close_to_the_masks() -> None:
    rendered, scene = rendered_scene(FIRST_TRAINING_SEED), every_scene(FIRST_TRAINING_SEED)
    size = rendered.scene.size
    exact = {rasterise(Polygons(rings), size) for rings in rendered.rings}
    for sample in scene.samples:
        if isinstance(sample.target, Polygons):
            assert all(len(ring) <= OUTLINE_POINTS for ring in sample.target.rings)
            simple = rasterise(sample.target, size)
            best = max(both / either for both, either in (overlap(simple, mask) for mask in exact))
            assert best > 0.8


def test_every_scene_has_all_kinds() -> None:
    kinds = Counter(s.question.kind for seed in range(8) for s in every_scene(FIRST_TRAINING_SEED + seed).samples)
    assert set(kinds) == {"caption", "detailed_caption", "more_detailed_caption", "detect", "find", "ground", "refer",
                          "segment", "vqa", "ocr", "ocr_regions"}  # fmt: skip


def test_every_third_scene_has_signs_with_their_letters() -> None:
    letters = tuple(GLYPHS)
    for seed in range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 6):
        scene = every_scene(seed)
        expected = Counter[str]()
        if seed % WITH_SIGNS == 0:
            expected.update("".join(thing.word for thing in rendered_signs(seed).scene.things))
        found = Counter(letters[classes[2] - 1] for _, classes in scene.things if classes[2])
        assert found == expected
        quads = [sample.target for sample in scene.samples if isinstance(sample.target, Quads)]
        texts = [s.target for s in scene.samples if s.question.kind == "ocr" and isinstance(s.target, Text)]
        assert bool(quads) == bool(expected)
        assert [text.texts[0] for text in texts] == [" ".join(words.labels) for words in quads]


def test_phrase_to_find_has_the_boxes_of_all_things_that_it_fits() -> None:
    for seed in range(FIRST_TRAINING_SEED + 1, FIRST_TRAINING_SEED + 9, 3):  # without signs
        rendered = rendered_scene(seed)
        for sample in every_scene(seed).samples:
            if sample.question.kind == "find" and isinstance(sample.target, Boxes):
                phrase = sample.question.phrases[0].text
                fitting = sorted(
                    box
                    for box, thing in zip(rendered.boxes, rendered.scene.things, strict=True)
                    if phrase in (thing.category, f"{thing.colour} {thing.category}", f"{thing.colour} thing")
                )
                assert list(sample.target.boxes) == fitting


def test_classes_are_category_and_colour() -> None:
    rendered = rendered_scene(FIRST_TRAINING_SEED)
    classes = [classes[0] for _, classes in every_scene(FIRST_TRAINING_SEED).things]
    assert [CATEGORIES[number] for number in classes] == [thing.category for thing in rendered.scene.things]
