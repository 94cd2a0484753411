"""Perceptual hashes of images, and which of them are near each other.

The image as grey, resized to 32 x 32 pixels; its 8 x 8 lowest coefficients of the discrete cosine transform (type II,
not normalised); one bit for each, row by row from the highest bit: whether it is above the median of the 64.  This is
`phash` of the package imagehash.  Coefficients are rounded, so that those that cancel are equal on every machine.  An
image of one colour has a hash in `FLAT`, which says nothing about it.

Two hashes that differ in at most k of 64 bits are equal in one of k + 1 bands of bits.  Each band is joined by its
value, and pairs are compared in blocks, so a million hashes need no list of pairs.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

VERSION = 1  # raise it whenever the hash of an image could change
Hashes = NDArray[np.uint64]
FLAT = (0, 1 << 63)  # the hashes of images of one colour, black and others: nothing but the mean is above the median
GRID = 32  # pixels; the side of the grey image
KEPT = 8  # coefficients along each axis
DECIMALS = 6  # of a coefficient
BLOCK = 1 << 22  # pairs that are compared at once
_FREQUENCIES = np.cos(np.pi / (2 * GRID) * np.outer(np.arange(KEPT), 2 * np.arange(GRID) + 1))  # (KEPT, GRID)


def perceptual_hash(image: Image.Image) -> int:
    """The 64-bit perceptual hash of an image, as a number from 0 to 2^64 - 1."""
    grey = image.convert("L").resize((GRID, GRID), Image.Resampling.LANCZOS)
    low = np.round(_FREQUENCIES @ np.asarray(grey, np.float64) @ _FREQUENCIES.T, DECIMALS)
    bits = (low > np.median(low)).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def owners(hashes: Hashes, bits: int) -> NDArray[np.int64]:
    """For each hash (N,) the place of a kept hash within `bits` of it; its own place if it is kept.

    A hash is kept unless an earlier kept hash is within `bits` of it.
    """
    owner = np.arange(len(hashes))
    left = np.arange(len(hashes))  # not decided yet
    while len(left):
        # A hash without an earlier neighbour among those that are not decided is kept; its neighbours are dropped.
        kept = nearest(hashes[left], hashes[left], bits) == np.arange(len(left))
        near = nearest(hashes[left], hashes[left[kept]], bits)
        owner[left[near >= 0]] = left[kept][near[near >= 0]]
        left = left[near < 0]
    return owner


def nearest(hashes: Hashes, others: Hashes, bits: int) -> NDArray[np.int64]:
    """For each hash (N,) the first place in `others` (M,) that differs in at most `bits` bits; -1 if there is none."""
    first = np.full(len(hashes), len(others), np.int64)
    if not len(hashes):
        return first
    edges = np.linspace(0, 64, bits + 2).astype(np.uint64)
    for low, high in pairwise(edges):
        mask = np.uint64((1 << int(high - low)) - 1)
        mine, theirs = (hashes >> low) & mask, (others >> low) & mask
        my_order, their_order = np.argsort(mine, kind="stable"), np.argsort(theirs, kind="stable")
        keys, starts = np.unique(mine[my_order], return_index=True)
        ends = np.append(starts[1:], len(hashes))
        begins = np.searchsorted(theirs[their_order], keys, "left")
        stops = np.searchsorted(theirs[their_order], keys, "right")
        for start, end, begin, stop in zip(starts, ends, begins, stops, strict=True):
            if begin < stop:
                _join(hashes, others, my_order[start:end], their_order[begin:stop], bits, first)
    first[first == len(others)] = -1
    return first


def _join(
    hashes: Hashes,
    others: Hashes,
    mine: NDArray[np.int64],
    theirs: NDArray[np.int64],
    bits: int,
    first: NDArray[np.int64],
) -> None:
    """Lowers `first` at the places `mine` to the first near place among `theirs`, which are ascending."""
    width = min(len(theirs), BLOCK)
    for left in range(0, len(mine), max(1, BLOCK // width)):
        rows = mine[left : left + max(1, BLOCK // width)]
        for start in range(0, len(theirs), width):
            columns = theirs[start : start + width]
            near = np.bitwise_count(hashes[rows, None] ^ others[None, columns]) <= bits
            found = np.where(near.any(axis=1), columns[near.argmax(axis=1)], first[rows])
            first[rows] = np.minimum(first[rows], found)
