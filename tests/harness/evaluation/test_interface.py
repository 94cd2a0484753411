"""A model in a notebook: every form of an image, batches, and replies that draw themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import harness
from baselines import Batched, Entry, Setting
from harness.core import Boxes, Embedding, Question
from harness.errors import DataError, UsageError
from harness.evaluation.interface import LoadedModel
from harness.report.overlay import ANSWER


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return harness.load_model("florence2-nano-ft", beams=1)


@pytest.fixture
def photos(miniature: Path) -> list[Path]:
    return sorted((miniature / "coco/val2017").glob("*.jpg"))[:3]


def test_every_form_of_an_image_gives_the_same_answer(model: LoadedModel, photos: list[Path]) -> None:
    with Image.open(photos[0]) as opened:
        image = opened.convert("RGB")
    wrote = model.ask(photos[0], "caption").raw
    for form in (str(photos[0]), photos[0].read_bytes(), image, np.asarray(image)):
        assert model.ask(form, "caption").raw == wrote


def test_list_is_answered_in_order_and_two_equal_images_twice(model: LoadedModel, photos: list[Path]) -> None:
    alone = [model.ask(photo, "caption").raw for photo in photos]
    assert [reply.raw for reply in model.ask([*photos, photos[0]], "caption")] == [*alone, alone[0]]


def test_reply_has_value_scores_and_a_picture(model: LoadedModel, photos: list[Path]) -> None:
    reply = model.ask(photos[0], "detect")
    assert isinstance(reply.value, Boxes)
    assert reply.scores is not None and len(reply.scores) == len(reply.boxes) == len(reply.value.labels) > 0
    assert all(0 < score <= 1 for score in reply.scores)
    drawn = np.asarray(reply.draw())
    assert (drawn == ANSWER).all(-1).sum() > 100  # pixels of the boxes' colour
    with Image.open(photos[0]) as opened:
        assert not (np.asarray(opened.convert("RGB")) == ANSWER).all(-1).any()
    page = reply._repr_html_()
    assert page.startswith("<figure><img src=") and "<loc" not in page


def test_text_in_a_page_is_escaped(model: LoadedModel, photos: list[Path]) -> None:
    from dataclasses import replace

    from harness.core import Text

    reply = model.ask(photos[0], "caption")
    hostile = replace(reply, answer=replace(reply.answer, value=Text(("<script>alert(1)</script>",))))
    assert "<script>" not in hostile._repr_html_()


def test_phrases_are_found_and_grounded(model: LoadedModel, photos: list[Path]) -> None:
    grounded = model.ask(photos[0], "ground", "a blue car and a red cup", phrases=["a blue car", "a red cup"])
    assert [len(boxes) > 0 for boxes in grounded.value.boxes] == [True, True]


@pytest.mark.parametrize(("image", "error", "said"), [
    ("nowhere.jpg", DataError, "nowhere.jpg is not there"),
    (b"no image", DataError, "it is not BMP, .* or WEBP; it begins with b'no image'"),
    (3, UsageError, "an image is a path, bytes, a Pillow image or an array, not int"),
    (np.zeros((4, 4, 4), np.uint8), UsageError, r"\(height, width\) or \(height, width, 3\)"),
    (np.zeros((4, 4, 3), np.float32), UsageError, "float32 of shape"),
])  # fmt: skip
def test_what_is_no_image_is_one_line(model: LoadedModel, image: object, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        model.ask(image, "caption")  # type: ignore[arg-type]


def test_what_cannot_be_asked_is_one_line(model: LoadedModel, photos: list[Path]) -> None:
    with pytest.raises(UsageError, match="2 texts for 1 images"):
        model.ask([photos[0]], "refer", ["a", "b"])
    with pytest.raises(UsageError, match="no model is called 'florence3'"):
        harness.load_model("florence3")
    with pytest.raises(UsageError, match="has no option 'beans'; it has beams"):
        harness.load_model("florence2-nano", beans=3)
    with pytest.raises(UsageError, match="oracle answers with a task's targets"):
        harness.load_model("oracle")


def test_text_is_embedded_without_an_image(tmp_path: Path) -> None:
    """A model of one's own, whose vector is (length of the text, 1), or (width, height) of the image."""

    def answer(opened: list[Image.Image | None], questions: list[Question]) -> list[Embedding]:
        pairs = zip(opened, questions, strict=True)
        return [Embedding.of((len(question.text), 1) if image is None else image.size) for image, question in pairs]

    entry = Entry(
        name="sizes", about="sizes", kinds=frozenset({"embed"}), build=lambda setting, _: Batched("x", answer, setting)
    )
    loaded = LoadedModel(entry, Setting(), {}, entry.load(Setting()))
    Image.new("RGB", (3, 4)).save(tmp_path / "a.png")
    image, text = loaded.ask([tmp_path / "a.png", ""], "embed", ["", "four"])
    assert (image.value, text.value) == (Embedding.of([3, 4]), Embedding.of([4, 1]))
    assert "1 x 2 numbers" in text._repr_html_() and "<img" not in text._repr_html_() and "<img" in image._repr_html_()
    with pytest.raises(UsageError, match="sizes answers no 'caption' questions, only embed"):
        loaded.ask(tmp_path / "a.png")
