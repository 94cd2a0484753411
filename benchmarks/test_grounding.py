"""Flickr30k Entities' recall versus a plain rewrite of MDETR's steps in numpy, on as many phrases as the test split.

    python -m pytest benchmarks/test_grounding.py -p benchmark -o addopts= --benchmark-only

14,481 phrases in 4,969 sentences, with one to ten boxes each.  Both sides give equal recalls (asserted).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.interleaved import interleaved, quote, rounds
from harness.core import Answer, Box, Grounded, Phrase, Question, Row, Sample
from tasks.flickr30k import TASK, TYPES

SENTENCES, PHRASES = 4_969, 14_481


def generated(seed: int = 0) -> list[tuple[Sample[Grounded], Answer]]:
    """Returns samples and answers; about half of the phrases have their first box right."""
    draw = np.random.default_rng(seed)

    def boxes(most: int) -> tuple[Box, ...]:
        corners = draw.uniform(0, 400, (draw.integers(1, most + 1), 2))
        return tuple(map(tuple, np.hstack([corners, corners + draw.uniform(10, 200, corners.shape)]).tolist()))

    pairs = []
    for number in range(SENTENCES):
        phrases = PHRASES // SENTENCES + (number < PHRASES % SENTENCES)
        true = tuple(boxes(2) for _ in range(phrases))
        types = tuple((TYPES[draw.integers(len(TYPES))],) for _ in range(phrases))
        predicted = tuple(boxes(10) if draw.random() < 0.5 else (*first, *boxes(3)) for first in true)
        question = Question(f"{number // 5}.jpg", None, "ground", "", (Phrase("it"),) * phrases)
        sample = Sample(str(number), question, Grounded(true, types), question.image)
        pairs.append((sample, Answer(("",), Grounded(predicted))))
    return pairs


def mdetr_iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns (N, M) as MDETR's `_box_inter_union` and `box_iou`."""
    area = [(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (one, other)]
    low, high = np.maximum(one[:, None, :2], other[:, :2]), np.minimum(one[:, None, 2:], other[:, 2:])
    sides = (high - low).clip(min=0)
    both = sides[:, :, 0] * sides[:, :, 1]
    return both / (area[0][:, None] + area[1] - both)


def mdetr(pairs: Sequence[tuple[Sample[Grounded], Answer]]) -> dict[str, float]:
    """Returns the recalls in percent, at 1, 5 and 10 boxes, and at 1 versus the box around all true ones."""
    right, phrases = dict.fromkeys((1, 5, 10, "merged"), 0), 0
    for sample, answer in pairs:
        assert sample.target is not None and isinstance(answer.value, Grounded)
        for predicted, true in zip(answer.value.boxes, sample.target.boxes, strict=True):
            phrases += 1
            iou = mdetr_iou(np.array(predicted), np.array(true)).max(axis=1)
            for first in (1, 5, 10):
                right[first] += iou[:first].max() >= 0.5
            around = np.array([[*np.array(true)[:, :2].min(0), *np.array(true)[:, 2:].max(0)]])
            right["merged"] += mdetr_iou(np.array(predicted[:1]), around).max() >= 0.5
    return {str(name): 100 * count / phrases for name, count in right.items()}


def test_recall_versus_plain_steps(benchmark: Any) -> None:
    pairs = generated()
    results: dict[str, Any] = {}

    def ours() -> None:
        results["rows"] = [Row(sample, answer, TASK.score(sample, answer)) for sample, answer in pairs]

    def theirs() -> None:
        results["theirs"] = mdetr(pairs)

    times = interleaved({"ours": ours, "plain": theirs}, rounds(5))
    rows = results["rows"]
    sums = {key: sum(row.score.values[key] for row in rows) for key in rows[0].score.values}
    shares = [100 * sums[f"right at {which}"] / sums["phrases"] for which in ("1", "5", "10", "1 merged")]
    np.testing.assert_allclose(shares, list(results["theirs"].values()), rtol=0, atol=1e-9)
    quote(benchmark, f"Flickr30k recall, {PHRASES:,} phrases", times, ours="ours", theirs="plain")
    benchmark.pedantic(ours, rounds=1)
