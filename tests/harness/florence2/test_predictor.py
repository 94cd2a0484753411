"""Questions to answers as a stream: one look at an image, bad images apart, batches that shrink."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from harness.core import Answer, Failure, Kind, Question, Size, Trail
from harness.errors import ResourceError, UsageError
from harness.florence2 import predictor
from harness.florence2.config import with_text
from harness.florence2.decoding.engine import Engine
from harness.florence2.decoding.generate import Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.predictor import Parts, Predictor
from harness.florence2.preprocess import Preprocess
from harness.training.vocabulary import learn
from tests.twins import TINY, twins

WORDS = ["the", "red", "blue", "car", "house", "left", "of", "small"]


@pytest.fixture(scope="module")
def parts() -> Parts:
    config = with_text(TINY, vocab=1400)
    return Parts(twins(config, ending=10.0).ours, learn([" ".join(WORDS)] * 5, 1399), Preprocess(96, 96), "0" * 64)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for place in range(5):
        Image.effect_noise((60 + place, 40), 90).convert("RGB").save(folder / f"{place}.png")
    return folder


def ask(parts: Parts, root: Path, batch: int = 4, **decoding: int) -> Predictor:
    return Predictor(
        parts, root, decoding=Decoding(**{"max_new_tokens": 12, **decoding}), dtype=torch.float32, batch=batch
    )


def questions() -> list[Question]:
    """Fifteen about five images, those of one image far apart, of unequal lengths."""
    return [
        Question(f"{place % 5}.png", Size(60 + place % 5, 40), "refer", " ".join(WORDS[: 1 + place % 7]))
        for place in range(15)
    ]


def answers(model: Predictor, asked: Sequence[Question]) -> dict[int, Answer | Failure]:
    return dict(model.answer(enumerate(asked)))


def raw(found: dict[int, Answer | Failure]) -> list[tuple[str, ...]]:
    return [one.raw for _, one in sorted(found.items()) if isinstance(one, Answer)]


@pytest.mark.parametrize("batch", [1, 2, 4, 64])
def test_batch_size_changes_no_answer(parts: Parts, root: Path, batch: int) -> None:
    found = answers(ask(parts, root, batch), questions())
    assert sorted(found) == list(range(15))
    assert raw(found) == raw(answers(ask(parts, root, 7), questions()))
    assert len(set(raw(found))) > 5
    assert all(isinstance(one, Answer) and one.batch <= batch and one.seconds > 0 for one in found.values())


@pytest.mark.parametrize("soon", [0.0, math.inf])
def test_answers_are_looked_for_now_and_then(
    parts: Parts, root: Path, soon: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rarely that is, each comes once; after every step, the first before others are settled."""
    monkeypatch.setattr(predictor, "SOON", soon)
    model = ask(parts, root, 4)
    coming = model.answer(enumerate(questions()))
    first = next(coming)
    assert model._engine is not None
    assert model._engine.writing == (soon == 0)
    found = [first, *coming]
    assert sorted(ticket for ticket, _ in found) == list(range(15))
    assert raw(dict(found)) == raw(answers(ask(parts, root, 7), questions()))


