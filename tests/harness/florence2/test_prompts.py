"""The prompts of every kind and form."""

from __future__ import annotations

from typing import get_args

import pytest

from harness.core import Kind, Phrase, Question, Size
from harness.errors import UsageError
from harness.florence2.prompts import FORMS, choose, prompts_of

SIZE = Size(1000, 1000)
DOG, CAT = Phrase("dog", said="a dog with a hat"), Phrase("cat")


def question(kind: Kind, text: str = "", phrases: tuple[Phrase, ...] = ()) -> Question:
    return Question("x.jpg", SIZE, kind, text, phrases)


def test_every_kind_can_be_asked() -> None:
    assert set(FORMS) == set(get_args(Kind))


@pytest.mark.parametrize(("kind", "form", "prompts"), [
    ("caption", "", ["What does the image describe?"]),
    ("caption", "more_detailed", ["Describe with a paragraph what is shown in the image."]),
    ("detect", "", ["Locate the objects with category name in the image."]),
    ("detect", "joined", ["Locate dog<and>cat in the image."]),
    ("find", "", ["Locate dog in the image.", "Locate cat in the image."]),
    ("find", "said", ["Locate a dog with a hat in the image.", "Locate cat in the image."]),
    ("find", "grounding", ["Locate the phrases in the caption: dog. cat"]),
    ("ground", "", ["Locate the phrases in the caption: a dog and a {cat}"]),
    ("ground", "each", ["Locate the phrases in the caption: dog", "Locate the phrases in the caption: cat"]),
    ("refer", "open", ["Locate a dog and a {cat} in the image."]),
    ("segment", "", ["Locate a dog and a {cat} in the image with mask"]),
    ("vqa", "", [" a dog and a {cat} "]),  # as it stands
    ("vqa", "docvqa", ["<DocVQA> a dog and a {cat} "]),
    ("ocr", "", ["What is the text in the image?"]),
    ("ocr_regions", "", ["What is the text in the image, with regions?"]),
])  # fmt: skip
def test_prompts(kind: Kind, form: str, prompts: list[str]) -> None:
    asked = question(kind, " a dog and a {cat} ", (DOG, CAT))
    assert list(prompts_of(asked, form)) == prompts


def test_forms_are_chosen_by_name() -> None:
    assert choose("fine_tuned", "find=said, refer=open") == {**choose("fine_tuned"), "find": "said", "refer": "open"}
    for wrong in ("find", "find=loud", "seek=each", "find=said,"):
        with pytest.raises(UsageError, match=r"there is no such form; there are .*find=each\|said\|joined"):
            choose(given=wrong)
