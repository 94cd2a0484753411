"""The estimates of an audit: weights, intervals, agreement, and their coverage (E9)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from harness.core import Size
from harness.data_engine.audit import AuditItem, AuditSample, Stratum
from harness.data_engine.audit_estimates import kappa, result, share, wilson
from harness.data_engine.audit_verdicts import Decision
from tests.harness.data_engine.audits import coverage, population

BIG = Stratum(kind="region", origin="d", scores="any score", status="kept", count=900)
SMALL = Stratum(kind="text", origin="c", scores="no score", status="kept", count=100)
BAD = Stratum(kind="region", origin="d", scores="any score", status="dropped", count=50)


def items(stratum: Stratum, count: int, images: int | None = None) -> list[AuditItem]:
    return [
        AuditItem(
            annotation=f"{stratum.kind} {stratum.status} {place}", image=f"{place % (images or count)}.jpg",
            sha256=f"{place % (images or count)}", size=Size(10, 10), stratum=stratum, weight=stratum.count / count,
            value={"kind": "text", "texts": ["x"]},
        )
        for place in range(count)
    ]  # fmt: skip


SAMPLE = AuditSample(3, (*items(BIG, 20), *items(SMALL, 20), *items(BAD, 10)))


def said(sample: AuditSample, wrong: Callable[[AuditItem], bool]) -> dict[str, Decision]:
    return {item.annotation: "wrong" if wrong(item) else "right" for item in sample.items}


def number(item: AuditItem) -> int:
    return int(item.annotation.split()[-1])


def test_shares_are_weighted_by_the_sizes_of_strata() -> None:
    verdicts = said(SAMPLE, lambda item: number(item) < {"region": 2, "text": 10}[item.stratum.kind])
    verdicts |= {item.annotation: "cannot tell" for item in SAMPLE.items if number(item) == 19}
    shares = {each.group: each for each in result(SAMPLE, [("me", verdicts)]).shares}
    kept = shares["kept"]
    # 900 at 2/20 and 100 at 10/20; one of 20 in both cannot be told.
    assert kept.of["wrong"].value == pytest.approx(100 * (900 * 0.1 + 100 * 0.5) / 1000)
    assert kept.of["cannot tell"].value == pytest.approx(5)
    assert sum(each.value or 0 for each in kept.of.values()) == pytest.approx(100)
    assert (kept.judged, kept.drawn, kept.annotations, kept.unjudged) == (40, 40, 1000, 0)
    assert shares["not kept"].of["wrong"].value == pytest.approx(20)
    assert shares["region, kept"].of["wrong"].value == pytest.approx(10)
    assert {"region of d, kept", "text of c, kept", "region of d, dropped, any score"} <= shares.keys()


def test_single_stratum_has_wilsons_interval() -> None:
    estimate = share(items(BIG, 20), [place < 3 for place in range(20)], 0, 1000)
    expected = binomtest(3, 20).proportion_ci(method="wilson")
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (15, 100 * expected.low, 100 * expected.high), abs=1e-6
    )


@pytest.mark.parametrize(("hits", "n"), [(1, 2), (7, 9), (200, 400), (399, 400)])
def test_wilson_equals_that_of_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_no_error_among_n_is_at_most_three_over_n() -> None:
    estimate = share(items(BIG, 60), [False] * 60, 0, 1000)
    assert (estimate.value, estimate.low, estimate.high, estimate.n) == pytest.approx((0, 0, 5, 60))  # 3 / 60
    estimate = share(items(BIG, 60), [True] * 60, 0, 1000)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((100, 95, 100))
    two = [*items(BIG, 20), *items(SMALL, 20)]
    # Weights 45 and 5: effectively (20 * 45 + 20 * 5)^2 / (20 * 45^2 + 20 * 5^2) = 1000^2 / 41000 = 24.4 items.
    assert share(two, [False] * 40, 0, 1000).high == pytest.approx(100 * 3 * 41000 / 1000**2)
    assert share(items(BIG, 2), [False] * 2, 0, 1000).high == 100


def test_interval_of_several_strata_resamples_images() -> None:
    """20 images with 10 equal verdicts each: the interval is that of 20 items, not of 200."""
    one = items(BIG, 100, images=20)
    other = items(SMALL, 100, images=20)
    both = share([*one, *other], [int(item.sha256) < 6 for item in [*one, *other]], 0, 1000)
    assert both.value == pytest.approx(30)
    assert both.low is not None and both.high is not None
    draws = np.random.default_rng(0).binomial(20, 0.3, 20_000) / 0.2  # percent, of 20 images
    assert (both.low, both.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=5)


def test_verdicts_on_a_part_are_of_the_judged_strata() -> None:
    verdicts = {item.annotation: "wrong" for item in SAMPLE.items if item.stratum == BIG and number(item) < 5}
    [kept] = [each for each in result(SAMPLE, [("me", verdicts)]).shares if each.group == "kept"]
    assert (kept.judged, kept.drawn, kept.unjudged, kept.of["wrong"].value) == (5, 40, 1, 100)
    [none] = [each for each in result(SAMPLE, [("me", verdicts)]).shares if each.group == "not kept"]
    assert (none.judged, none.of["wrong"].value, none.of["wrong"].n) == (0, None, 0)


def test_kappa_is_cohens() -> None:
    # Observed 35/50; by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5; (0.7 - 0.5) / (1 - 0.5) = 0.4.
    assert kappa(np.array([[20.0, 5.0, 0.0], [10.0, 15.0, 0.0], [0.0, 0.0, 0.0]])) == pytest.approx(0.4)
    assert np.isnan(kappa(np.array([[9.0, 0.0], [0.0, 0.0]])))


def test_two_people_are_compared_and_the_first_counts() -> None:
    first = said(SAMPLE, lambda item: number(item) < 5)
    second = {key: first[key] for key in list(first)[:8]}
    second[SAMPLE.items[0].annotation] = "right"  # of 0 to 7: the first says five wrong and three right
    found = result(SAMPLE, [("a", first), ("b", second)])
    [agreement] = found.agreement
    assert (agreement.people, agreement.items, agreement.equal.value) == (("a", "b"), 8, 87.5)
    # By chance: right 3/8 * 4/8, wrong 5/8 * 4/8, together 0.5; (0.875 - 0.5) / 0.5 = 0.75.
    assert agreement.kappa.value == pytest.approx(0.75)
    assert agreement.kappa.low is not None and agreement.kappa.low < 0.75
    assert found.shares == result(SAMPLE, [("a", first)]).shares
    assert result(SAMPLE, [("a", first)]).agreement == ()


def test_intervals_of_simulated_audits_hold_the_audited_error() -> None:
    """E9 in short; `make hostile` has all of it.  Fewer than 20 of 25 is rare (1 in 100) where 93 % hold."""
    for name, inside in coverage(population(400, 1), 25, items=120, least=10).items():
        assert inside >= 20 / 25, name
