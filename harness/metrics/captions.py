"""CIDEr-D, BLEU-1 to 4 and ROUGE-L of captions, as pycocoevalcap 1.2 computes them, in numpy and without Java.

    mark(["a dog runs"], [["a dog is running", "the dog runs"]])

CIDEr-D (Vedantam et al., CVPR 2015).  N-grams of 1 to 4 words are weighted by their inverse document frequency: the
logarithm of the number of images over the number of images whose references have the n-gram.  Counts are clipped to the
reference's, and a Gaussian penalises a difference in length.  The result is times 10, as in the official code; papers
multiply its mean by 100.  For a single image every inverse document frequency is zero: CIDEr is NaN here, and 0 in the
official code.

BLEU (Papineni et al., ACL 2002) is computed for the whole corpus, from sums over images.  Counts are clipped to the
largest count in any reference.  The reference length is the one closest to the candidate's; of two equally close, the
shorter.

ROUGE-L (Lin, 2004).  Precision and recall are each the maximum over the references, possibly of two different ones.

A caption without tokens counts.  It has no n-grams; for ROUGE-L it is one empty token, equal to that of a reference
without tokens.  `harness.metrics.ptb` makes the tokens, of all references first and then of all candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import ArrayLike

from harness.metrics import ptb
from harness.metrics.cider import LONGEST, Copies, Floats, Ints, Ngrams, length_penalty, orders

Numbered = list[list[int]]  # captions as token numbers

BETA = 1.2  # of ROUGE-L: recall has more weight than precision
TINY, SMALL = 1e-15, 1e-9  # added to BLEU's numerators and denominators, as in the official code


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """The scores of the candidate captions of n images, in the order of the images."""

    cider: Floats  # (n,) 0 to 10
    rouge_l: Floats  # (n,) 0 to 1
    correct: Ints  # (n, 4) n-grams of 1 to 4 words that a reference also has
    guessed: Ints  # (n, 4) n-grams of 1 to 4 words
    length: Ints  # (n,) in words
    reference_length: Ints  # (n,) in words


def mark(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """The scores of one candidate caption for each image, against the references of the image.

    ValueError where there are no images, an image has no reference, or the lengths differ.
    """
    numbers, candidate_tokens, reference_tokens, image = _numbered(candidates, references)
    candidate_words, reference_words = numbers.words(candidate_tokens), numbers.words(reference_tokens)
    length = _lengths(candidate_words)
    ngrams = _ngrams(candidate_words, reference_words, image)
    return CaptionScores(
        cider=ngrams.cider(len(candidates)),
        rouge_l=_rouge_l(candidate_tokens, reference_tokens, image),
        correct=np.stack([order.correct(len(candidates)) for order in ngrams.orders], axis=1),
        guessed=np.maximum(length[:, None] - np.arange(LONGEST), 0),
        length=length,
        reference_length=_closest(length, _lengths(reference_words), image),
    )


def copies(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Copies:
    """CIDEr-D of the corpus with any number of copies of each image.  ValueError as for `mark`."""
    numbers, candidate_tokens, reference_tokens, image = _numbered(candidates, references)
    ngrams = _ngrams(numbers.words(candidate_tokens), numbers.words(reference_tokens), image)
    return Copies(ngrams, len(candidates))


def corpus_bleu(
    correct: ArrayLike, guessed: ArrayLike, length: float, reference_length: float
) -> tuple[float, float, float, float]:
    """BLEU-1 to 4 as fractions, from sums over images, weighted or not; `correct` and `guessed` are (4,)."""
    precision = (np.asarray(correct, dtype=np.float64) + TINY) / (np.asarray(guessed, dtype=np.float64) + SMALL)
    ratio = (length + TINY) / (reference_length + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    one, two, three, four = np.cumprod(precision) ** (1 / np.arange(1, LONGEST + 1)) * brevity
    return float(one), float(two), float(three), float(four)


def check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """ValueError where there are no images, an image has no reference, or the lengths differ."""
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates for the references of {len(references)} images")
    if not references:
        raise ValueError("there are no captions to score")
    for place, captions in enumerate(references):
        if not captions:
            raise ValueError(f"image {place} has no reference captions")


# ---------------------------------------------------------------------------- tokens and words


def _numbered(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[_TokenNumbers, Numbered, Numbered, Ints]:
    """The table of tokens; candidates and references as token numbers; and the image of each reference."""
    check(candidates, references)
    numbers = _TokenNumbers()
    reference_tokens = numbers.captions(ptb.tokens(chain.from_iterable(references)))
    candidate_tokens = numbers.captions(ptb.tokens(candidates))
    image = np.repeat(np.arange(len(references)), list(map(len, references)))
    return numbers, candidate_tokens, reference_tokens, image


def _ngrams(candidates: Numbered, references: Numbered, image: Ints) -> Ngrams:
    penalty = length_penalty(_lengths(candidates)[image], _lengths(references))
    return Ngrams(orders(candidates, references, image), image, penalty)


class _TokenNumbers(dict[str, int]):
    """A number for each different token, in order of first appearance."""

    def __missing__(self, token: str) -> int:
        self[token] = number = len(self)
        return number

    def captions(self, captions: Iterable[list[str]]) -> Numbered:
        """Captions with each token replaced by its number."""
        return [[self[token] for token in tokens] for tokens in captions]

    def words(self, captions: Numbered) -> Numbered:
        """Captions of token numbers as captions of word numbers.

        A token that contains a no-break space is several words.  BLEU and CIDEr count words, ROUGE-L counts tokens.
        """
        cut = {number: token.split() for token, number in list(self.items()) if [token] != token.split()}
        if not cut:
            return captions
        pieces = {number: [self[word] for word in words] for number, words in cut.items()}
        return [[word for token in caption for word in pieces.get(token, (token,))] for caption in captions]


def _lengths(captions: Numbered) -> Ints:
    return np.fromiter(map(len, captions), np.int64, len(captions))


def _closest(candidate: Ints, reference: Ints, image: Ints) -> Ints:
    """(n,): the reference length closest to the candidate's, for each image; of two equally close, the shorter."""
    order = np.lexsort((reference, np.abs(reference - candidate[image]), image))
    closest: Ints = reference[order][np.searchsorted(image, np.arange(len(candidate)))]
    return closest


