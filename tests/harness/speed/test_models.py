"""Any model as a system: batches of what waits, answers by ticket, and images that are opened once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from baselines import Batched, Setting
from harness.core import Answer, Failure, Question, Text
from harness.errors import DataError
from harness.speed.models import WholeModel, decoded
from harness.speed.scenarios import ask


def questions(root: Path, count: int) -> list[Question]:
    for number in range(count):
        Image.new("RGB", (10 + number, 8)).save(root / f"{number}.png")
    return [Question(f"{number}.png", None, "vqa", text=str(number)) for number in range(count)]


def test_queries_are_answered_in_batches_with_one_number_for_each_token(tmp_path: Path) -> None:
    batches: list[int] = []

    def answer(images: Sequence[Any], asked: Sequence[Question]) -> list[Answer]:
        batches.append(len(images))
        return [
            Answer((f"{one.text} {image.width}",), Text((one.text,)), tokens=int(one.text) + 1)
            for image, one in zip(images, asked, strict=True)
        ]

    model = Batched("counts, version 1", answer, Setting(root=tmp_path, batch_size=8))
    opened = decoded(tmp_path, questions(tmp_path, 5))
    for path in tmp_path.glob("*.png"):
        path.unlink()  # timing opens no file
    system = WholeModel(model, opened, 2)
    answers = ask(system, [4, 0, 3, 0])
    assert batches == [2, 2]
    assert list(map(len, answers)) == [5, 1, 4, 1]
    assert answers[1] == answers[3] and answers[0][0] != answers[2][0]
    assert not system.busy


def test_image_that_cannot_be_opened_and_a_failure_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.png"):
        decoded(tmp_path, [Question("nothing.png", None, "vqa", text="")])
    model = Batched("fails", lambda images, asked: [Failure("no idea")], Setting(root=tmp_path))
    with pytest.raises(DataError, match="a question cannot be timed: no idea"):
        ask(WholeModel(model, decoded(tmp_path, questions(tmp_path, 1)), 1), [0])
