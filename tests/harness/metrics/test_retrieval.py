"""Ranks of retrieval against a slow loop and torch.topk; ties, missing embeddings, several vectors, the mean."""

from __future__ import annotations

import resource
import time

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.core import Embedding, Fixed, Row, Statistic
from harness.metrics import retrieval
from harness.metrics.retrieval import MeanOf, ranks

Vectors = NDArray[np.float64]


def embedded(vectors: Vectors) -> list[Embedding | None]:
    return [Embedding.of(vector) for vector in vectors]


def slow_ranks(
    queries: list[Embedding | None], gallery: list[Embedding | None], query_images: list[int], gallery_images: list[int]
) -> list[int]:
    """The definition: one query, one item and one pair of vectors at a time."""
    result = []
    for query, image in zip(queries, query_images, strict=True):
        if query is None:
            result.append(len(gallery))
            continue
        scored = [
            (max(float(v @ w) for v in query.array.astype(float) for w in item.array.astype(float)), owner == image)
            for item, owner in zip(gallery, gallery_images, strict=True)
            if item is not None
        ]
        best = max((score for score, right in scored if right), default=None)
        result.append(len(gallery) if best is None else sum(s >= best and not right for s, right in scored))
    return result


@pytest.mark.parametrize("vectors", [1, 3])
@pytest.mark.parametrize("chunk", [1, 40, 1 << 22])
def test_ranks_equal_a_slow_loop_in_both_directions(vectors: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "CHUNK", chunk)
    draw = np.random.default_rng(3)
    owners = [0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 6, 6]
    images = embedded(draw.standard_normal((7, vectors, 8)))
    captions = embedded(draw.standard_normal((12, 8)))
    images[3] = captions[4] = None
    places = list(range(7))
    assert ranks(images, captions, places, owners).tolist() == slow_ranks(images, captions, places, owners)
    assert ranks(captions, images, owners, places).tolist() == slow_ranks(captions, images, owners, places)


def test_recall_equals_that_of_topk() -> None:
    """As clip_benchmark counts; an image is right if any of its captions is in the top K."""
    draw = np.random.default_rng(5)
    owners = np.repeat(np.arange(40), 5)
    centres = draw.standard_normal((40, 16))
    images = embedded(centres)
    captions = embedded(centres[owners] + 1.5 * draw.standard_normal((200, 16)))
    of_captions, of_images = (torch.tensor(np.array([e.array[0] for e in es if e], float)) for es in (captions, images))
    scores = of_captions @ of_images.T
    positive = torch.tensor(owners[:, None] == np.arange(40))
    of_text = ranks(captions, images, owners.tolist(), range(40))
    of_image = ranks(images, captions, range(40), owners.tolist())
    for k in (1, 5, 10):
        top = torch.zeros_like(positive).scatter(1, scores.topk(k, 1).indices, True)
        assert ((top & positive).any(1).numpy() == (of_text < k)).all()
        top = torch.zeros_like(positive.T).scatter(1, scores.T.topk(k, 1).indices, True)
        assert ((top & positive.T).any(1).numpy() == (of_image < k)).all()
    assert 0 < (of_text < 1).mean() < 1


def test_tie_with_wrong_items_counts_against_the_model() -> None:
    one, other = Embedding.of([1, 0]), Embedding.of([0, 1])
    assert ranks([one], [one, one, other, one], [0], [0, 1, 2, 3]).tolist() == [2]  # two wrong items are as similar
    assert ranks([one], [one, one, other], [0], [0, 0, 1]).tolist() == [0]  # a tie of right items is none
    assert ranks([one] * 3, [one] * 3, range(3), range(3)).tolist() == [2, 2, 2]  # the same answer for everything


@pytest.mark.parametrize("dimensions", [3, 64, 513])
def test_equal_vectors_tie_wherever_they_are(dimensions: int) -> None:
    """The last bit of a product may depend on its place in a matrix; a tie must not."""
    draw = np.random.default_rng(dimensions)
    right = Embedding.of(draw.standard_normal(dimensions))
    others = [Embedding.of(-right.array[0] + draw.standard_normal(dimensions) / 9) for _ in range(400)]
    query = Embedding.of(right.array[0] + draw.standard_normal(dimensions) / 9)
    for place in (0, 1, 17, 399, 400):
        gallery = [*others[:place], right, *others[place:], right]
        assert ranks([query], gallery, [place], range(402)).tolist() == [1]


def test_query_or_right_item_without_embedding_has_the_gallery_size_as_rank() -> None:
    one = Embedding.of([1, 0])
    assert ranks([None, one], [one, None, one], [0, 1], [0, 1, 2]).tolist() == [3, 3]
    assert ranks([None], [None], [0], [0]).tolist() == [1]


def test_embeddings_of_different_dimensions_are_an_error() -> None:
    with pytest.raises(ValueError, match="of 2 and 3 dimensions"):
        ranks([Embedding.of([1, 0])], [Embedding.of([1, 0, 0])], [0], [0])
    with pytest.raises(ValueError, match=r"shapes \(1, 2\), \(2, 2\)"):
        ranks([Embedding.of([1, 0])] * 2, [Embedding.of([1, 0]), Embedding.of(np.eye(2))], [0, 1], [0, 1])


def test_chunks_bound_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 images by 10,000 captions: all similarities at once would take 80 MB; the chunks take 4 MiB each."""
    monkeypatch.setattr(retrieval, "CHUNK", 1 << 20)
    draw = np.random.default_rng(0)
    images, captions = embedded(draw.standard_normal((2000, 16))), embedded(draw.standard_normal((10000, 16)))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    ranks(images, captions, range(2000), [place % 2000 for place in range(10000)])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert time.monotonic() - start < 10


def test_mean_of_metrics_is_their_mean_under_each_weighting() -> None:
    class First:
        def prepare(self, rows: object) -> Statistic:
            return lambda weights: float(weights[0])

    class Ten:
        def prepare(self, rows: object) -> Statistic:
            return Fixed(10.0)

    rows: list[Row[object]] = []  # type: ignore[type-var]
    statistic = MeanOf((First(), Ten())).prepare(rows)
    assert statistic(np.array([4.0])) == 7.0
