"""Flickr30k Entities' files of the miniature."""

from __future__ import annotations

from pathlib import Path

from harness.core import Grounded
from tasks.miniature import flickr30k
from tasks.miniature.render import rendered_scene
from tests.tasks.miniature.scenes import samples_of


def test_phrases_are_in_their_sentences_and_boxes_in_their_images(miniature: Path) -> None:
    skipped = 0
    for sample in samples_of(miniature, "flickr30k"):
        question, target = sample.question, sample.target
        assert isinstance(target, Grounded) and len(target.boxes) == len(question.phrases) == len(target.types)
        skipped += "/EN#" not in question.text and "There" in question.text
        for phrase in question.phrases:
            assert question.text[phrase.start : phrase.end] == phrase.text
            assert phrase.text != "There"  # annotated as not visual, and not queried
        assert question.size is not None
        for box in (box for boxes in target.boxes for box in boxes):
            assert 1 <= box[0] < box[2] <= question.size.width and 1 <= box[1] < box[3] <= question.size.height
    assert skipped > 10


def test_boxes_are_those_of_the_scenes_counted_from_one(tmp_path: Path) -> None:
    """The files count pixels from 1 and name the last pixel: [left, right) becomes left + 1 to right."""
    scenes = [(flickr30k.FIRST_SEED + n, rendered_scene(flickr30k.FIRST_SEED + n)) for n in range(3)]
    flickr30k.annotate(tmp_path, "test", scenes)
    by_image = dict(zip((job.path for job in flickr30k.jobs(seed for seed, _ in scenes)), scenes, strict=True))
    samples = samples_of(tmp_path, "flickr30k", "test")
    assert len(samples) == 15  # five sentences for each image
    for sample in samples:
        _, rendered = by_image[sample.question.image]
        expected = {(left + 1, top + 1, right, bottom) for left, top, right, bottom in rendered.boxes}
        assert {box for boxes in sample.target.boxes for box in boxes} <= expected
