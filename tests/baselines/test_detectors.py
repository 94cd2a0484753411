"""What all detectors share: pairs in order, boxes in pixels, and batches by key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.detectors import Detecting, Found, Prepared, as_boxes, clipped, corners, top_pairs
from baselines.entry import Setting
from baselines.pretrained import Pretrained
from harness.core import Answer, Boxes, Phrase, Question, Size
from harness.metrics.labels import detections_in
from tests.baselines import rivals

VALUE = Boxes(((0.0, 0.0, 1.0, 1.0),), ("circle",), (0.5,))


def test_top_pairs_are_highest_first_and_of_equal_scores_the_first() -> None:
    scores = np.array([[0.2, 0.9], [0.5, 0.5], [0.1, 0.7]], np.float32)
    rows, columns = top_pairs(scores, 4)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (2, 1), (1, 0), (1, 1)]


def test_corners_are_in_pixels_of_an_image_that_is_not_square() -> None:
    # centre (0.5, 0.25), sides (0.5, 0.5) of 200 x 80: x 100 +- 50, y 20 +- 20
    assert corners(torch.tensor([[0.5, 0.25, 0.5, 0.5]]), 200, 80).tolist() == [[50, 0, 150, 40]]


def test_clipped_boxes_are_inside_the_image() -> None:
    boxes = np.array([[-5, -5, 300, 300], [10, 20, 30, 40]], np.float32)
    assert clipped(boxes, Size(200, 80)).tolist() == [[0, 0, 200, 80], [10, 20, 30, 40]]


def test_score_of_a_box_is_what_ap_ranks_by() -> None:
    score = np.float32(0.123456789)
    value = as_boxes(np.array([[1, 2, 3, 5]], np.float32), ["circle"], np.array([score]))
    assert np.float32(value.region_scores[0]) == score  # type: ignore[index]
    question = Question("a.png", None, "find", phrases=(Phrase("circle"),))
    row = SimpleNamespace(answer=Answer(("",), value), sample=SimpleNamespace(question=question))
    [(box, category, ranked)] = detections_in(row, {})  # type: ignore[arg-type]
    assert (box, category, ranked) == ((1, 2, 2, 3), 0, value.region_scores[0])  # type: ignore[index]


class Recorded:
    """A family that records its batches, and needs the memory of at most `room` images."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.batches: list[list[str]] = []

    def prepare(self, image: Image.Image, question: Question) -> Prepared[None]:
        """The key is the size of the image."""
        return Prepared(image.size, Size(*image.size), question, None)

    def find(self, batch: Sequence[Prepared[None]]) -> list[Found]:
        """One box for each question."""
        if len(batch) > self.room:
            raise torch.OutOfMemoryError("too many")
        self.batches.append([prepared.question.image_name for prepared in batch])
        return [Found(VALUE, cut=prepared.question.text == "long") for prepared in batch]


def detecting(family: Recorded, root: Path, batch_size: int) -> Detecting[None]:
    """The model of a family without weights."""
    network = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)
    loaded = Pretrained(network, root, "weights", {"device": "cpu"})
    return Detecting("family v1", family.prepare, family.find, loaded, Setting(root=root, batch_size=batch_size))


def test_batches_hold_one_key_and_answers_keep_their_question(tmp_path: Path) -> None:
    family = Recorded(room=9)
    wide, tall, *_ = rivals.images(tmp_path)
    names = [wide, tall, wide, wide, tall]
    model = detecting(family, tmp_path, 2)
    found = rivals.answers(model, [(n, Question(name, None, "refer", text="x")) for n, name in enumerate(names)])
    assert family.batches == [[wide, wide], [wide], [tall, tall]]
    assert [found[number].batch for number in range(5)] == [2, 2, 2, 1, 2]
    assert found[0].raw == ("1 boxes",)
    assert model.fingerprint == "family v1:weights"
    assert model.provenance["batch size"] == 2


def test_batch_too_large_for_the_memory_is_halved_and_stays_small(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    family = Recorded(room=2)
    [name, *_] = rivals.images(tmp_path)
    model = detecting(family, tmp_path, 4)
    found = rivals.answers(model, [(n, Question(name, None, "refer", text="x")) for n in range(8)])
    assert len(found) == 8
    assert [len(batch) for batch in family.batches] == [2, 2, 2, 2]
    assert caplog.text.count("4 images at once are too many for the memory; going on with 2") == 1


def test_one_image_too_large_for_the_memory_is_an_error(tmp_path: Path) -> None:
    [name, *_] = rivals.images(tmp_path)
    model = detecting(Recorded(room=0), tmp_path, 1)
    with pytest.raises(torch.OutOfMemoryError):
        list(model.answer([(0, Question(name, None, "refer", text="x"))]))


def test_cut_text_counts_as_truncated(tmp_path: Path) -> None:
    [name, *_] = rivals.images(tmp_path)
    model = detecting(Recorded(room=1), tmp_path, 1)
    found = rivals.answers(model, [(0, Question(name, None, "refer", text="long"))])
    assert found[0].truncated
    assert found[0].raw == ("1 boxes for a text that was cut",)
