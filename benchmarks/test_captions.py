"""Caption scores versus pycocoevalcap's pipeline without METEOR, on a corpus of the Karpathy test set's size.

    python -m pytest benchmarks/test_captions.py -p benchmark -o addopts= --benchmark-only

5,000 images and 25,010 references, with tokenisation.  Captions are generated: words follow Zipf's law, and a tenth of
the captions has a word that needs the full rules of the tokenizer.  With BENCH_CAPTIONS=FILE, captions are sampled from
a file in COCO's caption format.  Both sides give equal scores (asserted).  Peak memory is that of a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.interleaved import interleaved, quote, rounds
from harness.core import Answer, Question, Row, Sample, Score, Text
from harness.metrics import captions, official_captions
from harness.metrics.java import java
from harness.statistics import estimate
from tasks.captions import METRICS, marks

IMAGES, REFERENCES = 5_000, 25_010
AWKWARD = ("man's", "can't", "(red)", "U.S.", "3/4", "t-shirt,", "-", "10:30", '"stop"', "dogs;", "#1", "café")
LIMIT_MB = 400


def word(number: int) -> str:
    """Returns a word of a few syllables, different for each number."""
    letters = []
    while number >= 0:
        letters.append("bcdfghjklmnprstvw"[number % 17] + "aeiou"[number // 17 % 5])
        number = number // 85 - 1
    return "".join(letters)


def generated(seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Returns candidates and references: captions of 6 to 16 words, or sampled from the file."""
    generator = np.random.default_rng(seed)
    path = os.environ.get("BENCH_CAPTIONS")
    real = [entry["caption"] for entry in json.loads(Path(path).read_text())["annotations"]] if path else []

    def caption() -> str:
        if real:
            return str(real[generator.integers(len(real))])
        words = [word(number) for number in (generator.zipf(1.4, generator.integers(6, 17)) % 8_000).tolist()]
        if generator.random() < 0.1:
            words[generator.integers(len(words))] = AWKWARD[generator.integers(len(AWKWARD))]
        return f"{' '.join(words).capitalize()}."

    references = [[caption() for _ in range(5 + (place < REFERENCES - 5 * IMAGES))] for place in range(IMAGES)]
    candidates = [" ".join(generator.permutation(captions_of[0].split())[:12]) for captions_of in references]
    return candidates, references


@pytest.mark.skipif(java() is None, reason="the official pipeline needs Java")
def test_caption_scores_versus_pycocoevalcap(benchmark: Any) -> None:
    candidates, references = generated()
    assert sum(map(len, references)) == REFERENCES
    scores: dict[str, captions.CaptionScores] = {}

    def ours() -> None:
        scores["ours"] = captions.mark(candidates, references)

    def theirs() -> None:
        scores["theirs"] = official_captions.mark(candidates, references)

    times = interleaved({"ours": ours, "pycocoevalcap": theirs}, rounds(3))
    for name in ("cider", "rouge_l", "correct", "guessed", "length", "reference_length"):
        np.testing.assert_allclose(getattr(scores["ours"], name), getattr(scores["theirs"], name), rtol=0, atol=1e-9)
    alone = subprocess.run([sys.executable, "-m", __spec__.name], capture_output=True, text=True, check=True)
    name = f"captions, {IMAGES:,} images, {REFERENCES:,} references"
    quote(benchmark, name, times, ours="ours", theirs="pycocoevalcap", **{"peak MB": float(alone.stdout)})
    benchmark.pedantic(ours, rounds=1)


def test_caption_intervals(benchmark: Any) -> None:
    """The intervals of all caption metrics, with 1,000 resamples each, after scoring."""
    candidates, references = generated()
    rows = []
    for place, (candidate, true) in enumerate(zip(candidates, references, strict=True)):
        question = Question(f"{place}.jpg", None, "caption")
        sample = Sample(str(place), question, Text(tuple(true)), question.image)
        rows.append(Row(sample, Answer((candidate,), Text((candidate,))), Score({})))
    scored = [Row(row.sample, row.answer, Score(values)) for row, values in zip(rows, marks(rows), strict=True)]
    start = time.perf_counter()
    estimate(METRICS["CIDEr"], scored, 0)
    benchmark.extra_info["CIDEr alone, with resampling, s"] = round(time.perf_counter() - start, 2)
    benchmark.pedantic(lambda: [estimate(metric, scored, 0) for metric in METRICS.values()], rounds=1)


if __name__ == "__main__":
    captions.mark(*generated())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
