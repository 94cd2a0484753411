"""CIDEr-D from n-gram counts (Vedantam et al., CVPR 2015, in the form of pycocoevalcap 1.2).

`harness.metrics.captions` states the rules.  Each n-gram is a number, and each pair of image and n-gram is a number;
sorting these finds the n-grams that candidates and references share.  The rarity of an n-gram is its inverse document
frequency.

`Copies` computes CIDEr under other weights of the images, where only the n-gram counts stay the same.  A cosine
consists of sums over n-grams of count times count times squared rarity, so three sparse matrices are multiplied by one
vector. All n-grams that occur in the references of one image only have the same rarity, so they share one column.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbered = Sequence[Sequence[int]]  # captions as word numbers

LONGEST = 4  # words in the longest n-gram
SIGMA = 6.0  # of the Gaussian length penalty, in words
SCALE = 10.0  # of the official code


@dataclass(frozen=True, slots=True)
class Ngrams:
    """The n-grams and length penalties from which CIDEr is computed, for n images with r references."""

    orders: tuple[Order, ...]  # for n-grams of 1 to 4 words
    image: Ints  # (r,): the image of each reference
    penalty: Floats  # (r,)

    def cider(self, images: int) -> Floats:
        """(n,): the CIDEr of each image, 0 to 10; NaN for a single image, where every rarity is zero."""
        if images == 1:
            return np.full(images, np.nan)
        likeness = sum(order.likeness(images, self.image) for order in self.orders) / LONGEST * self.penalty
        references = np.bincount(self.image, minlength=images)
        scores: Floats = SCALE * np.bincount(self.image, likeness, images) / references
        return scores


@dataclass(frozen=True, slots=True)
class Order:
    """All n-grams of one length, numbered from 0.

    The fields `candidate_*` have a row for each n-gram of each candidate, and `reference_*` for each of each reference.
    """

    having: Ints  # number of images that have each n-gram in their references
    candidate_image: Ints
    candidate_gram: Ints
    candidate_count: Ints
    reference_caption: Ints
    reference_gram: Ints
    reference_count: Ints
    pair_candidate: Ints  # candidate rows and reference rows with the same n-gram and image
    pair_reference: Ints

    def correct(self, images: int) -> Ints:
        """(n,): the number of the candidate's n-grams in a reference, clipped to the largest count in any reference."""
        most = np.zeros_like(self.candidate_count)
        np.maximum.at(most, self.pair_candidate, self.reference_count[self.pair_reference])
        return np.bincount(self.candidate_image, np.minimum(self.candidate_count, most), images).astype(np.int64)

    def likeness(self, images: int, image: Ints) -> Floats:
        """(r,): the clipped cosine between each reference and the candidate of its image."""
        rarity = math.log(images) - np.log(np.maximum(self.having, 1))
        candidate = self.candidate_count * rarity[self.candidate_gram]
        reference = self.reference_count * rarity[self.reference_gram]
        paired = reference[self.pair_reference]
        shared = np.minimum(candidate[self.pair_candidate], paired) * paired
        above = np.bincount(self.reference_caption[self.pair_reference], shared, len(image))
        below = np.bincount(self.candidate_image, candidate**2, images)[image]
        below = np.sqrt(below * np.bincount(self.reference_caption, reference**2, len(image)))
        cosines: Floats = np.divide(above, below, out=np.zeros(len(image)), where=below > 0)
        return cosines


class Copies:
    """CIDEr of a set that contains any number of copies of each image, for n images with r references."""

    def __init__(self, ngrams: Ngrams, images: int) -> None:
        self.image = ngrams.image
        references = np.bincount(ngrams.image, minlength=images)
        self.penalty = ngrams.penalty / references[ngrams.image]  # for a mean over the references of an image
        self.orders = [_Columns.of(order, images, ngrams.image) for order in ngrams.orders]

    def cider(self, copies: Floats) -> float:
        """The mean CIDEr, 0 to 10, with `copies` (n,) of each image; NaN where they sum to at most one image."""
        total = float(copies.sum())
        if total <= 1.0:
            return math.nan
        likeness = sum(columns.likeness(copies, math.log(total), self.image) for columns in self.orders)
        return float(SCALE / LONGEST * (likeness * self.penalty) @ copies[self.image] / total)


