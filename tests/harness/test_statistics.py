"""Intervals by image, against a bootstrap written out in full."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.core import Biased, Row, Score, Text
from harness.metrics.reduce import mean, ratio
from harness.statistics import RESAMPLES, estimate, interval, paired, resample_weights
from tests.rows import rows


def some(clusters: int, seed: int, shift: float = 0.0) -> list[Row[object]]:
    """1 to 5 rows a cluster, those of a cluster alike."""
    draw = np.random.default_rng(seed)
    scores: list[tuple[str, float]] = []
    for cluster in range(clusters):
        level = draw.normal(0.5, 0.2)
        scores += [(str(cluster), float(level + shift + draw.normal(0, 0.05))) for _ in range(draw.integers(1, 6))]
    return rows(scores, both=[v for _, v in scores], either=[1.0 + place % 3 for place in range(len(scores))])


def plain_resamples(found: list[Row[object]], clusters: int, seed: int, below: str | None) -> list[float]:
    """Clusters are drawn anew and their rows literally repeated; the draws are the documented ones."""
    draw = np.random.default_rng(seed)
    by_cluster = [[row for row in found if row.sample.cluster == str(cluster)] for cluster in range(clusters)]
    values = []
    for _ in range(RESAMPLES):
        again = [row for place in draw.integers(clusters, size=clusters) for row in by_cluster[place]]
        total = sum(row.score.values[below] if below else 1.0 for row in again)
        values.append(100 * sum(row.score.values["iou"] for row in again) / total)
    return values


def tails(values: list[float]) -> list[float]:
    return [float(value) for value in np.percentile(values, [2.5, 97.5])]


@pytest.mark.parametrize("below", [None, "either"])
def test_interval_against_the_plain_loop(below: str | None) -> None:
    found = some(12, seed=0)
    got = estimate(ratio("iou", below) if below else mean("iou"), found, seed=7)
    assert (got.low, got.high) == pytest.approx(tails(plain_resamples(found, 12, 7, below)))
    plain = 100 * sum(row.score.values["iou"] for row in found)
    assert got.value == pytest.approx(plain / sum(row.score.values[below] if below else 1 for row in found))
    assert got.n == len(found)


def test_what_resamples_raise_is_turned_about_the_number() -> None:
    """Tails of 30 and 50 about 35 are 5 below and 15 above: the number less 15, and more 5."""
    draws = iter([35.0, *np.linspace(29.5, 50.5, 1001)[:1000]])
    found = interval(Biased(lambda weights: next(draws)), 10, n=10, seed=0)
    assert found.value == 35
    assert found.low == pytest.approx(20, abs=0.1) and found.high == pytest.approx(40, abs=0.1)
    all_above = iter([98.0, *np.linspace(99, 100, 1000)])
    found = interval(Biased(lambda weights: next(all_above)), 10, n=10, seed=0)
    assert (found.low, found.high) == (pytest.approx(96, abs=0.1), 98)  # never past the number, or past 100


@pytest.mark.parametrize("below", [None, "either"])
def test_differences_against_the_plain_loop(below: str | None) -> None:
    before = some(12, seed=4)
    draw = np.random.default_rng(5)
    after = [
        replace(row, score=Score({**row.score.values, "iou": row.score.values["iou"] + draw.normal(0.01, 0.05)}))
        for row in before
    ]
    metric = ratio("iou", below) if below else mean("iou")
    got = paired(metric, before, after, seed=7)
    pairs = zip(plain_resamples(after, 12, 7, below), plain_resamples(before, 12, 7, below), strict=True)
    plain = [b - a for b, a in pairs]
    beyond = min(sum(value <= 0 for value in plain), sum(value >= 0 for value in plain))
    assert 0 < beyond < RESAMPLES / 2  # some on either side, or this shows nothing
    assert (got.low, got.high) == pytest.approx(tails(plain))
    assert got.p == pytest.approx(2 * (beyond + 1) / (RESAMPLES + 1))
    assert got.value == pytest.approx(metric.prepare(after)(np.ones(12)) - metric.prepare(before)(np.ones(12)))
    order = draw.permutation(len(after))
    assert paired(metric, before, [after[place] for place in order], seed=7) == got  # nor does order matter
    back = paired(metric, after, before, seed=7)
    assert (back.value, back.low, back.high) == pytest.approx((-got.value, -tails(plain)[1], -tails(plain)[0]))
    assert back.p == got.p


def test_a_p_value_at_its_least_is_drawn_further() -> None:
    """Of 20 resamples the least p is 2 / 21; a shift that no resample turns round comes to 2 / 201 of 200."""
    a, far = some(40, 1), some(40, 1, shift=5.0)
    plain, more = (paired(mean("iou"), a, far, 3, resamples=20, further=further) for further in (0, 200))
    assert (plain.p, plain.resamples) == (2 / 21, 20) and (more.p, more.resamples) == (2 / 201, 200)
    assert (plain.low, plain.high) == (more.low, more.high)
    draw = np.random.default_rng(0)
    near = [replace(row, score=Score({"iou": row.score.values["iou"] + draw.normal(0.02, 0.1)})) for row in a]
    first, whole = (paired(mean("iou"), a, near, 3, resamples=count) for count in (20, 200))
    assert first.p == 2 / 21 and whole.p > 2 / 201  # all of the first 20 are above 0, and some of 200 below
    assert paired(mean("iou"), a, near, 3, resamples=20, further=200).p == whole.p


def test_one_cluster_has_no_interval() -> None:
    got = estimate(mean("iou"), rows([("a", 0.5), ("a", 0.7)]), seed=0)
    assert (got.value, got.low, got.high, got.n) == (pytest.approx(60), None, None, 2)


def test_what_is_not_finite_is_not_told() -> None:
    got = interval(lambda weights: float("nan"), 5, n=9, seed=0)
    assert (got.value, got.low, got.high, got.n) == (None, None, None, 9)


def test_resamples_are_whole_and_shared() -> None:
    weights = resample_weights((30,), 50, 3)
    assert weights.shape == (50, 30)
    assert (weights.sum(1) == 30).all()
    assert weights is resample_weights((30,), 50, 3)
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1


def test_a_run_does_not_differ_from_itself() -> None:
    found = some(10, seed=1)
    got = paired(mean("iou"), found, list(reversed(found)), seed=0)  # nor does order matter
    assert (got.value, got.low, got.high, got.p) == (pytest.approx(0), 0, 0, 1)


def test_a_small_shift_shows_in_pairs_though_intervals_overlap() -> None:
    before, after = some(40, seed=2), some(40, seed=2, shift=0.02)
    one, other = estimate(mean("iou"), before, seed=0), estimate(mean("iou"), after, seed=0)
    assert one.high is not None and other.low is not None and other.low < one.high
    got = paired(mean("iou"), before, after, seed=0)
    assert (got.value, got.low, got.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
    assert got.p == pytest.approx(2 / (RESAMPLES + 1))  # the smallest there is


def test_runs_that_do_not_pair() -> None:
    found = some(5, seed=3)
    with pytest.raises(ValueError, match="do not pair"):
        paired(mean("iou"), found, found[:-1], seed=0)
    with pytest.raises(ValueError, match="do not pair"):
        paired(mean("iou"), found, rows([("other", 0.5)] * len(found)), seed=0)
    with pytest.raises(ValueError, match="do not pair"):
        paired(mean("iou"), [*found, found[0]], [*found, found[0]], seed=0)  # a sample twice
    changed = [replace(found[0], sample=replace(found[0].sample, target=Text(("another",)))), *found[1:]]
    with pytest.raises(ValueError, match="sample 0 is not the same in both"):
        paired(mean("iou"), found, changed, seed=0)
    with pytest.raises(ValueError, match="no rows"):
        paired(mean("iou"), [], [], seed=0)


def test_pairs_of_one_cluster_have_a_difference_and_no_more() -> None:
    got = paired(mean("iou"), rows([("a", 0.5), ("a", 0.7)]), rows([("a", 0.6), ("a", 0.8)]), seed=0)
    assert (got.value, got.low, got.high, got.p, got.n) == (pytest.approx(10), None, None, None, 2)


@pytest.mark.slow
def test_coverage() -> None:
    """Of the nominal 95 %, with 50 images of 1 to 5 sentences: the docstring says 93."""
    covered = 0
    for seed in range(300):
        got = estimate(mean("iou"), some(50, seed=1000 + seed), seed=0)
        covered += got.low is not None and got.high is not None and got.low <= 50 <= got.high
    assert 0.90 <= covered / 300 <= 0.97
