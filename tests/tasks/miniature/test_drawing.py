"""Scenes drawn and saved, in one process and in two."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.miniature.drawing import Job, drawn
from tasks.miniature.render import jpeg, rendered_scene, rendered_signs

JOBS = [Job(1, "a/1.jpg"), Job(2, "b/2.jpg", signs=True, outlines=True), Job(3, "3.jpg", outlines=True)]


@pytest.mark.parametrize("processes", [1, 2])
def test_drawn_scenes_are_in_order_without_pixels(tmp_path: Path, processes: int) -> None:
    expected = [rendered_scene(1), rendered_signs(2), rendered_scene(3)]
    for job, scene, whole in zip(JOBS, drawn(tmp_path, JOBS, "drawing", processes), expected, strict=True):
        assert (scene.scene, scene.boxes) == (whole.scene, whole.boxes)
        assert scene.image.size == scene.masks.size == 0
        assert scene.rings == (whole.rings if job.outlines else ())
        assert (tmp_path / job.path).read_bytes() == jpeg(whole)


def test_jpeg_is_close_to_the_pixels() -> None:
    """Quality 95 without subsampling: the mean error is a few levels of 255."""
    rendered = rendered_scene(1)
    decoded = np.asarray(Image.open(io.BytesIO(jpeg(rendered)))).astype(float)
    assert np.abs(decoded - rendered.image).mean() < 3
