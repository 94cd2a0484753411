"""The model behind a queue: answers of batches, failures, and the pieces of tokens."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.florence2.tokenizer import Tokenizer
from harness.serving import worker as module
from harness.serving.requests import BadRequest, Completion
from harness.serving.worker import Pieces, Worker

DRAW = np.random.default_rng(0)


def completion(prompt: str = "What does the image describe?") -> Completion:
    return Completion(Image.fromarray(DRAW.integers(0, 256, (40, 60, 3), dtype=np.uint8)), prompt)


def test_requests_at_once_have_the_answers_of_each_alone(worker: Worker) -> None:
    asked = [completion() for _ in range(9)] + [completion("Locate the objects with category name in the image.")]
    alone = [worker.ask(one) for one in asked]
    with ThreadPoolExecutor(10) as pool:
        together = list(pool.map(worker.ask, asked))
    assert [one.text for one in together] == [one.text for one in alone]
    assert all(one.tokens and one.prompt_tokens for one in alone)


def test_prompt_that_is_too_long_is_refused_and_the_next_is_answered(worker: Worker) -> None:
    with pytest.raises(BadRequest, match=r"a prompt of .* tokens; this checkpoint has positions for") as raised:
        worker.ask(completion("word " * 5000))
    assert raised.value.status == 400
    assert worker.ask(completion()).text is not None


def test_error_of_the_model_is_of_its_requests_only(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(questions: Any) -> Any:
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(worker.predictor, "answer", broken)
        with pytest.raises(BadRequest, match="no memory") as raised:
            worker.ask(completion())
    assert raised.value.status == 500
    assert worker.ask(completion()).text is not None


def test_request_that_the_model_leaves_out_is_an_error(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(worker.predictor, "answer", lambda questions: iter(()))
        with pytest.raises(BadRequest, match="the model gave no answer"):
            worker.ask(completion())


def test_request_beyond_the_queue_is_refused(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    import queue

    full: Any = queue.Queue(1)
    full.put(None)
    monkeypatch.setattr(worker, "_waiting", full)
    with pytest.raises(BadRequest, match=f"{module.MOST_WAITING} requests are waiting") as raised:
        worker.ask(completion())
    assert raised.value.status == 503


@pytest.mark.parametrize("text", ["a cat", "café ☕ 😀", "<loc_7>cat<loc_999>", "two\nlines\t"])
def test_bytes_of_tokens_join_to_the_text(worker: Worker, text: str) -> None:
    tokenizer: Tokenizer = worker.predictor.tokenizer
    pieces = Pieces(tokenizer)
    ids = tokenizer.encode(text)[1:-1]
    assert b"".join(pieces.of(token)[1] for token in ids).decode() == text
