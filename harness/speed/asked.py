"""The questions of a task as the queries that `bench` measures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from harness.core import Question, Size
from harness.florence2 import prompts, reading
from harness.florence2.predictor import Predictor
from harness.images import open_rgb
from harness.speed.systems import Queries


def asked_of(predictor: Predictor, questions: Sequence[Question], about: str) -> Queries:
    """Returns one query per question: its image, opened and resized, and the token ids of its first prompt.

    `about` describes the set of queries in records.  Raises DataError for an image that cannot be opened and for a
    region that has no prompt.
    """

    def open_image(query: int) -> tuple[Tensor, Size]:
        image = open_rgb(predictor.root, questions[query].image)
        return predictor.preprocess.resize(image), Size(*image.size)

    def open_pixels(query: int) -> Tensor:
        return open_image(query)[0]

    def parse(ids: Sequence[int], log_probs: Sequence[float], query: int) -> object:
        question = questions[query]
        items = predictor.tokenizer.items(ids, log_probs)
        return reading.read_answer(question, [items], images[query][1], predictor.forms[question.kind])

    images = [open_image(query) for query in range(len(questions))]
    texts = [
        prompts.prompts_of(question, predictor.forms[question.kind], size)[0]
        for question, (_, size) in zip(questions, images, strict=True)
    ]
    pixels, ids = [pixels for pixels, _ in images], [predictor.tokenizer.encode(text) for text in texts]
    return Queries(pixels, ids, about, open_pixels, parse)
