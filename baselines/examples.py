"""The examples before a question: samples of the task's training split, with their answers.

`harness.evaluation.examples` draws the pool.  Which samples of it precede a question depends on the question, the seed
and the pool alone.  Each question has examples of its own, drawn at random, as in the evaluation of IDEFICS (m4,
`prepare_dataset`) and of OpenFlamingo (`sample_batch_demos_from_query_set`).
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core import Question, Sample, Text

MOST_SHOTS = 32  # the most that Flamingo and IDEFICS are evaluated with


@dataclass(frozen=True, slots=True)
class Example:
    """A question of the training split with one of its answers."""

    question: Question
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """The pool of a run: `count` samples of it precede each question.

    `root` is the folder that the pool's image references are relative to.  `identity` names the pool with its targets
    and images, the count and the seed.  Every sample of the pool has a target of at least one text.
    """

    pool: Sequence[Sample[Text]]
    count: int
    seed: int
    root: Path
    identity: str

    def of(self, question: Question) -> tuple[Example, ...]:
        """The examples of a question, in the order in which they precede it."""
        parts = (self.seed, question.kind, question.image_name, question.text)
        chance = random.Random(hashlib.sha256(repr(parts).encode("utf-8", "replace")).digest())
        chosen = chance.sample(self.pool, self.count)
        return tuple(Example(sample.question, _answer(sample, chance)) for sample in chosen)


def answers(sample: Sample[Text]) -> list[str]:
    """The answers of a sample, each on one line, without empty ones; [] where none are published."""
    lines = [" ".join(text.split()) for text in sample.target.texts] if isinstance(sample.target, Text) else []
    return [line for line in lines if line]


def _answer(sample: Sample[Text], chance: random.Random) -> str:
    """The most frequent answer to a question, the first one among equals; one of an image's captions at random."""
    known = answers(sample)
    return Counter(known).most_common(1)[0][0] if sample.question.kind == "vqa" else chance.choice(known)
