"""Models from a function that answers a batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from baselines.batched import Batched
from baselines.entry import Setting
from harness.core import Answer, Boxes, Embedding, Failure, Question, Text


def images(root: Path, count: int) -> list[tuple[int, Question]]:
    """Questions about images that are 10, 11, 12, ... pixels wide, by ticket 100, 101, ..."""
    for number in range(count):
        Image.new("L", (10 + number, 5)).save(root / f"{number}.png")
    return [(100 + number, Question(f"{number}.png", None, "refer", text=str(number))) for number in range(count)]


def whole(opened: Sequence[Any], questions: Sequence[Question]) -> list[Boxes]:
    assert all(image.mode == "RGB" for image in opened)
    return [Boxes(((0.0, 0.0, *map(float, image.size)),)) for image in opened]


def test_answers_are_by_ticket_in_batches_of_the_size(tmp_path: Path) -> None:
    sizes: list[int] = []

    def answer(opened: Sequence[Any], questions: Sequence[Question]) -> list[Boxes]:
        sizes.append(len(opened))
        return whole(opened, questions)

    model = Batched("whole, version 1", answer, Setting(root=tmp_path, batch_size=3))
    results = dict(model.answer(images(tmp_path, 8)))
    assert sizes == [3, 3, 2]
    for number in range(8):
        result = results[100 + number]
        assert isinstance(result, Answer)
        assert result.value == Boxes(((0.0, 0.0, 10.0 + number, 5.0),))
        assert result.batch == (3 if number < 6 else 2) and result.seconds > 0
    assert (model.fingerprint, model.provenance) == ("whole, version 1", {"batch size": 3})


def test_image_that_cannot_be_opened_is_a_failure_and_others_are_answered(tmp_path: Path) -> None:
    questions = images(tmp_path, 4)
    (tmp_path / "1.png").write_bytes(b"not an image")
    (tmp_path / "2.png").unlink()
    results = dict(Batched("x", whole, Setting(root=tmp_path, batch_size=2)).answer(questions))
    assert [isinstance(results[ticket], Answer) for ticket, _ in questions] == [True, False, False, True]
    failure = results[102]
    assert isinstance(failure, Failure) and "2.png" in failure.reason


def test_batch_without_an_image_does_not_call_the_function(tmp_path: Path) -> None:
    model = Batched("x", lambda opened, questions: pytest.fail("called"), Setting(root=tmp_path))
    [(_, failure)] = model.answer([(0, Question("none.png", None, "refer"))])
    assert isinstance(failure, Failure)


@pytest.mark.parametrize(
    ("reply", "raw", "value"),
    [
        ("a dog", ("a dog",), Text(("a dog",))),
        (Text(("a", "b")), (repr(Text(("a", "b"))),), Text(("a", "b"))),
        (None, ("None",), None),
        (Answer(("raw",), None, tokens=4), ("raw",), None),
    ],
)
def test_reply_becomes_an_answer(tmp_path: Path, reply: Any, raw: tuple[str, ...], value: object) -> None:
    model = Batched("x", lambda opened, questions: [reply], Setting(root=tmp_path))
    [(_, answer)] = model.answer(images(tmp_path, 1))
    assert isinstance(answer, Answer) and (answer.raw, answer.value) == (raw, value)


def test_failure_of_the_function_is_kept_for_its_question(tmp_path: Path) -> None:
    model = Batched("x", lambda opened, questions: [Failure("no idea")], Setting(root=tmp_path))
    assert list(model.answer(images(tmp_path, 1))) == [(100, Failure("no idea"))]


def test_fewer_replies_than_questions_are_an_error(tmp_path: Path) -> None:
    model = Batched("x", lambda opened, questions: ["one"], Setting(root=tmp_path))
    with pytest.raises(ValueError, match="shorter"):
        list(model.answer(images(tmp_path, 2)))


def test_text_that_is_embedded_alone_has_no_image_and_other_kinds_need_one(tmp_path: Path) -> None:
    def answer(opened: Sequence[Any], questions: Sequence[Question]) -> list[Embedding]:
        assert opened == [None]
        return [Embedding.of([len(question.text), 1.0]) for question in questions]

    model = Batched("x", answer, Setting(root=tmp_path))
    asked = [(0, Question("", None, "embed", text="abc")), (1, Question("", None, "match", text="abc"))]
    answers = dict(model.answer(asked))
    assert isinstance(answers[0], Answer) and answers[0].value == Embedding.of([3, 1])
    assert answers[0].raw == ("Embedding(1 x 2 numbers)",) and isinstance(answers[1], Failure)


def test_questions_about_one_image_share_the_opened_image(tmp_path: Path) -> None:
    names = [question for _, question in images(tmp_path, 2)]
    seen: list[Sequence[Any]] = []

    def answer(opened: Sequence[Any], questions: Sequence[Question]) -> list[Boxes]:
        seen.append(opened)
        return whole(opened, questions)

    asked = [names[0], names[1], names[0]]
    results = dict(Batched("x", answer, Setting(root=tmp_path)).answer(enumerate(asked)))
    [[first, second, third]] = seen
    assert first is third and first is not second
    assert [result.value.boxes[0][2] for result in results.values()] == [10, 11, 10]  # type: ignore[union-attr]
