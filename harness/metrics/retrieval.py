"""Image-text retrieval: the rank of the first right item of each query, and recall at K both ways.

A query is an image, whose gallery is all captions, or a caption, whose gallery is all images.  An item is right if it
belongs to the query's image: an image has several right captions, of which the best ranked counts; a caption has one
right image.  Similarity is the largest cosine between the vectors of two embeddings (see `core.Embedding`).

Ties count against the model: the rank is the number of wrong items whose similarity is at least that of the best right
item, so 0 is the first place.  Equal captions of two images tie whatever the model, and a model that answers the same
for everything finds nothing.  Official code leaves the order of ties to a sort.

An item without an embedding is never retrieved, and a query without one finds nothing: its rank is the gallery's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import Embedding, Metric, Row, Statistic, Weights

CHUNK = 1 << 22  # similarities that are held at once; more take more memory and no less time


def ranks(
    queries: Sequence[Embedding | None],
    gallery: Sequence[Embedding | None],
    query_images: Sequence[int],
    gallery_images: Sequence[int],
) -> NDArray[np.int64]:
    """The rank (queries,) of the best right item of the gallery for each query, from 0.

    `query_images` and `gallery_images` are the numbers of the images that queries and items belong to.  The rank is the
    gallery's size where a query has no right item with an embedding.

    ValueError if two embeddings differ in their number of dimensions.
    """
    result = np.full(len(queries), len(gallery), np.int64)
    items, items_at = _packed(gallery)  # (items, V, D)
    asked, asked_at = _packed(queries)  # (asked, V', D)
    if not len(items) or not len(asked):
        return result
    if items.shape[-1] != asked.shape[-1]:
        raise ValueError(f"embeddings of {asked.shape[-1]} and {items.shape[-1]} dimensions in one run")
    # Equal vectors are multiplied once: the rounding of a product depends on its place, which would break a tie.
    _, first, again = np.unique(items, axis=0, return_index=True, return_inverse=True)
    again = again.reshape(-1)  # (items,): the place of each among the different ones
    repeated = len(first) < len(items)
    items = items[first] if repeated else items
    flat = np.ascontiguousarray(items.reshape(-1, items.shape[-1]).T, np.float32)  # (D, different items * V)
    own = _right_items(np.asarray(query_images)[asked_at], np.asarray(gallery_images)[items_at])  # (asked, most)
    step = max(1, CHUNK // max(len(again), flat.shape[1] * asked.shape[1]))
    for start in range(0, len(asked), step):
        chunk, right = asked[start : start + step].astype(np.float32), own[start : start + step]
        similarity = chunk.reshape(-1, chunk.shape[-1]) @ flat  # (Q * V', different items * V)
        if chunk.shape[1] > 1 or flat.shape[1] != len(items):
            similarity = similarity.reshape(len(chunk), chunk.shape[1], len(items), -1).max((1, 3))
        if repeated:
            similarity = similarity[:, again]  # (Q, items)
        of_right = np.where(right >= 0, np.take_along_axis(similarity, np.maximum(right, 0), 1), -np.inf)
        best = of_right.max(1, keepdims=True)
        ahead = np.count_nonzero(similarity >= best, axis=1) - np.count_nonzero(of_right >= best, axis=1)
        result[asked_at[start : start + step]] = np.where(np.isfinite(best[:, 0]), ahead, len(gallery))
    return result


def _right_items(query_images: NDArray[np.int64], item_images: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of the right items of each query (queries, most), filled with -1."""
    order = np.argsort(item_images, kind="stable")
    first = np.searchsorted(item_images[order], query_images, "left")
    after = np.searchsorted(item_images[order], query_images, "right")
    places = first[:, None] + np.arange(max(1, int((after - first).max())))
    inside = places < after[:, None]
    return np.where(inside, order[np.where(inside, places, 0)], -1)


def _packed(embeddings: Sequence[Embedding | None]) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """The embeddings that exist as (N, V, D), and their places (N,); ValueError if they differ in shape."""
    places = [place for place, embedding in enumerate(embeddings) if embedding is not None]
    arrays = [embedding.array for embedding in embeddings if embedding is not None]
    shapes = sorted({array.shape for array in arrays})
    if len(shapes) > 1:
        raise ValueError(f"embeddings of the shapes {', '.join(map(str, shapes))} in one run")
    return np.array(arrays, np.float16).reshape(len(arrays), *(shapes[0] if shapes else (1, 1))), np.array(places, int)


@dataclass(frozen=True, slots=True)
class MeanOf:
    """The mean of several metrics, under the same weights: the mean recall of both directions."""

    metrics: tuple[Metric, ...]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        statistics = [metric.prepare(rows) for metric in self.metrics]

        def statistic(weights: Weights) -> float:
            return float(np.mean([each(weights) for each in statistics]))

        return statistic
