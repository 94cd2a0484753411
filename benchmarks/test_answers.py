"""VQA accuracy beside the official evaluator's steps, told again plainly in the tests, in one process.

    python -m pytest benchmarks/test_answers.py -p benchmark -o addopts= --benchmark-only

Both run by turns, `BENCH_ROUNDS` times, ours from an empty memory of texts; quoted is the median of the rounds' ratios,
and how long VQA v2's validation set (214,354 questions) would take at ours.  The steps as told again take 2.2 times as
long as the official code does on these questions: the ratio to that is the one quoted, over 2.2.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks.turns import by_turns, quote, rounds
from harness.metrics import answers
from tests.harness.metrics.test_answers import slow_vqa

ROUNDS = rounds(5)
QUESTIONS = 5_000
VALIDATION = 214_354
SHAPES = ("{}", "{}", "{}", "{}", "a {}", "The {}.", "{}-{}", "{} and {}", "{}'s", "{}, {}")


def asked(count: int, seed: int) -> tuple[list[str], list[list[str]]]:
    """Answers, and ten truths each: a few texts a question, out of many that are said ever more seldom."""
    draw = np.random.default_rng(seed)

    def text() -> str:
        words = (f"word{number}" for number in draw.zipf(1.3, 2) % 50_000)
        return SHAPES[draw.integers(len(SHAPES))].format(*words)

    given, truths = [], []
    for _ in range(count):
        seen = [text() for _ in range(1 + draw.geometric(0.35))]
        truths.append([seen[place] for place in np.minimum(draw.geometric(0.5, 10) - 1, len(seen) - 1)])
        given.append(seen[0] if draw.random() < 0.6 else text())
    return given, truths


def test_vqa_accuracies(benchmark: Any) -> None:
    given, truths = asked(QUESTIONS, seed=0)
    found: dict[str, list[float]] = {}

    def ours() -> None:
        answers._vqa_text.cache_clear()
        found["ours"] = answers.vqa_accuracies(given, truths).tolist()

    def plain() -> None:
        found["plain"] = [slow_vqa(answer, ten) for answer, ten in zip(given, truths, strict=True)]

    times = by_turns({"ours": ours, "plain": plain}, ROUNDS)
    np.testing.assert_allclose(found["ours"], found["plain"], rtol=0, atol=1e-12)

    texts = len({text for ten in truths for text in ten})
    validation = round(statistics.median(times["ours"]) * VALIDATION / QUESTIONS, 2)
    more = {"VQA v2 val s": validation, "texts": texts}
    quote(benchmark, f"VQA accuracy, {QUESTIONS:,} questions", times, ours="ours", theirs="plain", **more)
    benchmark.pedantic(ours, rounds=1)
