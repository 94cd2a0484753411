"""BLEU and ROUGE-L against pycocoevalcap's own scorers on the same tokens, and against sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.rouge.rouge import Rouge

from harness.metrics.captions import CaptionScores, corpus_bleu, mark
from tests.harness.metrics.caption_sets import CLOSE, Corpus, corpora, tokenised


def bleu(scores: CaptionScores) -> tuple[float, ...]:
    """BLEU-1 to 4 of all images."""
    counts = scores.correct, scores.guessed, scores.length, scores.reference_length
    return corpus_bleu(*(count.sum(axis=0) for count in counts))


@given(corpora)
@settings(max_examples=300, deadline=None)
@example((["", "a"], [["", "a dog"], ["a"]]))
@example((["dog", "cat"], [["cat"], ["dog"]]))
@example((["a"], [["a"]]))
@example((["the the the", "a"], [["the cat the", "the"], ["a a"]]))
@example((["3 1/4", "1"], [["1/4 3"], ["3 1/4 a"]]))  # two words for BLEU, one token for ROUGE
def test_bleu_and_rouge_equal_the_official_scorers(corpus: Corpus) -> None:
    candidates, references = corpus
    candidate_lines, reference_lines = tokenised(candidates, references)
    scores = mark(candidates, references)

    corpus_score, image_scores = Bleu(4).compute_score(reference_lines, candidate_lines, verbose=0)
    assert bleu(scores) == pytest.approx(corpus_score, abs=1e-9)
    counts = (scores.correct, scores.guessed, scores.length, scores.reference_length)
    alone = [corpus_bleu(*(count[place] for count in counts)) for place in range(len(candidates))]
    np.testing.assert_allclose(np.transpose(alone), image_scores, **CLOSE)

    mean, each = Rouge().compute_score(reference_lines, candidate_lines)
    np.testing.assert_allclose(scores.rouge_l, each, **CLOSE)
    assert scores.rouge_l.mean() == pytest.approx(mean, abs=1e-9)


def test_bleu_by_hand() -> None:
    """3 of 4 words, 1 of 3 pairs, neither triple; 4 words, where the reference has 5: brevity exp(1 - 5/4)."""
    scores = mark(["a dog runs here"], [["a dog barks and runs"]])
    assert scores.correct.tolist() == [[3, 1, 0, 0]]
    assert scores.guessed.tolist() == [[4, 3, 2, 1]]
    assert (scores.length.tolist(), scores.reference_length.tolist()) == ([4], [5])
    one, two, three, _ = bleu(scores)
    assert one == pytest.approx(3 / 4 * math.exp(-1 / 4))
    assert two == pytest.approx(math.sqrt(3 / 4 * 1 / 3) * math.exp(-1 / 4))
    assert three == pytest.approx(0, abs=1e-4)


def test_reference_length_of_two_equally_close_is_the_shorter() -> None:
    references = [["a b c d", "a b", "a b c d e f"]]  # 4 and 2 both differ from 3 by 1
    assert mark(["a b c"], references).reference_length.tolist() == [2]


def test_rouge_by_hand() -> None:
    """Three of four tokens in order, of four and of three: p = 3/4, r = 3/3, from two references."""
    precision, recall, beta = 3 / 4, 1.0, 1.2
    expected = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    one, both = mark(["a big dog runs"] * 2, [["a big cat runs"], ["a big cat runs", "big dog runs"]]).rouge_l
    assert one == pytest.approx((1 + beta**2) * 0.75 * 0.75 / (0.75 + beta**2 * 0.75))
    assert both == pytest.approx(expected)


@given(st.lists(st.integers(0, 3), max_size=70), st.lists(st.integers(0, 3), max_size=70))
@settings(max_examples=200, deadline=None)
def test_rouge_equals_the_table_of_common_subsequences(one: list[int], other: list[int]) -> None:
    """Captions of up to 70 tokens, which are more than the bits of a machine word."""
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assume(one and other)
    precision, recall = table[-1, -1] / len(one), table[-1, -1] / len(other)
    below = recall + 1.44 * precision
    expected = 2.44 * precision * recall / below if below else 0.0
    candidate, reference = (" ".join(f"word{'abcd'[number]}" for number in side) for side in (one, other))
    assert mark([candidate], [[reference]]).rouge_l == pytest.approx(expected, abs=1e-12)


def test_captions_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(ValueError, match="2 candidates for the references of 1 images"):
        mark(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="image 1 has no reference"):
        mark(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="no captions"):
        mark([], [])
