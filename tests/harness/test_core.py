"""Types with behaviour: representations that digests depend on, derived properties, and the table of kinds."""

from __future__ import annotations

import inspect
import re
from dataclasses import FrozenInstanceError
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from harness import core
from harness.core import Biased, Fixed, GivenImage, Kind, Objects, Phrase, Question, Run, RunSpec, Size

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
