"""A stream of questions to answers: images are encoded once, bad images fail alone, batches shrink with memory."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer as Backend
from torch import Tensor

from harness.core import Answer, Failure, Kind, Phrase, Question, Size, Trail
from harness.errors import ResourceError, UsageError
from harness.florence2 import predictor
from harness.florence2.config import with_text
from harness.florence2.decoding.engine import Engine
from harness.florence2.decoding.generate import Pool
from harness.florence2.decoding.search import Decoding
from harness.florence2.fast import threads
from harness.florence2.predictor import Parts, Predictor
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import Tokenizer
from harness.training.vocabulary import learn
from tests.twins import TINY, twins

WORDS = ["the", "red", "blue", "car", "house", "left", "of", "small"]


@pytest.fixture(scope="module")
def parts() -> Parts:
    config = with_text(TINY, vocab=1400)
    return Parts(twins(config, ending=10.0).ours, learn([" ".join(WORDS)] * 5, 1399), Preprocess(96, 96), "0" * 64)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five images of noise, 40 pixels high and 60 to 64 wide."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(5):
        noise = np.random.default_rng(number).normal(128, 90, (40, 60 + number)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).convert("RGB").save(folder / f"{number}.png")
    return folder


def predictor_of(parts: Parts, root: Path, batch: int = 4, **decoding: int) -> Predictor:
    return Predictor(
        parts, root, decoding=Decoding(**{"max_new_tokens": 12, **decoding}), dtype=torch.float32, batch=batch
    )


def questions() -> list[Question]:
    """Fifteen questions of unequal lengths; those about one of the five images are not adjacent."""
    return [
        Question(f"{number % 5}.png", Size(60 + number % 5, 40), "refer", " ".join(WORDS[: 1 + number % 7]))
        for number in range(15)
    ]


Results = dict[int, Answer | Failure]


def answers(model: Predictor, batch: Sequence[Question]) -> Results:
    """The result of each question, by its index."""
    return dict(model.answer(enumerate(batch)))


def raw(results: Results) -> list[tuple[str, ...]]:
    """The raw texts of the answers, in the order of their questions."""
    return [result.raw for _, result in sorted(results.items()) if isinstance(result, Answer)]


@pytest.mark.parametrize("batch", [1, 2, 4, 64])
def test_answers_with_any_batch_size_are_the_same(parts: Parts, root: Path, batch: int) -> None:
    results = answers(predictor_of(parts, root, batch), questions())
    assert sorted(results) == list(range(15))
    assert raw(results) == raw(answers(predictor_of(parts, root, 7), questions()))
    assert len(set(raw(results))) > 5
    for answer in results.values():
        assert isinstance(answer, Answer) and answer.batch <= batch and answer.seconds > 0


def test_answers_with_threads_that_back_off_are_the_same_and_threads_are_restored(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is a window that seems to wait, so the second step has half of the threads."""
    monkeypatch.setattr(threads, "WINDOW", 0.0)
    monkeypatch.setattr(threads, "WAITING", math.inf)
    model, before = predictor_of(parts, root), torch.get_num_threads()
    model.backs_off = True
    torch.set_num_threads(2)
    try:
        stream = model.answer(enumerate(questions()))
        first = next(stream)
        assert torch.get_num_threads() == 1
        results = [first, *stream]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert raw(dict(results)) == raw(answers(predictor_of(parts, root), questions()))


