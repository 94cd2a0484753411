"""Cross-fitting: each image comes to the member of its fold, and one member is held at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from harness.core import Answer, Failure, Question, Size, Text, Ticket
from harness.data_engine.cross_fitting import CrossFitted, fold_of


class Named:
    """Answers with its name."""

    def __init__(self, name: str) -> None:
        self.fingerprint = f"of {name}"
        self.provenance: dict[str, Any] = {"device": "cpu"}
        self.name = name

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, _ in questions:
            yield ticket, Answer(("x",), Text((self.name,)))


def asked(*names: str) -> list[tuple[int, Question]]:
    return [(number, Question(name, Size(9, 9), "caption")) for number, name in enumerate(names)]


def test_images_are_dealt_into_folds_of_about_equal_size_by_their_digest_alone() -> None:
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]
    folds = [fold_of(each, 10) for each in digests]
    assert all(150 < folds.count(fold) < 250 for fold in range(10))  # 200 expected, 3.7 standard deviations of 13.4
    assert fold_of("0000000b" + "f" * 56, 10) == 1  # 11 modulo 10
    assert {fold_of(each, 1) for each in digests} == {0}


def test_each_question_goes_to_the_member_of_its_image_and_each_member_is_loaded_once_for_them() -> None:
    loaded: list[str] = []

    def member(name: str) -> Named:
        loaded.append(name)
        return Named(name)

    model = CrossFitted([lambda: member("zero"), lambda: member("one")], {"a": 1, "b": 0, "c": 1})
    loaded.clear()
    said = dict(model.answer(asked("a", "b", "c")))
    assert {ticket: answer.value for ticket, answer in said.items()} == {  # type: ignore[union-attr]
        0: Text(("one",)), 1: Text(("zero",)), 2: Text(("one",)),
    }  # fmt: skip
    assert loaded == ["one"]  # "zero" was the last that was loaded for its fingerprint


def test_fingerprint_names_every_member_in_order_and_one_member_is_itself() -> None:
    names = ("zero", "one")
    two = CrossFitted([lambda name=name: Named(name) for name in names], {})  # type: ignore[misc]
    assert two.fingerprint == "cross-fitted:v1:2:of zero|of one"
    assert two.provenance == {"device": "cpu", "folds": 2}
    other = CrossFitted([lambda name=name: Named(name) for name in reversed(names)], {})  # type: ignore[misc]
    assert other.fingerprint != two.fingerprint
    assert CrossFitted([lambda: Named("zero")], {}).fingerprint == "of zero"
