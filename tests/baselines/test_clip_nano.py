"""clip-nano: well above chance on drawings that it has not seen, and small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import harness
from baselines import find
from baselines.entry import Setting
from baselines.florence2 import WEIGHTS, load_parts
from harness.core import Embedding, Question, Source
from harness.florence2.config import NANO
from harness.speed import cost
from harness.speed.florence2_cost import of_vision
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
    assert run.provenance["model"]["parameters"] == 2_428_480
    assert run.provenance["cost"]["of"] == "one embed query alone: 1 image" and run.provenance["cost"]["GFLOPs"] > 0.3


def test_parameters_and_operations_are_those_of_the_two_towers(miniature: Path) -> None:
    """Image: DaViT at 128 x 128, then layers of 192 and 64 on 160 channels of 2 + 9 cells.  Text: one layer.

    The layer has width 96, inner width 192, and no padding: four maps, two products of attention, and two maps.
    """
    model = find("clip-nano").load(Setting(root=miniature, device="cpu"))
    [image, *_, text] = TASKS["flickr30k_retrieval"].load(Source(miniature, "test"))
    vision, _ = of_vision(NANO.vision, 128, 128)
    features = 160 * (2 + 3 * 3)
    assert cost.of_query(model, image.question)["GFLOPs"] * 1e9 == pytest.approx(vision + 2 * (features + 64) * 192)
    parts = load_parts(WEIGHTS / "florence2-nano-ft")
    n = len(parts.tokenizer.encode(text.question.text))
    layer = 2 * n * 4 * 96 * 96 + 2 * 2 * n * n * 96 + 2 * 2 * n * 96 * 192
    assert cost.of_query(model, text.question)["GFLOPs"] * 1e9 == pytest.approx(layer + 2 * 96 * 64)
    trained = load_file(WEIGHTS / "clip-nano" / "model.safetensors")
    used = [*parts.model.vision.state_dict().values(), *trained.values()]
    assert model.provenance["parameters"] == sum(map(torch.numel, used)) == 2_428_480


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
