"""Random sets of captions, and their form for the official scorers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice

from hypothesis import strategies as st

from harness.metrics import ptb

Corpus = tuple[list[str], list[list[str]]]  # candidates, and the references of each
# Scores are at most 10 and come from sums of fewer than 100 terms.  Their rounding errors are below
# 10 x 100 x 2.2e-16 = 2.2e-13; the tolerance leaves room for logarithms and powers with errors of many units.
CLOSE = {"rtol": 0, "atol": 1e-9}


def tokenised(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[int, list[str]], ...]:
    """Candidates and references in the form of the official scorers."""
    lines = map(" ".join, ptb.tokens(chain.from_iterable(references)))
    reference_lines = {place: list(islice(lines, len(captions))) for place, captions in enumerate(references)}
    return dict(enumerate([" ".join(tokens)] for tokens in ptb.tokens(candidates))), reference_lines


def has_words(lines: dict[int, list[str]]) -> bool:
    """Whether a line has a word; the official CIDEr code fails where no reference has one."""
    return any(line.split() for line in chain.from_iterable(lines.values()))


words = st.sampled_from(["a", "dog", "the", "cat", "runs", "3 1/4", ".", ",", "U.S.", "can't", "the dog"])
sentences = st.lists(words, max_size=9).map(" ".join)
images = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4))
corpora = st.lists(images, min_size=1, max_size=6).map(
    lambda pairs: ([c for c, _ in pairs], [list(r) for _, r in pairs])
)
