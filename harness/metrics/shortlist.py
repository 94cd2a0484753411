"""The best candidates of each query by the embeddings of a first run, which a second run re-ranks.

Similarity is that of `harness.metrics.retrieval`, here in float64.  The dot product of two float16 vectors of unit
length has no rounding there: each product is a multiple of 2**-48, and no sum exceeds 1.01.  So every machine finds the
same candidates.  Equal similarities keep the order of the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.core import Embedding

CHUNK = 1 << 23  # similarities that are held at once


@dataclass(frozen=True, slots=True)
class Shortlist:
    """The candidates of a query: places in the gallery, the best first.

    `rank` is the query's rank in the first run, from 0: that of the best right item, ties counted against the model.
    """

    places: tuple[int, ...]
    rank: int


def shortlists(
    queries: Sequence[Embedding],
    gallery: Sequence[Embedding],
    query_images: Sequence[int],
    gallery_images: Sequence[int],
    top: int,
) -> Iterator[Shortlist]:
    """The Shortlist of `top` candidates of each query, or of the whole gallery if it is smaller.

    `query_images` and `gallery_images` are the numbers of the images that queries and items belong to; each query has a
    right item.  ValueError if the embeddings differ in shape.
    """
    asked, items = _stacked(queries), _stacked(gallery)  # (Q, V, D), (N, V', D)
    if asked.shape[-1] != items.shape[-1]:
        raise ValueError(f"embeddings of {asked.shape[-1]} and {items.shape[-1]} dimensions in one run")
    flat = items.reshape(-1, items.shape[-1]).T.astype(np.float64)  # (D, N * V')
    own = np.asarray(gallery_images)
    step = max(1, CHUNK // (flat.shape[1] * asked.shape[1]))
    for start in range(0, len(asked), step):
        chunk = asked[start : start + step].astype(np.float64)
        products = chunk.reshape(-1, chunk.shape[-1]) @ flat  # (Q * V, N * V')
        similarity = products.reshape(len(chunk), chunk.shape[1], len(items), -1).max((1, 3))  # (Q, N)
        for row, image in zip(similarity, query_images[start : start + step], strict=True):
            right = own == image
            rank = int(np.count_nonzero(row[~right] >= row[right].max()))
            yield Shortlist(_best(row, min(top, len(items))), rank)


def _best(row: NDArray[np.float64], top: int) -> tuple[int, ...]:
    """The places of the `top` highest numbers, the highest first; equal ones keep their order."""
    least = np.partition(row, len(row) - top)[len(row) - top]
    places = np.flatnonzero(row >= least)
    return tuple(places[np.argsort(-row[places], kind="stable")][:top].tolist())


def _stacked(embeddings: Sequence[Embedding]) -> NDArray[np.float16]:
    """The embeddings as (N, V, D); ValueError if they differ in shape."""
    arrays = [embedding.array for embedding in embeddings]
    if len(shapes := sorted({array.shape for array in arrays})) > 1:
        raise ValueError(f"embeddings of the shapes {', '.join(map(str, shapes))} in one run")
    return np.stack(arrays)
