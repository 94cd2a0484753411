"""The Model of two towers: which tower answers which question, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from baselines.entry import Setting
from baselines.pretrained import Pretrained
from baselines.towers import model_of
from harness.core import Answer, Embedding, Failure, Match, Question


class Sizes:
    """An image is (width, height) and, as a second vector, (height, width); a text is (letters, 1), cut at 9."""

    identity = "sizes"

    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.tensor([[image.size, image.size[::-1]] for image in images], dtype=torch.float32)

    def embed_texts(self, texts: Sequence[str]) -> tuple[Tensor, Sequence[bool]]:
        return torch.tensor([[len(text), 1.0] for text in texts]), [len(text) > 9 for text in texts]


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_each_question_gets_the_answer_of_its_own_image_and_text(batch: int, tmp_path: Path) -> None:
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    Image.new("RGB", (50, 20)).save(tmp_path / "b.png")
    loaded = Pretrained(nn.Identity(), tmp_path, "weights", {"device": "cpu"})
    model = model_of(Sizes(), loaded, Setting(root=tmp_path, batch_size=batch))
    questions = [
        Question("a.png", None, "embed"),
        Question("", None, "embed", text="a long text"),
        Question("b.png", None, "match", text="three"),
        Question("missing.png", None, "embed"),
        Question("", None, "embed", text="ab"),
        Question("b.png", None, "embed"),
    ]
    answers = dict(model.answer(enumerate(questions)))
    assert isinstance(answers.pop(3), Failure)
    values = {ticket: answer.value for ticket, answer in answers.items() if isinstance(answer, Answer)}
    match = values.pop(2)
    assert values == {
        0: Embedding.of([[30, 40], [40, 30]]), 1: Embedding.of([11, 1]), 4: Embedding.of([2, 1]),
        5: Embedding.of([[50, 20], [20, 50]]),
    }  # fmt: skip
    # (50, 20) and (5, 1): 270 / sqrt(2900 * 26) = 0.98328; (20, 50) and (5, 1): 150 / the same, which is less.
    assert isinstance(match, Match) and match.score == pytest.approx(270 / (2900 * 26) ** 0.5)
    assert {ticket: a.truncated for ticket, a in answers.items() if isinstance(a, Answer) and a.truncated} == {1: True}
    assert model.fingerprint == "weights sizes" and model.provenance["device"] == "cpu"