# ---------------------------------------------------------------------------- ROUGE-L


def _rouge_l(candidates: Numbered, references: Numbered, image: Ints) -> Floats:
    """(n,): ROUGE-L of each image's candidate.  A caption without tokens is one empty token."""
    precision, recall = np.zeros(len(candidates)), np.zeros(len(candidates))
    texts = iter(references)
    for number, count in enumerate(np.bincount(image).tolist()):
        candidate = candidates[number] or [-1]
        positions = _positions(candidate)
        for reference in islice(texts, count):
            common = _common_length(positions, len(candidate), reference or [-1])
            precision[number] = max(precision[number], common / len(candidate))
            recall[number] = max(recall[number], common / (len(reference) or 1))
    above, below = (1 + BETA**2) * precision * recall, recall + BETA**2 * precision
    return np.divide(above, below, out=np.zeros(len(candidates)), where=below > 0)


def _positions(tokens: list[int]) -> dict[int, int]:
    """The positions of each token, as the bits of an integer."""
    positions: dict[int, int] = {}
    for place, token in enumerate(tokens):
        positions[token] = positions.get(token, 0) | 1 << place
    return positions


def _common_length(positions: dict[int, int], length: int, tokens: list[int]) -> int:
    """Length of the longest common subsequence of `tokens` and a text of `length` tokens with these `positions`.

    Bit-parallel algorithm of Hyyrö (2004): one integer holds a row of the usual table, with a bit of 0 where the row
    increases by one.
    """
    row = full = (1 << length) - 1
    for token in tokens:
        if token in positions:
            same = row & positions[token]
            row = (row + same) | (row - same)
    return length - (row & full).bit_count()