@pytest.mark.parametrize("interval", [0.0, math.inf])
def test_answers_with_any_poll_interval_are_yielded_once(
    parts: Parts, root: Path, interval: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an interval of 0, the first answer is yielded while other sequences are in the engine."""
    monkeypatch.setattr(predictor, "POLL_INTERVAL", interval)
    model = predictor_of(parts, root, 4)
    stream = model.answer(enumerate(questions()))
    first = next(stream)
    assert model._engine is not None
    assert model._engine.active == (interval == 0)
    results = [first, *stream]
    assert sorted(ticket for ticket, _ in results) == list(range(15))
    assert raw(dict(results)) == raw(answers(predictor_of(parts, root, 7), questions()))


def test_finished_answers_are_yielded_before_an_error(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Engine.step

    def failing(engine: Engine[Any]) -> None:
        if engine._done:
            raise ResourceError("no memory")
        step(engine)

    monkeypatch.setattr(predictor, "POLL_INTERVAL", math.inf)
    monkeypatch.setattr(Engine, "step", failing)
    results: Results = {}
    with pytest.raises(ResourceError, match="no memory"):
        results.update(predictor_of(parts, root, 4).answer(enumerate(questions())))
    monkeypatch.undo()
    expected = answers(predictor_of(parts, root, 7), questions())
    assert results
    assert all(raw({0: result}) == raw({0: expected[ticket]}) for ticket, result in results.items())


def test_trail_has_the_digest_of_each_stage_and_changes_with_that_stage_alone(parts: Parts, root: Path) -> None:
    """Expected digests are computed here from the image, the prompt and the token ids of one question."""
    [question] = batch = questions()[3:4]

    def trail(model: Predictor) -> Trail:
        answer = answers(model, batch)[0]
        assert isinstance(answer, Answer) and answer.trail is not None
        return answer.trail

    def short(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()[:8]

    usual = trail(predictor_of(parts, root))
    image = Image.open(root / "3.png").resize((96, 96), Image.Resampling.BICUBIC)
    prompt = f"Locate the phrases in the caption: {question.text}"
    assert usual.pixels == short(image.tobytes())
    assert usual.prompt == short(repr((prompt,)).encode())
    assert usual.tokens_in == short(repr([parts.tokenizer.encode(prompt)]).encode())
    assert trail(predictor_of(parts, root, 1)) == usual
    answer = answers(predictor_of(parts, root), batch)[0]
    assert isinstance(answer, Answer)
    tokens = [token for piece in answer.raw for token in parts.tokenizer.encode(piece) if token not in (0, 2)]
    assert usual.tokens_out in {
        short(repr([[*start, *tokens, *end]]).encode()) for start in ([], [0]) for end in ([], [2])
    }

    def changed(model: Predictor) -> set[str]:
        other = trail(model)
        return {name for name in Trail._fields if getattr(other, name) != getattr(usual, name)}

    assert changed(predictor_of(parts, root, max_new_tokens=2)) == {"tokens_out"}
    smaller = predictor_of(replace(parts, preprocess=Preprocess(64, 64)), root, max_new_tokens=2)
    assert changed(smaller) == {"pixels", "tokens_out"}
    reworded = predictor_of(parts, root, max_new_tokens=2)
    reworded.forms["refer"] = "open"
    assert changed(reworded) == {"prompt", "tokens_in", "tokens_out"}


def test_image_with_several_questions_is_encoded_once(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = predictor_of(parts, root, batch=4)
    batches: list[int] = []
    encode_image = model.model.encode_image

    def counting(pixels: Tensor) -> Tensor:
        batches.append(len(pixels))
        return encode_image(pixels)

    monkeypatch.setattr(model.model, "encode_image", counting)
    answers(model, questions())
    assert sum(batches) == 5


def test_chunks_with_groups_of_two_have_two_images_each(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of seven questions; an image with questions in two windows is there twice."""
    monkeypatch.setattr(predictor, "WINDOW", 7)
    model = predictor_of(parts, root, batch=1)
    by_image = [replace(question, image=f"{number // 3}.png") for number, question in enumerate(questions())]
    chunks = list(model._chunks(enumerate(by_image), group=2))
    assert [[image for image, _ in chunk] for chunk in chunks] == [
        ["0.png", "1.png"], ["2.png", "2.png"], ["3.png", "4.png"], ["4.png"]
    ]  # fmt: skip
    assert [ticket for chunk in chunks for _, about in chunk for ticket, _ in about] == list(range(15))


def test_image_that_cannot_be_used_fails_its_own_questions_alone(parts: Parts, root: Path, tmp_path: Path) -> None:
    for file in root.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "1.png").write_bytes(b"not an image")
    (tmp_path / "2.png").unlink()
    Image.new("RGB", (10, 10)).save(tmp_path / "3.png")
    results = answers(predictor_of(parts, tmp_path), questions())
    failed = {ticket: result.reason for ticket, result in results.items() if isinstance(result, Failure)}
    assert set(failed) == {number for number in range(15) if number % 5 in (1, 2, 3)}
    assert "cannot be decoded" in failed[1]
    assert "is not there" in failed[2]
    assert "is 10x10; its annotation says 63x40" in failed[3]
    assert len(results) == 15


