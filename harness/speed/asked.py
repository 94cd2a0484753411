"""What `bench` asks a checkpoint: a task's questions, as a set of queries."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from harness.core import Question, Size
from harness.florence2 import prompts, reading
from harness.florence2.predictor import Predictor
from harness.images import open_rgb
from harness.speed.systems import Queries


def asked_of(predictor: Predictor, questions: Sequence[Question], about: str) -> Queries:
    """The first prompt of each question, with its picture opened and resized; DataError for one that cannot be."""

    def opening(query: int) -> Tensor:
        return predictor.preprocess.resize(open_rgb(predictor.root, questions[query].image))

    def parsing(ids: Sequence[int], log_probs: Sequence[float], query: int) -> object:
        question = questions[query]
        items = predictor.tokenizer.items(ids, log_probs)
        return reading.read_answer(question, [items], question.size or Size(1, 1), predictor.forms[question.kind])

    texts = [prompts.prompts_of(question, predictor.forms[question.kind])[0] for question in questions]
    pixels = [opening(query) for query in range(len(questions))]
    return Queries(pixels, [predictor.tokenizer.encode(text) for text in texts], about, opening, parsing)