def test_what_is_settled_is_given_before_an_error(parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Engine.step

    def failing(engine: Engine[Any]) -> None:
        if engine._done:
            raise ResourceError("no memory")
        step(engine)

    monkeypatch.setattr(predictor, "SOON", math.inf)
    monkeypatch.setattr(Engine, "step", failing)
    found: dict[int, Answer | Failure] = {}
    with pytest.raises(ResourceError, match="no memory"):
        found.update(ask(parts, root, 4).answer(enumerate(questions())))
    monkeypatch.undo()
    usual = answers(ask(parts, root, 7), questions())
    assert found
    assert all(raw({0: one}) == raw({0: usual[ticket]}) for ticket, one in found.items())


def test_a_trail_tells_what_an_answer_was_made_of(parts: Parts, root: Path) -> None:
    """By hand, of one question; and each way to ask otherwise changes the stages that it should, and no other."""
    [question] = asked = questions()[3:4]

    def trail(model: Predictor) -> Trail:
        answer = answers(model, asked)[0]
        assert isinstance(answer, Answer) and answer.trail is not None
        return answer.trail

    def short(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()[:8]

    usual = trail(ask(parts, root))
    image = Image.open(root / "3.png").resize((96, 96), Image.Resampling.BICUBIC)
    prompt = f"Locate the phrases in the caption: {question.text}"
    assert usual.pixels == short(image.tobytes())
    assert usual.prompt == short(repr((prompt,)).encode())
    assert usual.tokens_in == short(repr([parts.tokenizer.encode(prompt)]).encode())
    assert trail(ask(parts, root, 1)) == usual
    [whole] = [answers(ask(parts, root), asked)[0]]
    assert isinstance(whole, Answer)
    written = [token for piece in whole.raw for token in parts.tokenizer.encode(piece) if token not in (0, 2)]
    assert usual.tokens_out in {
        short(repr([[*start, *written, *end]]).encode()) for start in ([], [0]) for end in ([], [2])
    }

    def others(model: Predictor) -> set[str]:
        found = trail(model)
        return {name for name in Trail._fields if getattr(found, name) != getattr(usual, name)}

    assert others(ask(parts, root, max_new_tokens=2)) == {"tokens_out"}
    smaller = ask(replace(parts, preprocess=Preprocess(64, 64)), root, max_new_tokens=2)
    assert others(smaller) == {"pixels", "tokens_out"}
    reworded = ask(parts, root, max_new_tokens=2)
    reworded.forms["refer"] = "open"
    assert others(reworded) == {"prompt", "tokens_in", "tokens_out"}


def test_an_image_is_looked_at_once(parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ask(parts, root, batch=4)
    looked: list[int] = []
    look = model.model.look

    def counting(pixels: Tensor) -> Tensor:
        looked.append(len(pixels))
        return look(pixels)

    monkeypatch.setattr(model.model, "look", counting)
    answers(model, questions())
    assert sum(looked) == 5


def test_images_come_to_the_engine_in_whole_groups(parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of seven questions, two images at a time; one that lies across two windows comes twice."""
    monkeypatch.setattr(predictor, "WINDOW", 7)
    model = ask(parts, root, batch=1)
    one_by_one = [replace(question, image=f"{place // 3}.png") for place, question in enumerate(questions())]
    chunks = list(model._chunks(enumerate(one_by_one), group=2))
    assert [[image for image, _ in chunk] for chunk in chunks] == [
        ["0.png", "1.png"], ["2.png", "2.png"], ["3.png", "4.png"], ["4.png"]
    ]  # fmt: skip
    assert [ticket for chunk in chunks for _, asked in chunk for ticket, _ in asked] == list(range(15))


def test_a_bad_image_fails_its_own_questions(parts: Parts, root: Path, tmp_path: Path) -> None:
    for file in root.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1.png").write_bytes(b"not an image")
    (tmp_path / "2.png").unlink()
    Image.new("RGB", (10, 10)).save(tmp_path / "3.png")
    found = answers(ask(parts, tmp_path), questions())
    failed = {ticket: one.reason for ticket, one in found.items() if isinstance(one, Failure)}
    assert set(failed) == {place for place in range(15) if place % 5 in (1, 2, 3)}
    assert "cannot be decoded" in failed[1]
    assert "is not there" in failed[2]
    assert "is 10x10; its annotation says 63x40" in failed[3]
    assert len(found) == 15


def test_region_that_cannot_be_queried_fails_its_own_question(parts: Parts, root: Path) -> None:
    regions = [(6.0, 4.0, 30.0, 20.0), None, (30.0, 4.0, 6.0, 20.0), (70.0, 4.0, 90.0, 20.0)]
    asked = [Question("0.png", None, kind, region=region) for kind in ("name", "outline") for region in regions]
    found = answers(ask(parts, root), asked)
    reasons = [one.reason if isinstance(one, Failure) else "" for _, one in sorted(found.items())]
    assert [bool(reason) for reason in reasons] == [False, True, True, True] * 2
    assert "a 'name' question needs a region" in reasons[1]
    assert "(30.0, 4.0, 6.0, 20.0) is inverted or empty" in reasons[2]
    assert "is outside the image, which is 60x40" in reasons[7]


def test_region_is_written_in_the_size_of_the_opened_image(parts: Parts, root: Path) -> None:
    # The image is 60x40, so a bin is 0.06 wide and 0.04 high: 6.03 is in bin 100, 30.03 in 500, 4.02 and 20.02 too.
    [answer] = answers(ask(parts, root), [Question("0.png", None, "read", region=(6.03, 4.02, 30.03, 20.02))]).values()
    assert isinstance(answer, Answer) and answer.trail is not None
    prompt = "What text is in the region <loc_100><loc_100><loc_500><loc_500>?"
    assert answer.trail.prompt == hashlib.sha256(repr((prompt,)).encode()).hexdigest()[:8]


@pytest.mark.parametrize("kind", ["name", "describe", "outline", "read", "regions", "propose"])
def test_image_of_another_size_than_annotated_fails_kinds_in_pixels(kind: Kind, parts: Parts, root: Path) -> None:
    question = Question("0.png", Size(120, 80), kind, region=(6.0, 4.0, 30.0, 20.0))
    [answer] = answers(ask(parts, root), [question]).values()
    assert isinstance(answer, Failure)
    assert "is 60x40; its annotation says 120x80" in answer.reason


def test_the_most_that_fit_are_looked_for_and_said(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = raw(answers(ask(parts, root), questions()))
    step = Pool.step

    def small_memory(pool: Pool[object]) -> None:
        if len(pool.keys) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(pool)

    monkeypatch.setattr(Pool, "step", small_memory)
    model = ask(parts, root, batch=8)
    assert raw(answers(model, questions())) == expected
    assert [record.getMessage() for record in caplog.records] == [
        "a batch of 8 does not fit in the memory of cpu: going on with 4",
        "a batch of 4 does not fit in the memory of cpu: going on with 2",
        "2 answers at once fit in the memory of cpu: trying 3",
        "a batch of 3 does not fit in the memory of cpu: going on with 2",
    ]
    assert model.provenance["batch size"] == 2


def test_one_answer_that_does_not_fit_is_a_resource_error(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Pool, "admit", no_memory)
    with pytest.raises(ResourceError, match="one answer does not fit"):
        answers(ask(parts, root, batch=2), questions())


def test_another_error_is_not_taken_for_memory(parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Pool, "step", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        answers(ask(parts, root), questions())


def test_truncated_answers_are_marked(parts: Parts, root: Path) -> None:
    found = answers(ask(parts, root, max_new_tokens=3), questions())
    assert any(isinstance(one, Answer) and one.truncated and one.tokens == 3 for one in found.values())


def test_the_fingerprint_tells_settings_apart_but_not_batch_sizes(parts: Parts, root: Path) -> None:
    same = ask(parts, root).fingerprint
    assert ask(parts, root, batch=1).fingerprint == same
    assert ask(parts, root, beams=1).fingerprint != same
    assert ask(parts, root, max_new_tokens=5).fingerprint != same
    assert ask(Parts(parts.model, parts.tokenizer, parts.preprocess, "1" * 64), root).fingerprint != same
    assert ask(Parts(parts.model, parts.tokenizer, Preprocess(64, 64), "0" * 64), root).fingerprint != same


def test_settings_that_cannot_be_meant(parts: Parts, root: Path) -> None:
    with pytest.raises(UsageError, match="positions for 64"):
        ask(parts, root, max_new_tokens=65)
    with pytest.raises(UsageError, match="at least one"):
        ask(parts, root, batch=0)