def test_region_that_cannot_be_written_fails_its_own_question_alone(parts: Parts, root: Path) -> None:
    regions = [(6.0, 4.0, 30.0, 20.0), None, (30.0, 4.0, 6.0, 20.0), (70.0, 4.0, 90.0, 20.0)]
    batch = [Question("0.png", None, kind, region=region) for kind in ("name", "outline") for region in regions]
    results = answers(predictor_of(parts, root), batch)
    reasons = [result.reason if isinstance(result, Failure) else "" for _, result in sorted(results.items())]
    assert [bool(reason) for reason in reasons] == [False, True, True, True] * 2
    assert "a 'name' question needs a region" in reasons[1]
    assert "(30.0, 4.0, 6.0, 20.0) is inverted or empty" in reasons[2]
    assert "is outside the image, which is 60x40" in reasons[7]


def test_region_is_written_in_the_size_of_the_opened_image(parts: Parts, root: Path) -> None:
    # The image is 60x40, so a bin is 0.06 wide and 0.04 high: 6.03 is in bin 100, 30.03 in 500, 4.02 and 20.02 too.
    [answer] = answers(
        predictor_of(parts, root), [Question("0.png", None, "read", region=(6.03, 4.02, 30.03, 20.02))]
    ).values()
    assert isinstance(answer, Answer) and answer.trail is not None
    prompt = "What text is in the region <loc_100><loc_100><loc_500><loc_500>?"
    assert answer.trail.prompt == hashlib.sha256(repr((prompt,)).encode()).hexdigest()[:8]


@pytest.mark.parametrize("kind", ["name", "describe", "outline", "read", "regions", "propose"])
def test_image_of_another_size_than_annotated_fails_questions_in_pixels(kind: Kind, parts: Parts, root: Path) -> None:
    question = Question("0.png", Size(120, 80), kind, region=(6.0, 4.0, 30.0, 20.0))
    [answer] = answers(predictor_of(parts, root), [question]).values()
    assert isinstance(answer, Failure)
    assert "is 60x40; its annotation says 120x80" in answer.reason


