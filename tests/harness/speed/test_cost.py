"""Operations of a query against arithmetic, on torch's layers and on a tiny vision tower of transformers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPVisionConfig, CLIPVisionModel

from baselines import Batched, Setting
from harness.core import Answer, Question, Text
from harness.speed import cost


def model_of(work: Callable[[], Any], root: Path, tokens: int = 0) -> Batched:
    """A model that does some work for each batch."""

    def answer(images: Sequence[Any], questions: Sequence[Question]) -> list[Answer]:
        with torch.inference_mode():
            work()
        return [Answer(("a",), Text(("a",)), tokens=tokens) for _ in questions]

    Image.new("RGB", (8, 8)).save(root / "a.png")
    return Batched("x", answer, Setting(root=root))


QUESTION = Question("a.png", None, "vqa", text="b")


@pytest.mark.parametrize(("work", "operations"), [
    (lambda: torch.nn.Linear(7, 3)(torch.ones(5, 7)), 2 * 5 * 7 * 3),  # a product and a sum for each
    (lambda: torch.nn.Conv2d(3, 4, 5)(torch.ones(1, 3, 9, 11)), 2 * (5 * 7) * (3 * 5 * 5) * 4),  # 5 x 7 places
    (lambda: F.scaled_dot_product_attention(*(torch.ones(2, 4, 6, 8) for _ in range(3))), 2 * 2 * 2 * 4 * 6 * 6 * 8),
    (lambda: torch.ones(100).exp(), 0),
])  # fmt: skip
def test_operations_of_a_layer_follow_from_its_shapes(work: Callable[[], Any], operations: int, tmp_path: Path) -> None:
    counted = cost.of_query(model_of(work, tmp_path), QUESTION)
    assert counted == {"GFLOPs": operations / 1e9, "of": "one vqa query alone: 1 image"}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_operations_of_a_vision_tower_are_those_of_its_matrices(attention: str, tmp_path: Path) -> None:
    """17 tokens (16 patches of 8 x 8, and the class), 2 layers, width 32, inner width 64."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPVisionConfig(image_size=32, patch_size=8, **sizes, attn_implementation=attention)
    tower = CLIPVisionModel(config).eval()
    patches = 2 * 16 * (3 * 8 * 8) * 32
    projections, scores, inner = 4 * 2 * 17 * 32 * 32, 2 * 2 * 17 * 17 * 32, 2 * 2 * 17 * 32 * 64
    counted = cost.of_query(model_of(lambda: tower(torch.zeros(1, 3, 32, 32)), tmp_path, tokens=1200), QUESTION)
    assert counted["GFLOPs"] * 1e9 == pytest.approx(patches + 2 * (projections + scores + inner), abs=0.5)
    assert counted["of"] == "one vqa query alone: 1 image, 1,200 generated tokens"


def test_question_that_fails_and_work_that_raises_give_the_reason(tmp_path: Path) -> None:
    model = model_of(lambda: torch.ones(2) @ torch.ones(3), tmp_path)
    assert cost.of_query(model, QUESTION)["of"].startswith("not counted: RuntimeError: ")
    missing = cost.of_query(model, Question("none.png", None, "vqa", text="b"))
    assert missing.keys() == {"of"} and "none.png" in missing["of"]
