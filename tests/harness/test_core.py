"""Types with behaviour: representations that digests depend on, derived properties, and the table of kinds."""

from __future__ import annotations

import inspect
import re
from dataclasses import FrozenInstanceError
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from harness import core
from harness.core import Biased, Embedding, Fixed, GivenImage, Kind, Objects, Phrase, Question, Run, RunSpec, Size

SPEC = RunSpec(data="d", data_hash="h", task="t", version=1, split="val", model="m", fingerprint="f")


def test_kind_docstring_has_one_row_for_every_kind_in_order() -> None:
    table = inspect.getsource(core).partition("target of Sample\n")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^    (\w+) ", table, re.MULTILINE)) == get_args(Kind)


def test_question_repr_without_region_has_the_five_fields_of_older_questions() -> None:
    question = Question("1.png", Size(640, 480), "find", text="a", phrases=(Phrase("dog", 0, 3, "a brown dog"),))
    assert repr(question) == (
        "Question(image='1.png', size=Size(width=640, height=480), kind='find', text='a', "
        "phrases=(Phrase(text='dog', start=0, end=3, said='a brown dog'),))"
    )


def test_question_repr_with_region_contains_the_region() -> None:
    question = Question("1.png", None, "read", region=(1.0, 2.0, 3.0, 4.0))
    assert repr(question) == (
        "Question(image='1.png', size=None, kind='read', region=(1.0, 2.0, 3.0, 4.0), text='', phrases=())"
    )


def test_question_is_immutable_and_hashable() -> None:
    question = Question("1.png", None, "caption")
    assert {question: 1}[Question("1.png", None, "caption")] == 1
    with pytest.raises(FrozenInstanceError):
        question.text = "other"  # type: ignore[misc]


def test_image_name_is_path_or_name_of_supplied_image() -> None:
    supplied = GivenImage("the given image", lambda: Image.new("RGB", (1, 1)))
    assert Question("a/1.png", None, "caption").image_name == "a/1.png"
    assert Question(supplied, None, "caption").image_name == "the given image"


def test_supplied_images_of_one_name_are_different_images() -> None:
    first, second = (GivenImage("the given image", lambda: None) for _ in range(2))
    assert first != second


def test_objects_boxes_are_left_top_right_bottom() -> None:
    objects = Objects(((1.5, 2.0, 3.0, 4.0), (0.0, 0.0, 1.0, 1.0)), (0, 0), (12.0, 1.0), (False, True), (7,))
    assert objects.boxes == ((1.5, 2.0, 4.5, 6.0), (0.0, 0.0, 1.0, 1.0))


def test_fixed_ignores_weights_and_biased_passes_them_on() -> None:
    weights = np.array([2.0, 0.0, 1.0])
    assert Fixed(4.5)(weights) == 4.5
    assert Biased(lambda given: float(given @ [1.0, 10.0, 100.0]))(weights) == 102.0  # 2 * 1 + 0 * 10 + 1 * 100


@pytest.mark.parametrize(
    ("status", "finished"), [("running", False), ("complete", True), ("partial", True), ("incomplete", False)]
)
def test_run_is_finished_if_complete_or_partial(status: str, finished: bool) -> None:
    run = Run(schema=2, id="0", spec=SPEC, status=status, headline="R@1")  # type: ignore[arg-type]
    assert run.finished is finished


def test_embedding_holds_unit_vectors_as_half_floats() -> None:
    embedding = Embedding.of([3e6, 4e6])  # float16 ends at 65,504
    assert embedding.array.tolist() == [[float(np.float16(0.6)), float(np.float16(0.8))]]
    assert embedding == Embedding.of(np.array([0.6, 0.8], np.float32)) and len(embedding.data) == 4
    assert Embedding.of([[1, 0, 0], [0, 2, 0]]).array.tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("numbers", [[0.0, 0.0], [1.0, np.nan], [[1.0, 0.0], [0.0, np.inf]], [], [[[1.0]]]])
def test_embedding_without_a_direction_is_an_error(numbers: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"length 0|shape"):
        Embedding.of(numbers)


def test_embedding_repr_has_its_size_and_no_numbers() -> None:
    assert repr(Embedding.of(np.eye(3)[:2])) == "Embedding(2 x 3 numbers)"
