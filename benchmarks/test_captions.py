"""Caption scores beside pycocoevalcap's pipeline without METEOR, on a corpus of the Karpathy test set's size.

    python -m pytest benchmarks/test_captions.py -p benchmark -o addopts= --benchmark-only

5,000 images and 25,010 references, tokenising included; the captions are made (words by Zipf's law, a tenth of them
with something for the tokeniser), or are a file's in COCO's caption format: BENCH_CAPTIONS=FILE takes those it has
over again.  Both give the same numbers (asserted).  Memory is the peak of a process that does nothing else.
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

from benchmarks.turns import by_turns, quote, rounds
from harness.core import Answer, Question, Row, Sample, Score, Text
from harness.metrics import captions, official_captions
from harness.metrics.java import java
from harness.statistics import estimate
from tasks.captions import METRICS, marks

IMAGES, REFERENCES = 5_000, 25_010
AWKWARD = ("man's", "can't", "(red)", "U.S.", "3/4", "t-shirt,", "-", "10:30", '"stop"', "dogs;", "#1", "café")
LIMIT_MB = 400


def word(number: int) -> str:
    """A different one, of a few syllables, for each number."""
    letters = []
    while number >= 0:
        letters.append("bcdfghjklmnprstvw"[number % 17] + "aeiou"[number // 17 % 5])
        number = number // 85 - 1
    return "".join(letters)


def made(seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Candidates and references of captions of 6 to 16 words, or of those in the file."""
    draw = np.random.default_rng(seed)
    given = os.environ.get("BENCH_CAPTIONS")
    told = [one["caption"] for one in json.loads(Path(given).read_text())["annotations"]] if given else []

    def caption() -> str:
        if told:
            return str(told[draw.integers(len(told))])
        words = [word(number) for number in (draw.zipf(1.4, draw.integers(6, 17)) % 8_000).tolist()]
        if draw.random() < 0.1:
            words[draw.integers(len(words))] = AWKWARD[draw.integers(len(AWKWARD))]
        return f"{' '.join(words).capitalize()}."

    references = [[caption() for _ in range(5 + (place < REFERENCES - 5 * IMAGES))] for place in range(IMAGES)]
    shuffled = [" ".join(draw.permutation(theirs[0].split())[:12]) for theirs in references]
    return shuffled, references


@pytest.mark.skipif(java() is None, reason="the official pipeline needs Java")
def test_caption_scores(benchmark: Any) -> None:
    candidates, references = made()
    assert sum(map(len, references)) == REFERENCES
    found: dict[str, captions.CaptionScores] = {}

    def ours() -> None:
        found["ours"] = captions.mark(candidates, references)

    def theirs() -> None:
        found["theirs"] = official_captions.mark(candidates, references)

    times = by_turns({"ours": ours, "pycocoevalcap": theirs}, rounds(3))
    for name in ("cider", "rouge_l", "correct", "guessed", "length", "reference_length"):
        np.testing.assert_allclose(getattr(found["ours"], name), getattr(found["theirs"], name), rtol=0, atol=1e-9)
    alone = subprocess.run([sys.executable, "-m", __spec__.name], capture_output=True, text=True, check=True)
    what = f"captions, {IMAGES:,} images, {REFERENCES:,} references"
    quote(benchmark, what, times, ours="ours", theirs="pycocoevalcap", **{"peak MB": float(alone.stdout)})
    benchmark.pedantic(ours, rounds=1)


def test_intervals(benchmark: Any) -> None:
    """All the metrics of captions that are marked, 1,000 resamples each."""
    candidates, references = made()
    rows = []
    for place, (said, wanted) in enumerate(zip(candidates, references, strict=True)):
        question = Question(f"{place}.jpg", None, "caption")
        sample = Sample(str(place), question, Text(tuple(wanted)), question.image)
        rows.append(Row(sample, Answer((said,), Text((said,))), Score({})))
    scored = [Row(row.sample, row.answer, Score(found)) for row, found in zip(rows, marks(rows), strict=True)]
    start = time.perf_counter()
    estimate(METRICS["CIDEr"], scored, 0)
    benchmark.extra_info["CIDEr alone, draws included, s"] = round(time.perf_counter() - start, 2)
    benchmark.pedantic(lambda: [estimate(metric, scored, 0) for metric in METRICS.values()], rounds=1)


if __name__ == "__main__":
    captions.mark(*made())
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
