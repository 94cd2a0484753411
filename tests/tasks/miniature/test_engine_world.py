"""Scenes for the data engine: the truth is that of the drawing."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.images import size_of
from tasks.miniature import engine_world
from tasks.miniature.engine_world import FIRST_SEED, objects, reference_of, sketched, truth_of, truths_of
from tasks.miniature.render import rendered_scene, rendered_signs
from tasks.miniature.telling import words


def test_truth_of_a_file_is_that_of_the_scene(tmp_path: Path) -> None:
    engine_world.write(tmp_path, 2)
    truths = truths_of(tmp_path)
    assert list(truths) == [reference_of(FIRST_SEED), reference_of(FIRST_SEED + 1)]
    signs, plain = rendered_signs(FIRST_SEED), rendered_scene(FIRST_SEED + 1)
    for reference, rendered in zip(truths, (signs, plain), strict=True):
        truth = truths[reference]
        assert truth == truth_of(rendered)
        assert size_of(tmp_path, reference) == truth.size == rendered.scene.size
        assert tuple(thing.box for thing in truth.things) == rendered.boxes
        assert [thing.category for thing in truth.things] == [thing.category for thing in rendered.scene.things]
    assert {(t.word, t.quad) for t in truths[reference_of(FIRST_SEED)].things if t.word} == set(words(signs))


def test_objects_are_every_thing_of_every_image(tmp_path: Path) -> None:
    engine_world.write(tmp_path, 2)
    truths = truths_of(tmp_path)
    assert len(list(objects(truths))) == sum(len(truth.things) for truth in truths.values())


def test_sketch_has_the_things_of_the_scene_inside_the_image() -> None:
    truth = sketched(FIRST_SEED + 1)
    assert 1 <= len(truth.things) <= 5
    for thing in truth.things:
        left, top, right, bottom = thing.box
        assert 0 <= left < right <= truth.size.width
        assert 0 <= top < bottom <= truth.size.height


def test_root_without_truth_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"know the embedded world alone.*--data miniature"):
        truths_of(tmp_path)
