"""The best candidates by a slow plain loop, ties in the order of the data set, and sums without rounding."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from harness.core import Embedding
from harness.metrics import shortlist
from harness.metrics.shortlist import shortlists

E = np.eye(4)


def exact(a: Embedding, b: Embedding) -> Fraction:
    """The largest dot product of their vectors, in fractions."""
    return max(
        sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(v, w, strict=True)), Fraction(0))
        for v in a.array
        for w in b.array
    )


@pytest.mark.parametrize("chunk", [1, 1 << 23])
@pytest.mark.parametrize("vectors", [1, 3])
def test_candidates_and_ranks_are_those_of_a_loop_over_fractions(
    vectors: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortlist, "CHUNK", chunk)
    rng = np.random.default_rng(vectors)
    queries = [Embedding.of(rng.normal(size=(vectors, 16))) for _ in range(7)]
    gallery = [Embedding.of(rng.normal(size=16)) for _ in range(20)]
    gallery[11] = gallery[4]  # equal similarities to each query
    images = [place // 3 for place in range(20)]
    for place, short in enumerate(shortlists(queries, gallery, range(7), images, 6)):
        similar = [exact(queries[place], item) for item in gallery]
        order = sorted(range(20), key=lambda item: (-similar[item], item))
        assert short.places == tuple(order[:6])
        best = max(similar[item] for item in range(20) if images[item] == place)
        assert short.rank == sum(similar[item] >= best for item in range(20) if images[item] != place)


def test_order_of_dimensions_changes_no_bit() -> None:
    """Products in float64 are exact sums, so candidates do not depend on the order in which a machine adds them."""
    rng = np.random.default_rng(0)
    a, b = (np.stack([Embedding.of(rng.normal(size=512)).array[0] for _ in range(40)]).astype(float) for _ in range(2))
    turned = rng.permutation(512)
    assert (a @ b.T == a[:, turned] @ b[:, turned].T).all()


def test_top_above_the_gallery_is_the_whole_gallery() -> None:
    [short] = shortlists([Embedding.of(E[0])], [Embedding.of(E[1]), Embedding.of(E[0])], [0], [0, 1], 128)
    assert short.places == (1, 0) and short.rank == 1


def test_equal_similarities_at_the_end_keep_the_order_of_the_data_set() -> None:
    gallery = [Embedding.of(E[place]) for place in (1, 2, 0, 3)]
    [short] = shortlists([Embedding.of(E[0])], gallery, [2], [0, 1, 2, 3], 3)
    assert short.places == (2, 0, 1)


def test_dimensions_or_vectors_that_differ_are_refused() -> None:
    one, other = Embedding.of(E[0]), Embedding.of([1.0, 0, 0])
    with pytest.raises(ValueError, match="4 and 3 dimensions"):
        list(shortlists([one], [other], [0], [0], 1))
    with pytest.raises(ValueError, match="of the shapes"):
        list(shortlists([one], [one, other], [0], [0, 0], 1))
