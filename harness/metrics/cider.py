"""CIDEr-D, as it is made of n-grams, each counted once.

Vedantam et al., CVPR 2015, in pycocoevalcap 1.2's form: see `harness.metrics.captions`.  An n-gram is a number, and so
is an n-gram within an image; what candidates and references share is found by sorting those.

Under another weighting of the images everything but the counts of words is told anew (`Copies`).  A cosine is of sums
over n-grams of count times count times squared rarity, so it is three sparse matrices times one vector; and all n-grams
that one image's references alone have are as rare as that image is, so they are one column of them.
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
Numbered = Sequence[Sequence[int]]  # captions, a number for each different word

LONGEST = 4  # words in an n-gram
SIGMA = 6.0  # words, of the Gaussian
SCALE = 10.0


@dataclass(frozen=True, slots=True)
class Rarity:
    """What CIDEr is made of: n images, r references."""

    orders: tuple[Order, ...]
    image: Ints  # (r,): whose reference it is
    penalty: Floats  # (r,)

    def cider(self, images: int) -> Floats:
        """(n,): each image's CIDEr; NaN where there is one image only, of which nothing is rare."""
        if images == 1:
            return np.full(images, np.nan)
        likeness = sum(order.likeness(images, self.image) for order in self.orders) / LONGEST * self.penalty
        references = np.bincount(self.image, minlength=images)
        found: Floats = SCALE * np.bincount(self.image, likeness, images) / references
        return found


@dataclass(frozen=True, slots=True)
class Order:
    """All n-grams of one length, numbered from 0.  A row of `said` or `wanted` is an n-gram of a caption, once."""

    having: Ints  # of each different n-gram, how many images have it in their references
    said_image: Ints
    said_gram: Ints
    said_count: Ints
    wanted_caption: Ints
    wanted_gram: Ints
    wanted_count: Ints
    pair_said: Ints  # rows of `said` and `wanted` with the same n-gram and image
    pair_wanted: Ints

    def correct(self, images: int) -> Ints:
        """(n,): how many n-grams of the candidate are in a reference, clipped to the most that one has."""
        most = np.zeros_like(self.said_count)
        np.maximum.at(most, self.pair_said, self.wanted_count[self.pair_wanted])
        return np.bincount(self.said_image, np.minimum(self.said_count, most), images).astype(np.int64)

    def likeness(self, images: int, image: Ints) -> Floats:
        """(references,): the clipped cosine between a reference and its image's candidate."""
        rarity = math.log(images) - np.log(np.maximum(self.having, 1))
        said = self.said_count * rarity[self.said_gram]
        wanted = self.wanted_count * rarity[self.wanted_gram]
        shared = np.minimum(said[self.pair_said], wanted[self.pair_wanted]) * wanted[self.pair_wanted]
        above = np.bincount(self.wanted_caption[self.pair_wanted], shared, len(image))
        below = np.bincount(self.said_image, said**2, images)[image]
        below = np.sqrt(below * np.bincount(self.wanted_caption, wanted**2, len(image)))
        found: Floats = np.divide(above, below, out=np.zeros(len(image)), where=below > 0)
        return found


class Copies:
    """CIDEr of the set in which each image stands so many times: n images, r references.

    `having` has a row for each n-gram that several images' references have, `said`, `wanted` and `shared` a column for
    each: first the n-grams that no reference has, then those that one image's have (n columns), then the several's.
    """

    def __init__(self, rare: Rarity, images: int) -> None:
        self.image = rare.image
        self.penalty = rare.penalty / np.bincount(rare.image, minlength=images)[rare.image]  # of a mean
        self.orders = [_Columns.of(order, images, rare.image) for order in rare.orders]

    def cider(self, copies: Floats) -> float:
        """The mean CIDEr, a fraction, with `copies` (n,) of each image; NaN where there is one image in all."""
        total = float(copies.sum())
        if total <= 1.0:
            return math.nan
        likeness = sum(columns.likeness(copies, math.log(total), self.image) for columns in self.orders)
        return float(SCALE / LONGEST * (likeness * self.penalty) @ copies[self.image] / total)


