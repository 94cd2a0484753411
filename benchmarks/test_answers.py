"""VQA accuracy versus a plain rewrite of the official evaluator's steps, which the tests hold.

    python -m pytest benchmarks/test_answers.py -p benchmark -o addopts= --benchmark-only

Both alternate in one process for `BENCH_ROUNDS` rounds, ours with an empty cache of texts each time.  The record has
the median of the rounds' ratios, and the seconds of VQA v2's validation set (214,354 questions) at our rate.  The plain
steps take 2.2 times as long as the official code, so that the ratio to the official code is the recorded one over 2.2.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

from benchmarks.interleaved import interleaved, quote, rounds
from harness.metrics import answers
from tests.harness.metrics.test_answers import slow_vqa

ROUNDS = rounds(5)
QUESTIONS = 5_000
VALIDATION = 214_354
SHAPES = ("{}", "{}", "{}", "{}", "a {}", "The {}.", "{}-{}", "{} and {}", "{}'s", "{}, {}")


def generated(count: int, seed: int) -> tuple[list[str], list[list[str]]]:
    """Returns an answer and ten true answers per question; words follow Zipf's law, and a question has few texts."""
    generator = np.random.default_rng(seed)

    def text() -> str:
        words = (f"word{number}" for number in generator.zipf(1.3, 2) % 50_000)
        return SHAPES[generator.integers(len(SHAPES))].format(*words)

    predictions, truths = [], []
    for _ in range(count):
        texts = [text() for _ in range(1 + generator.geometric(0.35))]
        truths.append([texts[place] for place in np.minimum(generator.geometric(0.5, 10) - 1, len(texts) - 1)])
        predictions.append(texts[0] if generator.random() < 0.6 else text())
    return predictions, truths


def test_vqa_accuracies_versus_plain_steps(benchmark: Any) -> None:
    predictions, truths = generated(QUESTIONS, seed=0)
    scores: dict[str, list[float]] = {}

    def ours() -> None:
        answers._vqa_text.cache_clear()
        scores["ours"] = answers.vqa_accuracies(predictions, truths).tolist()

    def plain() -> None:
        scores["plain"] = [slow_vqa(answer, ten) for answer, ten in zip(predictions, truths, strict=True)]

    times = interleaved({"ours": ours, "plain": plain}, ROUNDS)
    np.testing.assert_allclose(scores["ours"], scores["plain"], rtol=0, atol=1e-12)

    texts = len({text for ten in truths for text in ten})
    validation = round(statistics.median(times["ours"]) * VALIDATION / QUESTIONS, 2)
    more = {"VQA v2 val s": validation, "texts": texts}
    quote(benchmark, f"VQA accuracy, {QUESTIONS:,} questions", times, ours="ours", theirs="plain", **more)
    benchmark.pedantic(ours, rounds=1)
