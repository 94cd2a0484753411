"""The smaller world for studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.miniature import small_world
from tests.tasks.miniature.scenes import samples_of


def test_scene_is_small_with_two_things() -> None:
    counts = set()
    for seed in range(small_world.FIRST_TRAINING_SEED, small_world.FIRST_TRAINING_SEED + 20):
        scene, rendered = small_world.small_scene(seed), small_world.rendered_small(seed)
        assert scene.image.shape == (64, 64, 3)
        assert np.array_equal(scene.image, rendered.image)
        counts.add(len(scene.things))
        for (box, (category, colour)), thing in zip(scene.things, rendered.scene.things, strict=True):
            assert box in rendered.boxes
            assert small_world.CATEGORIES[category] == thing.category
            assert small_world.COLOURS[colour] == thing.colour
        assert {sample.question.kind for sample in scene.samples} == {
            "caption", "detect", "ground", "refer", "segment", "detailed_caption", "more_detailed_caption",
        }  # fmt: skip
    assert counts == {2}


@pytest.mark.parametrize(
    ("task", "split"), [("coco_caption", "test"), ("coco_detection", "val2017"), ("flickr30k", "test"),
                        ("refcoco", "val"), ("refcoco_res", "val")],
)  # fmt: skip
def test_evaluation_files_load_with_their_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, split: str
) -> None:
    monkeypatch.setattr(small_world, "EVALUATED", 4)
    small_world.write(tmp_path)
    samples = samples_of(tmp_path, task, split)
    assert len({sample.question.image for sample in samples}) == 4
    with Image.open(tmp_path / samples[0].question.image) as image:
        assert image.size == (64, 64)
