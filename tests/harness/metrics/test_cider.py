"""CIDEr against pycocoevalcap's own scorer, with and without copies of images, and against sums by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pycocoevalcap.cider.cider import Cider

from harness.metrics.captions import copies, mark
from harness.metrics.cider import length_penalty
from tests.harness.metrics.caption_sets import CLOSE, Corpus, corpora, has_words, tokenised


@given(corpora)
@settings(max_examples=300, deadline=None)
@example((["", "a"], [["", "a dog"], ["a"]]))
@example((["dog", "cat"], [["cat"], ["dog"]]))
@example((["a dog", "a dog"], [["a dog"], ["a dog"]]))  # words of all images have a rarity of 0
@example((["a"], [["a"]]))
@example((["the the the", "a"], [["the cat the", "the"], ["a a"]]))
@example((["3 1/4", "1"], [["1/4 3"], ["3 1/4 a"]]))  # a token of two words
def test_cider_equals_the_official_scorer(corpus: Corpus) -> None:
    candidates, references = corpus
    candidate_lines, reference_lines = tokenised(candidates, references)
    scores = mark(candidates, references)
    if len(candidates) == 1:
        assert np.isnan(scores.cider).all()
    elif has_words(reference_lines):
        mean, each = Cider().compute_score(reference_lines, candidate_lines)
        np.testing.assert_allclose(scores.cider, each, **CLOSE)
        assert scores.cider.mean() == pytest.approx(mean, abs=1e-9)
    else:
        assert not scores.cider.any()


def test_cider_by_hand() -> None:
    """Two images; every word of the first is in one image: its weight is log 2, which cancels out of a cosine.

    "red car" against "red car": unigrams and bigrams have a cosine of 1 each, and there are no longer n-grams.  The
    lengths are equal.  So CIDEr is (1 + 1 + 0 + 0) / 4 * 10 = 5.  "bus" and "cat" share nothing.
    """
    scores = mark(["red car", "bus"], [["red car"], ["cat"]])
    np.testing.assert_allclose(scores.cider, [5, 0], atol=1e-12)


def test_length_penalty_counts_bigrams() -> None:
    """A caption of n words has max(n - 1, 0) bigrams; the Gaussian has a deviation of 6."""
    lengths = np.array([0, 1, 1, 4, 7]), np.array([0, 0, 2, 1, 1])
    differences = [0, 0, 1, 3, 6]
    expected = [math.exp(-(number**2) / 72) for number in differences]
    np.testing.assert_allclose(length_penalty(*lengths), expected, rtol=1e-14)


@given(corpora, st.data())
@settings(max_examples=200, deadline=None)
def test_copies_of_images_equal_the_official_scorer_on_the_set_with_the_copies(
    corpus: Corpus, data: st.DataObject
) -> None:
    """Document frequencies include the copies: the words of an image that is drawn twice are in two images."""
    candidates, references = corpus
    drawn = data.draw(st.lists(st.integers(0, len(candidates) - 1), min_size=2, max_size=8))
    count = np.bincount(drawn, minlength=len(candidates)).astype(np.float64)
    lines = tokenised([candidates[place] for place in drawn], [references[place] for place in drawn])
    assume(has_words(lines[1]))
    mean, _ = Cider().compute_score(lines[1], lines[0])
    assert copies(candidates, references).cider(count) == pytest.approx(mean, abs=1e-9)


def test_copies_of_a_single_image_in_all_have_no_cider() -> None:
    corpus = copies(["red car", "bus"], [["red car"], ["cat"]])
    assert math.isnan(corpus.cider(np.array([1.0, 0.0])))
    assert corpus.cider(np.array([1.0, 1.0])) == pytest.approx(2.5)  # the mean of 5 and 0, as by hand above
    assert corpus.cider(np.array([2.0, 0.0])) == 0  # words of both images have a rarity of 0