@dataclass(frozen=True, slots=True)
class _Columns:
    """One length of n-grams, by columns as above."""

    having: csr_array
    said: csr_array  # (n, columns): squared counts
    wanted: csr_array  # (r, columns): squared counts
    shared: csr_array  # (r, columns): the lesser count times the reference's

    @classmethod
    def of(cls, order: Order, images: int, image: Ints) -> _Columns:
        from scipy.sparse import csr_array

        size = len(order.having)
        holders = image[order.wanted_caption]
        several = order.having > 1
        column = np.zeros(size, dtype=np.int64)
        alone = order.having[order.wanted_gram] == 1
        column[order.wanted_gram[alone]] = 1 + holders[alone]
        column[several] = 1 + images + np.arange(np.count_nonzero(several))
        width = 1 + images + np.count_nonzero(several)

        def table(rows: Ints, grams: Ints, values: Ints, height: int) -> csr_array:
            return csr_array((values.astype(np.float64), (rows, column[grams])), shape=(height, width))

        common = several[order.wanted_gram]
        pairs = np.unique((column[order.wanted_gram] - 1 - images)[common] * images + holders[common])
        spread, holder = np.divmod(pairs, images)
        having = csr_array((np.ones(len(pairs)), (spread, holder)), shape=(width - 1 - images, images))
        least = np.minimum(order.said_count[order.pair_said], order.wanted_count[order.pair_wanted])
        pair_caption, pair_gram = order.wanted_caption[order.pair_wanted], order.wanted_gram[order.pair_wanted]
        both = least * order.wanted_count[order.pair_wanted]
        return cls(
            having=having,
            said=table(order.said_image, order.said_gram, order.said_count**2, images),
            wanted=table(order.wanted_caption, order.wanted_gram, order.wanted_count**2, len(image)),
            shared=table(pair_caption, pair_gram, both, len(image)),
        )

    def likeness(self, copies: Floats, most: float, image: Ints) -> Floats:
        """(r,): as `Order.likeness`; `most` is the logarithm of the number of images."""
        having = np.concatenate([[0.0], copies, self.having @ copies])
        rarity = (most - np.log(np.maximum(having, 1.0))) ** 2
        below = np.sqrt((self.said @ rarity)[image] * (self.wanted @ rarity))
        found: Floats = np.divide(self.shared @ rarity, below, out=np.zeros(len(image)), where=below > 0)
        return found


def length_penalty(length: Ints, wanted: Ints) -> Floats:
    """CIDEr-D's Gaussian.  The official code counts bigrams: a word less, and no less than none."""
    apart = np.maximum(length - 1, 0) - np.maximum(wanted - 1, 0)
    penalty: Floats = np.exp(-(apart**2) / (2 * SIGMA**2))
    return penalty


def orders(said: Numbered, wanted: Numbered, image: Ints) -> tuple[Order, ...]:
    """The n-grams of 1 to 4 words of candidates and references."""
    captions = [*said, *wanted]
    lengths = np.fromiter(map(len, captions), np.int64, len(captions))
    words = np.fromiter(chain.from_iterable(captions), np.int64, lengths.sum())
    caption = np.repeat(np.arange(len(captions)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(words))  # words, from here to the caption's end
    longest = words.max(initial=0) + 1
    grams, found = np.zeros_like(words), []
    for length in range(1, LONGEST + 1):
        starts = np.flatnonzero(left >= length)
        keys, numbers = np.unique(grams[starts] * longest + words[starts + length - 1], return_inverse=True)
        grams[starts] = numbers
        found.append(_order(caption[starts], numbers, len(keys), len(said), image))
    return tuple(found)


def _order(caption: Ints, gram: Ints, size: int, candidates: int, image: Ints) -> Order:
    """The table of n-grams that occur in captions: `candidates` of them, and then the references."""
    rows, count = np.unique(caption * size + gram, return_counts=True)
    row_caption, row_gram = np.divmod(rows, max(size, 1))
    of_said = row_caption < candidates
    said = rows[of_said]  # image and n-gram in one number, sorted
    wanted_caption, wanted_gram = row_caption[~of_said] - candidates, row_gram[~of_said]
    wanted = image[wanted_caption] * size + wanted_gram
    place = np.searchsorted(said, wanted)
    place[place == len(said)] = 0
    same = np.flatnonzero(said[place] == wanted) if len(said) else np.zeros(0, dtype=np.int64)
    return Order(
        having=np.bincount(np.unique(wanted) % max(size, 1), minlength=size),
        said_image=row_caption[of_said],
        said_gram=row_gram[of_said],
        said_count=count[of_said],
        wanted_caption=wanted_caption,
        wanted_gram=wanted_gram,
        wanted_count=count[~of_said],
        pair_said=place[same],
        pair_wanted=same,
    )
