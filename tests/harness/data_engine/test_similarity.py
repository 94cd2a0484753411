"""Crops of regions compared with texts: the numbers of each kind of model, by hand, and models that fail."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from baselines import find
from baselines.entry import Setting
from harness.core import Answer, Box, Embedding, Failure, Kind, Match, Question, Size, Source, Text, Ticket
from harness.data_engine.similarity import BATCH, Comparing, _rounded, cropped, has_pixels
from harness.images import open_rgb
from tasks import TASKS

RED, BLUE = (0.0, 0.0, 10.0, 10.0), (10.0, 0.0, 20.0, 10.0)
COLOURS = {"red": (1.0, 0.0, 0.0), "blue": (0.0, 0.0, 1.0), "violet": (1.0, 0.0, 1.0)}


class Colours:
    """Sees the mean colour of an image, and knows the colours of some words; lists what it was asked."""

    fingerprint = "colours"
    provenance: dict[str, object] = {"device": "none"}  # noqa: RUF012

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            self.asked.append((question.image_name, question.text))
            image = open_rgb(Path(), question.image) if question.image else None
            seen = np.asarray(image, np.float64).sum((0, 1)) if image is not None else None
            said = COLOURS.get(question.text)
            if question.text and said is None:
                yield ticket, Failure("an unknown word")
            elif question.kind == "embed":
                yield ticket, Answer(("",), Embedding.of(seen if seen is not None else said))
            else:
                assert seen is not None and said is not None
                yield ticket, Answer(("",), Match(float(seen @ np.array(said))))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image whose left half is red (255, 0, 0) and whose right half is blue (0, 0, 255), 10 x 10 pixels each."""
    image = Image.new("RGB", (20, 10), (255, 0, 0))
    image.paste((0, 0, 255), (10, 0, 20, 10))
    image.save(tmp_path / "a.png")
    return tmp_path


def asked(kind: Kind, *pairs: tuple[Box, str]) -> Iterator[tuple[Ticket, Question]]:
    return enumerate(Question("a.png", Size(20, 10), kind, region=box, text=text) for box, text in pairs)


def test_matching_model_is_asked_about_the_crop(root: Path) -> None:
    model = Colours()
    answers = dict(Comparing(model, root).answer(asked("match", (RED, "red"), (RED, "blue"), (BLUE, "violet"))))
    # 100 pixels of 255 in one band
    assert [answer.value for answer in answers.values() if isinstance(answer, Answer)] == [
        Match(25500.0), Match(0.0), Match(25500.0),
    ]  # fmt: skip


def test_two_towers_are_asked_once_for_each_crop_and_text_and_compared_by_cosine(root: Path) -> None:
    model = Colours()
    pairs = [(RED, "red"), (RED, "blue"), (RED, "violet"), (BLUE, "violet")]
    answers = dict(Comparing(model, root).answer(asked("embed", *pairs)))
    scores = [answer.value.score for answer in answers.values() if isinstance(getattr(answer, "value", None), Match)]  # type: ignore[union-attr]
    assert scores == [1.0, 0.0, 0.707, 0.707]  # the root of 0.5 is 0.7071; vectors are float16
    region = "a region of a.png"
    assert model.asked == [(region, ""), ("", "red"), ("", "blue"), ("", "violet"), (region, "")]


@pytest.mark.parametrize("kind", ["match", "embed"])
def test_text_that_the_model_fails_on_is_a_failure_and_others_are_answered(root: Path, kind: Kind) -> None:
    answers = dict(Comparing(Colours(), root).answer(asked(kind, (RED, "red"), (RED, "mauve"))))
    assert isinstance(answers[0], Answer)
    assert answers[1] == Failure("an unknown word")


def test_every_question_has_one_answer_in_any_number_of_batches(root: Path) -> None:
    answers = list(Comparing(Colours(), root).answer(asked("embed", *[(RED, "red")] * (BATCH + 3))))
    assert [ticket for ticket, _ in answers] == list(range(BATCH + 3))


@pytest.mark.parametrize(
    ("score", "kept"), [(0.12345, 0.123), (-0.00049, 0.0), (23.456, 23.5), (1234.5, 1230.0), (0.0006, 0.001)]
)
def test_number_has_three_digits_and_three_decimals_at_most(score: float, kept: float) -> None:
    assert repr(_rounded(Answer(("x",), Match(score)))) == repr(Answer(("x",), Match(kept)))


def test_fingerprint_names_the_model_and_the_crops() -> None:
    assert Comparing(Colours(), Path()).fingerprint == "colours crops:v1"
    assert Comparing(Colours(), Path()).provenance == {"device": "none"}


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((10.2, 10.2, 10.4, 10.4), (1, 1)),
        ((-5, -5, 200, 30.5), (100, 31)),
        ((100, 0, 120, 10), None),
        ((5, 5, 5, 9), None),
        ((float("nan"), 0, 9, 9), None),
    ],
)
def test_crop_has_the_pixels_that_the_box_touches(box: Box, size: tuple[int, int] | None) -> None:
    assert has_pixels(box, Size(100, 100)) == (size is not None)
    if size is not None:
        assert cropped(Image.new("RGB", (100, 100)), box).size == size


@pytest.mark.parametrize("kind", ["match", "embed"])
def test_real_two_tower_model_prefers_the_caption_of_its_image(miniature: Path, kind: Kind) -> None:
    """clip-nano on five drawings: each whole drawing is most similar to a caption of its own."""
    captions: dict[str, tuple[Size, str]] = {}
    for sample in TASKS["flickr30k_retrieval"].load(Source(miniature, "test")):
        if sample.question.image and isinstance(sample.target, Text):
            size = open_rgb(miniature, sample.question.image).size
            captions[sample.question.image_name] = Size(*size), sample.target.texts[0]
        if len(captions) == 5:
            break
    model = Comparing(find("clip-nano").load(Setting(root=miniature, device="cpu")), miniature)
    texts = [caption for _, caption in captions.values()]
    hits = 0
    for place, (name, (size, _)) in enumerate(captions.items()):
        whole = (0.0, 0.0, float(size.width), float(size.height))
        pairs = enumerate(Question(name, size, kind, region=whole, text=text) for text in texts)
        answers = sorted(model.answer(pairs), key=lambda pair: pair[0])
        scores = [answer.value.score for _, answer in answers if isinstance(getattr(answer, "value", None), Match)]  # type: ignore[union-attr]
        assert len(scores) == 5 and all(-1.001 <= score <= 1.001 for score in scores)
        hits += max(range(5), key=scores.__getitem__) == place
    assert hits >= 4
