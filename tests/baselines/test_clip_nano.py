"""clip-nano: well above chance on drawings that it has not seen, and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import harness
from baselines import find
from baselines.entry import Setting
from baselines.florence2 import WEIGHTS
from harness.core import Embedding, Question, Source
from tasks import TASKS
from tests.baselines import rivals


@pytest.mark.parametrize(("task", "images"), [("flickr30k_retrieval", 60), ("coco_retrieval", 90)])
def test_recall_is_far_above_chance(task: str, images: int, miniature: Path, tmp_path: Path) -> None:
    """By chance, R@1 of a caption is one in the number of images: 1.7 and 1.1 %."""
    run = harness.evaluate(task, "clip-nano", data="miniature", out=tmp_path)
    assert (run.status, run.counts["image queries"], run.spec.protocol) == ("complete", images, "fine_tuned")
    for name in ("image-to-text R@1", "text-to-image R@1"):
        low = run.metrics[name].low
        assert low is not None and low > 60
    assert run.metrics["truncated"].value == 0


def test_vectors_do_not_depend_on_the_batch(miniature: Path) -> None:
    samples = list(TASKS["flickr30k_retrieval"].load(Source(miniature, "test")))
    asked = list(enumerate(sample.question for sample in [*samples[:5], *samples[-5:]]))
    asked.append((10, Question(samples[0].question.image, None, "match", text=samples[-1].question.text)))
    entry = find("clip-nano")
    alone = rivals.answers(entry.load(Setting(root=miniature, device="cpu", batch_size=1)), asked)
    mixed = rivals.answers(entry.load(Setting(root=miniature, device="cpu", batch_size=7)), asked[::-1])
    for ticket in range(10):
        one, other = alone[ticket].value, mixed[ticket].value
        assert isinstance(one, Embedding) and isinstance(other, Embedding) and one.array.shape == (1, 64)
        np.testing.assert_allclose(one.array.astype(float), other.array.astype(float), atol=2e-3)


def test_weights_of_all_embedded_models_stay_below_16_mb() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 16_000_000