def test_batch_that_does_not_fit_in_memory_shrinks_to_the_largest_that_does(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = raw(answers(predictor_of(parts, root), questions()))
    step = Pool.step

    def small_memory(pool: Pool[object]) -> None:
        if len(pool.keys) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        step(pool)

    monkeypatch.setattr(Pool, "step", small_memory)
    model = predictor_of(parts, root, batch=8)
    assert raw(answers(model, questions())) == expected
    assert [record.getMessage() for record in caplog.records] == [
        "a batch of 8 does not fit in the memory of cpu: going on with 4",
        "a batch of 4 does not fit in the memory of cpu: going on with 2",
        "a batch of 2 fits in the memory of cpu: trying 3",
        "a batch of 3 does not fit in the memory of cpu: going on with 2",
    ]
    assert model.provenance["batch size"] == 2


def test_single_sequence_that_does_not_fit_in_memory_is_a_resource_error(
    parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Pool, "admit", no_memory)
    with pytest.raises(ResourceError, match="one sequence does not fit"):
        answers(predictor_of(parts, root, batch=2), questions())


def test_error_other_than_out_of_memory_is_raised(parts: Parts, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(Pool, "step", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        answers(predictor_of(parts, root), questions())


def test_answer_of_max_new_tokens_is_truncated(parts: Parts, root: Path) -> None:
    results = answers(predictor_of(parts, root, max_new_tokens=3), questions())
    assert any(isinstance(answer, Answer) and answer.truncated and answer.tokens == 3 for answer in results.values())


def test_fingerprint_differs_by_tokens_that_a_fine_tune_added(parts: Parts, root: Path) -> None:
    """Earlier versions dropped such tokens from answers, so their stored answers are stale."""
    own = Tokenizer(Backend.from_str(parts.tokenizer.backend.to_str()))
    own.backend.add_special_tokens(["<total>"])
    changed = replace(parts, tokenizer=Tokenizer(own.backend))
    assert predictor_of(changed, root).fingerprint != predictor_of(parts, root).fingerprint
    same = replace(parts, tokenizer=Tokenizer(Backend.from_str(parts.tokenizer.backend.to_str())))
    assert predictor_of(same, root).fingerprint == predictor_of(parts, root).fingerprint


def test_fingerprint_ends_in_the_answers_version_and_the_precisions_own(parts: Parts, root: Path) -> None:
    """That of float32 did not change, so its stored answers stay in use."""
    model = predictor_of(parts, root)
    assert model.fingerprint.endswith(f":v{predictor.ANSWERS_VERSION}")
    for dtype, own in predictor.PRECISION_VERSIONS.items():
        model.dtype = dtype
        assert model.fingerprint.endswith(f":v{predictor.ANSWERS_VERSION}.{own}")


def test_fingerprint_differs_by_settings_but_not_by_batch_size(parts: Parts, root: Path) -> None:
    same = predictor_of(parts, root).fingerprint
    assert predictor_of(parts, root, batch=1).fingerprint == same
    assert predictor_of(parts, root, beams=1).fingerprint != same
    assert predictor_of(parts, root, max_new_tokens=5).fingerprint != same
    assert predictor_of(Parts(parts.model, parts.tokenizer, parts.preprocess, "1" * 64), root).fingerprint != same
    assert predictor_of(Parts(parts.model, parts.tokenizer, Preprocess(64, 64), "0" * 64), root).fingerprint != same


def test_setting_that_cannot_work_is_a_usage_error(parts: Parts, root: Path) -> None:
    with pytest.raises(UsageError, match="positions for 64"):
        predictor_of(parts, root, max_new_tokens=65)
    with pytest.raises(UsageError, match="at least one"):
        predictor_of(parts, root, batch=0)


def test_question_without_phrases_or_with_too_long_a_prompt_fails_alone(parts: Parts, root: Path) -> None:
    # The checkpoint has 64 positions; a map of 3 x 3 and its mean take 10 of them.
    batch = [
        Question("0.png", None, "find"),
        Question("0.png", None, "refer", " ".join(WORDS * 9)),
        Question("0.png", None, "refer", "the red car"),
    ]
    results = answers(predictor_of(parts, root), batch)
    missing, long, answer = (results[number] for number in range(3))
    assert isinstance(missing, Failure) and "a 'find' question without phrases has no prompt" in missing.reason
    assert isinstance(long, Failure) and long.reason.endswith("tokens; this checkpoint has positions for 54")
    assert isinstance(answer, Answer)


@pytest.mark.parametrize("beams", [1, 3])
def test_log_probabilities_are_kept_beside_equal_answers(parts: Parts, root: Path, beams: int) -> None:
    settings: dict[str, Any] = {
        "decoding": Decoding(beams=beams, max_new_tokens=12),
        "dtype": torch.float32,
        "batch": 4,
    }
    plain, keeping = Predictor(parts, root, **settings), Predictor(parts, root, **settings, log_probs=True)
    assert keeping.fingerprint == plain.fingerprint and keeping.provenance == plain.provenance
    seen: dict[Any, Any] = {}
    keeping.watch = lambda ticket, number, generated: seen.setdefault(ticket, {}).update({number: generated})
    batch = [*questions()[:5], Question("0.png", None, "find", phrases=(Phrase("red car"), Phrase("blue house")))]
    bare, kept = answers(plain, batch), answers(keeping, batch)
    for ticket, answer in kept.items():
        without = bare[ticket]
        assert isinstance(answer, Answer) and isinstance(without, Answer)
        assert (answer.raw, answer.value, answer.trail) == (without.raw, without.value, without.trail)
        assert without.log_probs == () and len(answer.log_probs) == len(answer.raw)
        for number, tokens in enumerate(answer.log_probs):
            assert [value for _, value in tokens] == pytest.approx(seen[ticket][number].log_probs, abs=5e-5)
            text = "".join(text for text, _ in tokens if text not in ("<s>", "</s>", "<pad>"))
            assert text == answer.raw[number]


def test_watch_is_called_with_the_tokens_of_each_prompt(parts: Parts, root: Path) -> None:
    model = predictor_of(parts, root)
    seen: dict[tuple[Any, int], int] = {}
    model.watch = lambda ticket, number, generated: seen.__setitem__((ticket, number), len(generated.tokens))
    phrases = (Phrase("red car"), Phrase("blue house"))
    [answer] = answers(model, [Question("0.png", None, "find", phrases=phrases)]).values()
    assert isinstance(answer, Answer)
    assert set(seen) == {(0, 0), (0, 1)}
    assert sum(seen.values()) == answer.tokens
