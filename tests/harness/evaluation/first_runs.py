"""For tests of re-ranking: two models without weights, whose numbers a digest decides, and recall by a slow loop."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from harness import store
from harness.core import Answer, Embedding, Failure, Match, Question, Run, Sample, Ticket
from harness.evaluation.api import evaluate

LIMIT = 8  # images, with 40 captions


def numbers(text: str, count: int) -> list[float]:
    """Numbers from -1 to 1 that a text decides."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).uniform(-1, 1, count).tolist()


def fit(image: str, text: str) -> float:
    """The score of a pair: one of eleven, so that many tie."""
    return round(numbers(f"{image}|{text}", 1)[0], 1) / 2


@dataclass
class Embeds:
    """The first model: an embedding of 5 numbers for each image and each caption."""

    fingerprint: str = "embeds v1"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            yield ticket, Answer(("5 numbers",), embedded(question))


@dataclass
class Matches:
    """The second model; `asked` holds its questions, and it stops with an error after `stop` of them."""

    fingerprint: str = "matches v1"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    stop: int | None = None

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            if len(self.asked) == self.stop:
                raise KeyboardInterrupt
            assert question.kind == "match"
            self.asked.append((question.image_name, question.text))
            yield ticket, Answer(("",), Match(fit(question.image_name, question.text)))


def first(out: Path, **changes: Any) -> Run:
    """A run of the first model on the miniature."""
    return evaluate(
        "flickr30k_retrieval", changes.pop("model", Embeds()), data="miniature", limit=LIMIT, out=out, **changes
    )


def second(out: Path, candidates: str | Run | None, **changes: Any) -> Run:
    """A run of the second model on the first one's candidates."""
    given: dict[str, Any] = {"model": Matches(), "task": "flickr30k_rerank", "limit": LIMIT, "data": "miniature"}
    return evaluate(**{**given, **changes}, candidates=candidates, out=out)


def embedded(question: Question) -> Embedding:
    """The first model's answer."""
    return Embedding.of(numbers(question.image_name + question.text, 5))


def similarity(a: Embedding, b: Embedding) -> float:
    """The largest dot product of their vectors."""
    return float((a.array.astype(float) @ b.array.astype(float).T).max())


def recalls(
    first: Sequence[Sample[Any]], vectors: Mapping[str, Embedding], scores: Mapping[tuple[str, str], float], top: int
) -> dict[str, float]:
    """R@K in percent from a matrix of final scores, as LAVIS fills it: -100 outside the candidates.

    The first run's similarity is added there, which orders the pairs outside and leaves them below all others.  `first`
    are the samples of the first run, and `scores` those of the second by image and caption.
    """
    images = [sample for sample in first if sample.question.image]
    captions = [sample for sample in first if not sample.question.image]
    hits: dict[str, list[bool]] = {}
    for direction, queries, gallery in (("image-to-text", images, captions), ("text-to-image", captions, images)):
        for query in queries:
            similar = [similarity(vectors[query.id], vectors[item.id]) for item in gallery]
            inside = sorted(range(len(gallery)), key=lambda place: -similar[place])[:top]
            final = []
            for place, item in enumerate(gallery):
                image, text = (query, item) if query.question.image else (item, query)
                pair = (image.question.image_name, text.question.text)
                final.append(scores[pair] if place in inside else -100 + similar[place])
            own = [item.cluster == query.cluster for item in gallery]
            best = max(score for score, right in zip(final, own, strict=True) if right)
            rank = sum(score >= best for score, right in zip(final, own, strict=True) if not right)
            for first_places in (1, 5, 10):
                hits.setdefault(f"{direction} R@{first_places}", []).append(rank < first_places)
    return {name: 100 * sum(of_queries) / len(of_queries) for name, of_queries in hits.items()}


def stored(out: Path, run: Run) -> dict[str, Any]:
    """The stored values of a run by sample id."""
    return {name: kept.answer.value for name, kept in store.find(out, run.id)[0].answers().items()}
