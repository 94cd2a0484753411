"""CIDEr-D, BLEU-1 to 4 and ROUGE-L of captions, as pycocoevalcap 1.2 gives them, in numpy and without Java.

    mark(["a dog runs"], [["a dog is running", "the dog runs"]])

CIDEr-D (Vedantam et al., CVPR 2015): n-grams of 1 to 4 words, weighed by the logarithm of images over images whose
references have it; counts clipped to the reference's, and a Gaussian of the difference in length; times 10, the scale
of the official code (papers multiply its mean by 100).  With one image nothing is rare, and there is no CIDEr: NaN
here, 0 there.  BLEU (Papineni et al., ACL 2002) is of the whole corpus, from sums: counts clipped to the most that any
reference has; of the references' lengths the one closest to the candidate's, of two as close the shorter.  ROUGE-L
(Lin, 2004): precision and recall, each the best over the references, maybe of two.

A caption without tokens counts: it has no n-grams, and to ROUGE-L it is one empty token, equal to that of a reference
without tokens.  Tokens are those of `harness.metrics.ptb`, all references read in one go, then all candidates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
from numpy.typing import ArrayLike

from harness.metrics import ptb
from harness.metrics.cider import LONGEST, Copies, Floats, Ints, Rarity, length_penalty, orders

Numbered = list[list[int]]  # captions, a number for each different token

BETA = 1.2  # of ROUGE-L: recall counts for more
TINY, SMALL = 1e-15, 1e-9  # BLEU's, above and below the line


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """What each image's caption came to: n images, in their order."""

    cider: Floats  # (n,)
    rouge_l: Floats  # (n,)
    correct: Ints  # (n, 4): n-grams of 1 to 4 words that a reference has too
    guessed: Ints  # (n, 4): n-grams of 1 to 4 words
    length: Ints  # (n,) words
    reference_length: Ints  # (n,) words


def mark(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """Every score of one candidate an image against its references.

    ValueError where there are no images, not one candidate for each, or an image without a reference.
    """
    numbers, said, wanted, image = _read(candidates, references)
    rouge = _rouge_l(said, wanted, image)
    said, wanted = numbers.words(said), numbers.words(wanted)
    length, wanted_length = _lengths(said), _lengths(wanted)
    rare = _rare(said, wanted, image)
    return CaptionScores(
        cider=rare.cider(len(said)),
        rouge_l=rouge,
        correct=np.stack([order.correct(len(said)) for order in rare.orders], axis=1),
        guessed=np.maximum(length[:, None] - np.arange(LONGEST), 0),
        length=length,
        reference_length=_closest(length, wanted_length, image),
    )


def copies(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Copies:
    """CIDEr-D of a corpus with any number of copies of each image.  ValueError as for `mark`."""
    numbers, said, wanted, image = _read(candidates, references)
    return Copies(_rare(numbers.words(said), numbers.words(wanted), image), len(said))


def corpus_bleu(
    correct: ArrayLike, guessed: ArrayLike, length: float, reference_length: float
) -> tuple[float, float, float, float]:
    """BLEU-1 to 4 from sums over images, weighted or not: `correct` and `guessed` are (4,)."""
    precision = (np.asarray(correct, dtype=np.float64) + TINY) / (np.asarray(guessed, dtype=np.float64) + SMALL)
    ratio = (length + TINY) / (reference_length + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    one, two, three, four = np.cumprod(precision) ** (1 / np.arange(1, LONGEST + 1)) * brevity
    return float(one), float(two), float(three), float(four)


def check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """ValueError where there are no images, not one candidate for each, or an image without a reference."""
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} candidates for the references of {len(references)} images")
    if not references:
        raise ValueError("there are no captions to mark")
    for place, captions in enumerate(references):
        if not captions:
            raise ValueError(f"image {place} has no reference captions")


# ---------------------------------------------------------------------------- tokens and words


def _read(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[_Numbers, Numbered, Numbered, Ints]:
    """The tokens of candidates and of references, as numbers, and whose each reference is."""
    check(candidates, references)
    numbers = _Numbers()
    wanted = numbers.read(ptb.tokens(chain.from_iterable(references)))
    said = numbers.read(ptb.tokens(candidates))
    return numbers, said, wanted, np.repeat(np.arange(len(references)), list(map(len, references)))


def _rare(said: Numbered, wanted: Numbered, image: Ints) -> Rarity:
    return Rarity(orders(said, wanted, image), image, length_penalty(_lengths(said)[image], _lengths(wanted)))


class _Numbers(dict[str, int]):
    """A number for each different token, in order of first appearance."""

    def __missing__(self, token: str) -> int:
        self[token] = number = len(self)
        return number

    def read(self, captions: Iterable[list[str]]) -> Numbered:
        return [[self[token] for token in tokens] for tokens in captions]

    def words(self, captions: Numbered) -> Numbered:
        """As `str.split` cuts them, which BLEU and CIDEr are of: some tokens hold a space of another kind."""
        cut = {number: token.split() for token, number in list(self.items()) if [token] != token.split()}
        if not cut:
            return captions
        pieces = {number: [self[word] for word in words] for number, words in cut.items()}
        return [[word for token in caption for word in pieces.get(token, (token,))] for caption in captions]


def _lengths(captions: Numbered) -> Ints:
    return np.fromiter(map(len, captions), np.int64, len(captions))


def _closest(length: Ints, wanted: Ints, image: Ints) -> Ints:
    """(n,): of each image's reference lengths the closest to its candidate's, of two as close the shorter."""
    order = np.lexsort((wanted, np.abs(wanted - length[image]), image))
    first: Ints = wanted[order][np.searchsorted(image, np.arange(len(length)))]
    return first


# ---------------------------------------------------------------------------- ROUGE-L


def _rouge_l(said: Numbered, wanted: Numbered, image: Ints) -> Floats:
    """(n,).  No tokens are one empty token."""
    precision, recall = np.zeros(len(said)), np.zeros(len(said))
    texts = iter(wanted)
    for number, references in enumerate(np.bincount(image).tolist()):
        candidate = said[number] or [-1]
        places = _places(candidate)
        for reference in islice(texts, references):
            common = _common(places, len(candidate), reference or [-1])
            precision[number] = max(precision[number], common / len(candidate))
            recall[number] = max(recall[number], common / (len(reference) or 1))
    above, below = (1 + BETA**2) * precision * recall, recall + BETA**2 * precision
    return np.divide(above, below, out=np.zeros(len(said)), where=below > 0)


def _places(tokens: list[int]) -> dict[int, int]:
    """Where each token is, as the bits of a number."""
    places: dict[int, int] = {}
    for place, token in enumerate(tokens):
        places[token] = places.get(token, 0) | 1 << place
    return places


def _common(places: dict[int, int], length: int, tokens: list[int]) -> int:
    """How long the longest common subsequence is with the text of `length` tokens that has `places`.

    All of a row of the usual table in one number: a bit is 0 where the row grows by one (Hyyrö, 2004).
    """
    row = full = (1 << length) - 1
    for token in tokens:
        if token in places:
            same = row & places[token]
            row = (row + same) | (row - same)
    return length - (row & full).bit_count()
