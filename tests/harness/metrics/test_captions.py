"""Caption scores against pycocoevalcap's own scorers, given the same tokens, and against sums done by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from harness.metrics import ptb
from harness.metrics.captions import CaptionScores, copies, corpus_bleu, mark

Corpus = tuple[list[str], list[list[str]]]
CLOSE = {"rtol": 0, "atol": 1e-9}


def tokenised(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[dict[int, list[str]], ...]:
    """Candidates and references as the official scorers take them."""
    lines = map(" ".join, ptb.tokens(chain.from_iterable(references)))
    wanted = {place: list(islice(lines, len(captions))) for place, captions in enumerate(references)}
    return dict(enumerate([" ".join(tokens)] for tokens in ptb.tokens(candidates))), wanted


def bleu(scores: CaptionScores) -> tuple[float, ...]:
    """BLEU-1 to 4 of all images."""
    counts = scores.correct, scores.guessed, scores.length, scores.reference_length
    return corpus_bleu(*(count.sum(axis=0) for count in counts))


words = st.sampled_from(["a", "dog", "the", "cat", "runs", "3 1/4", ".", ",", "U.S.", "can't", "the dog"])
sentences = st.lists(words, max_size=9).map(" ".join)
images = st.tuples(sentences, st.lists(sentences, min_size=1, max_size=4))
corpora = st.lists(images, min_size=1, max_size=6).map(
    lambda pairs: ([c for c, _ in pairs], [list(r) for _, r in pairs])
)


@given(corpora)
@settings(max_examples=300, deadline=None)
@example((["", "a"], [["", "a dog"], ["a"]]))
@example((["dog", "cat"], [["cat"], ["dog"]]))
@example((["a dog", "a dog"], [["a dog"], ["a dog"]]))  # in every image: not rare at all
@example((["a"], [["a"]]))
@example((["the the the", "a"], [["the cat the", "the"], ["a a"]]))
@example((["3 1/4", "1"], [["1/4 3"], ["3 1/4 a"]]))  # two words to BLEU and CIDEr, one token to ROUGE
def test_the_official_scorers_agree(corpus: Corpus) -> None:
    candidates, references = corpus
    said, wanted = tokenised(candidates, references)
    scores = mark(candidates, references)

    corpus_score, image_scores = Bleu(4).compute_score(wanted, said, verbose=0)
    assert bleu(scores) == pytest.approx(corpus_score, abs=1e-9)
    counts = (scores.correct, scores.guessed, scores.length, scores.reference_length)
    alone = [corpus_bleu(*(count[place] for count in counts)) for place in range(len(candidates))]
    np.testing.assert_allclose(np.transpose(alone), image_scores, **CLOSE)

    mean, each = Rouge().compute_score(wanted, said)
    np.testing.assert_allclose(scores.rouge_l, each, **CLOSE)
    assert scores.rouge_l.mean() == pytest.approx(mean, abs=1e-9)

    if len(candidates) == 1:
        assert np.isnan(scores.cider).all()
    elif any(line.split() for line in chain.from_iterable(wanted.values())):  # else the official code stops
        mean, each = Cider().compute_score(wanted, said)
        np.testing.assert_allclose(scores.cider, each, **CLOSE)
        assert scores.cider.mean() == pytest.approx(mean, abs=1e-9)
    else:
        assert not scores.cider.any()


def test_cider_by_hand() -> None:
    """Two images; every word of the first is in one image: its weight is log 2, which cancels out of a cosine.

    "red car" against "red car": unigrams and bigrams alike, 1 and 1; no trigrams, 0 and 0; no difference in length.
    (1 + 1 + 0 + 0) / 4 * 10 = 5.  "bus" against "cat": nothing shared.
    """
    scores = mark(["red car", "bus"], [["red car"], ["cat"]])
    np.testing.assert_allclose(scores.cider, [5, 0], atol=1e-12)


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


def test_of_two_reference_lengths_as_close_the_shorter() -> None:
    references = [["a b c d", "a b", "a b c d e f"]]  # 4 and 2 are one off 3
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
def test_the_longest_common_subsequence(one: list[int], other: list[int]) -> None:
    """ROUGE-L against the usual table, through captions longer than a machine word."""
    table = np.zeros((len(one) + 1, len(other) + 1), dtype=int)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assume(one and other)
    precision, recall = table[-1, -1] / len(one), table[-1, -1] / len(other)
    below = recall + 1.44 * precision
    expected = 2.44 * precision * recall / below if below else 0.0
    said, wanted = (" ".join(f"word{'abcd'[number]}" for number in side) for side in (one, other))
    assert mark([said], [[wanted]]).rouge_l == pytest.approx(expected, abs=1e-12)


def test_what_cannot_be_marked() -> None:
    with pytest.raises(ValueError, match="2 candidates for the references of 1 images"):
        mark(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="image 1 has no reference"):
        mark(["a", "b"], [["a"], []])
    with pytest.raises(ValueError, match="no captions"):
        mark([], [])


@given(corpora, st.data())
@settings(max_examples=200, deadline=None)
def test_copies_of_images_against_the_official_scorer_on_the_set_with_the_copies_in_it(
    corpus: Corpus, data: st.DataObject
) -> None:
    """Rarities included: of an image that is drawn twice all its words are in two images."""
    candidates, references = corpus
    drawn = data.draw(st.lists(st.integers(0, len(candidates) - 1), min_size=2, max_size=8))
    count = np.bincount(drawn, minlength=len(candidates)).astype(np.float64)
    said, wanted = tokenised([candidates[place] for place in drawn], [references[place] for place in drawn])
    assume(any(line.split() for line in chain.from_iterable(wanted.values())))  # else the official code stops
    mean, _ = Cider().compute_score(wanted, said)
    assert copies(candidates, references).cider(count) == pytest.approx(mean, abs=1e-9)


def test_one_image_in_all_has_no_cider() -> None:
    found = copies(["red car", "bus"], [["red car"], ["cat"]])
    assert math.isnan(found.cider(np.array([1.0, 0.0])))
    assert found.cider(np.array([1.0, 1.0])) == pytest.approx(2.5)  # as by hand above: 5 and 0
    assert found.cider(np.array([2.0, 0.0])) == 0  # what is in each of two images is not rare