@dataclass(frozen=True, slots=True)
class _Columns:
    """N-grams of one length in sparse matrices.

    The columns are: one for all n-grams that no reference has; n for the n-grams of one image's references only, by
    image; and one for each n-gram that the references of several images have (shared n-grams).
    """

    having: csr_array  # (shared n-grams, n): 1 where the references of the image have the n-gram
    candidate: csr_array  # (n, columns): squared counts
    reference: csr_array  # (r, columns): squared counts
    shared: csr_array  # (r, columns): the smaller count times the reference's count

    @classmethod
    def of(cls, order: Order, images: int, image: Ints) -> _Columns:
        from scipy.sparse import csr_array

        size = len(order.having)
        holders = image[order.reference_caption]
        several = order.having > 1
        column = np.zeros(size, dtype=np.int64)
        alone = order.having[order.reference_gram] == 1
        column[order.reference_gram[alone]] = 1 + holders[alone]
        column[several] = 1 + images + np.arange(np.count_nonzero(several))
        width = 1 + images + np.count_nonzero(several)

        def table(rows: Ints, grams: Ints, values: Ints, height: int) -> csr_array:
            return csr_array((values.astype(np.float64), (rows, column[grams])), shape=(height, width))

        common = several[order.reference_gram]
        pairs = np.unique((column[order.reference_gram] - 1 - images)[common] * images + holders[common])
        spread, holder = np.divmod(pairs, images)
        having = csr_array((np.ones(len(pairs)), (spread, holder)), shape=(width - 1 - images, images))
        least = np.minimum(order.candidate_count[order.pair_candidate], order.reference_count[order.pair_reference])
        pair_caption, pair_gram = (
            order.reference_caption[order.pair_reference],
            order.reference_gram[order.pair_reference],
        )
        both = least * order.reference_count[order.pair_reference]
        return cls(
            having=having,
            candidate=table(order.candidate_image, order.candidate_gram, order.candidate_count**2, images),
            reference=table(order.reference_caption, order.reference_gram, order.reference_count**2, len(image)),
            shared=table(pair_caption, pair_gram, both, len(image)),
        )

    def likeness(self, copies: Floats, most: float, image: Ints) -> Floats:
        """(r,): as `Order.likeness`; `most` is the logarithm of the number of images, copies included."""
        having = np.concatenate([[0.0], copies, self.having @ copies])
        rarity = (most - np.log(np.maximum(having, 1.0))) ** 2
        below = np.sqrt((self.candidate @ rarity)[image] * (self.reference @ rarity))
        cosines: Floats = np.divide(self.shared @ rarity, below, out=np.zeros(len(image)), where=below > 0)
        return cosines


def length_penalty(candidate: Ints, reference: Ints) -> Floats:
    """CIDEr-D's Gaussian of the difference in length.

    `candidate` and `reference` are lengths in words.  The paper compares words.  The official code compares numbers of
    bigrams: one less than the words, and at least 0.
    """
    difference = np.maximum(candidate - 1, 0) - np.maximum(reference - 1, 0)
    penalty: Floats = np.exp(-(difference**2) / (2 * SIGMA**2))
    return penalty


def orders(candidates: Numbered, references: Numbered, image: Ints) -> tuple[Order, ...]:
    """The n-grams of 1 to 4 words of candidates and references."""
    captions = [*candidates, *references]
    lengths = np.fromiter(map(len, captions), np.int64, len(captions))
    words = np.fromiter(chain.from_iterable(captions), np.int64, lengths.sum())
    caption = np.repeat(np.arange(len(captions)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words from here to the caption's end
    vocabulary = words.max(initial=0) + 1
    grams, tables = np.zeros_like(words), []
    for length in range(1, LONGEST + 1):
        starts = np.flatnonzero(left >= length)
        keys, numbers = np.unique(grams[starts] * vocabulary + words[starts + length - 1], return_inverse=True)
        grams[starts] = numbers
        tables.append(_order(caption[starts], numbers, len(keys), len(candidates), image))
    return tuple(tables)


def _order(caption: Ints, gram: Ints, size: int, candidates: int, image: Ints) -> Order:
    """The table of occurrences of n-grams in captions; the first `candidates` captions are candidates."""
    rows, count = np.unique(caption * size + gram, return_counts=True)
    row_caption, row_gram = np.divmod(rows, max(size, 1))
    of_candidate = row_caption < candidates
    candidate = rows[of_candidate]  # image and n-gram as one number, sorted
    reference_caption, reference_gram = row_caption[~of_candidate] - candidates, row_gram[~of_candidate]
    reference = image[reference_caption] * size + reference_gram
    place = np.searchsorted(candidate, reference)
    place[place == len(candidate)] = 0
    same = np.flatnonzero(candidate[place] == reference) if len(candidate) else np.zeros(0, dtype=np.int64)
    return Order(
        having=np.bincount(np.unique(reference) % max(size, 1), minlength=size),
        candidate_image=row_caption[of_candidate],
        candidate_gram=row_gram[of_candidate],
        candidate_count=count[of_candidate],
        reference_caption=reference_caption,
        reference_gram=reference_gram,
        reference_count=count[~of_candidate],
        pair_candidate=place[same],
        pair_reference=same,
    )
