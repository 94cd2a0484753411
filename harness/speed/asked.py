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

    def opened(query: int) -> tuple[Tensor, Size]:
        picture = open_rgb(predictor.root, questions[query].image)
        return predictor.preprocess.resize(picture), Size(*picture.size)

    def opening(query: int) -> Tensor:
        return opened(query)[0]

    def parsing(ids: Sequence[int], log_probs: Sequence[float], query: int) -> object:
        question = questions[query]
        items = predictor.tokenizer.items(ids, log_probs)
        return reading.read_answer(question, [items], pictures[query][1], predictor.forms[question.kind])

    pictures = [opened(query) for query in range(len(questions))]
    texts = [
        prompts.prompts_of(question, predictor.forms[question.kind], size)[0]
        for question, (_, size) in zip(questions, pictures, strict=True)
    ]
    pixels, ids = [pixels for pixels, _ in pictures], [predictor.tokenizer.encode(text) for text in texts]
    return Queries(pixels, ids, about, opening, parsing)
