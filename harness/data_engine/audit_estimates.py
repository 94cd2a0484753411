"""What an audit tells: shares of right and wrong annotations, weighted to all of them, and how far people agree.

Each share is of all annotations of a group, "cannot tell" among them: right, wrong and cannot tell add up to 100 %.
Within a stratum the share is that of its judged items; strata are weighted by their numbers of annotations.  A stratum
of which nothing was judged is left out and counted.

Intervals (95 %):
- several strata: images are resampled (`harness.statistics`).  A stratum of which a resample draws no image keeps its
  share.
- one stratum: Wilson's score interval.
- nothing among n judged items, or all of them: 0 to 3/n, or 1 - 3/n to 1 (the rule of three).  n is the effective
  number (sum of weights)^2 / (sum of squared weights).

An interval is about the choice of images and annotations.  It is of what these people would say of all annotations:
where people err, so does the estimate.  Two people on the same items show how much (Cohen's kappa, without weights).

Sources: Wilson, JASA 22 (158), 1927; Hanley and Lippman-Hand, JAMA 249 (13), 1983; Cohen, Educational and Psychological
Measurement 20 (1), 1960.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness import statistics
from harness.core import Estimate, Weights
from harness.data_engine.audit import AuditItem, AuditSample
from harness.data_engine.audit_verdicts import DECISIONS, Decision

Z = 1.959963984540054  # the 97.5th percentile of the normal distribution
PERCENT = 100.0


@dataclass(frozen=True, slots=True)
class Shares:
    """The shares of a group of annotations, in percent.

    `judged` and `drawn` are its items with a verdict and in the sample; `annotations` is what it stands for.
    `unjudged` are its strata without a verdict, which the shares leave out.
    """

    group: str
    judged: int
    drawn: int
    annotations: int
    unjudged: int
    of: Mapping[Decision, Estimate]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two people's verdicts on `items` items: the share of equal ones in percent, and Cohen's kappa.

    `kappa` is None where both gave one and the same verdict throughout.
    """

    people: tuple[str, str]
    items: int
    equal: Estimate
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class AuditResult:
    """The shares of all kept and of all other annotations, by kind, by origin and by stratum, and the agreement."""

    shares: tuple[Shares, ...]
    agreement: tuple[Agreement, ...]


def result(
    sample: AuditSample, people: Sequence[tuple[str, Mapping[str, Decision]]], *, resamples: int = statistics.RESAMPLES
) -> AuditResult:
    """The estimates from the verdicts of one or more people; where several judged an item, the first of them counts."""
    verdicts: dict[str, Decision] = {}
    for _, given in reversed(people):
        verdicts |= given
    shares = [_shares(name, group, verdicts, sample.seed, resamples) for name, group in _groups(sample.items).items()]
    pairs = [(a, b) for place, a in enumerate(people) for b in people[place + 1 :] if a[1].keys() & b[1].keys()]
    agreement = [_agreement(a, b, sample, resamples) for a, b in pairs]
    return AuditResult(tuple(shares), tuple(agreement))


def _groups(items: Iterable[AuditItem]) -> dict[str, list[AuditItem]]:
    groups: dict[str, list[AuditItem]] = {}
    names: list[Callable[[AuditItem], str]] = [
        lambda item: "kept" if item.stratum.status == "kept" else "not kept",
        lambda item: f"{item.stratum.kind}, {item.stratum.status}",
        lambda item: f"{item.stratum.kind} of {item.stratum.origin}, {item.stratum.status}",
        lambda item: f"{item.stratum.kind} of {item.stratum.origin}, {item.stratum.status}, {item.stratum.scores}",
    ]
    for name in names:
        for item in sorted(items, key=lambda item: item.stratum):
            groups.setdefault(name(item), []).append(item)
    return groups


def _shares(
    name: str, items: Sequence[AuditItem], verdicts: Mapping[str, Decision], seed: int, resamples: int
) -> Shares:
    judged = [item for item in items if item.annotation in verdicts]
    strata = {item.stratum for item in items}
    covered = {item.stratum for item in judged}
    of = {
        decision: share(judged, [verdicts[item.annotation] == decision for item in judged], seed, resamples)
        for decision in DECISIONS
    }
    annotations = sum(stratum.count for stratum in strata)
    return Shares(name, len(judged), len(items), annotations, len(strata - covered), of)


def share(items: Sequence[AuditItem], hits: Sequence[bool], seed: int, resamples: int) -> Estimate:
    """The share of the items' strata that hits stand for, in percent, with its interval as the module says."""
    n, strata = len(items), list(dict.fromkeys(item.stratum for item in items))
    if not n:
        return Estimate(None, None, None, 0)
    number = np.array([strata.index(item.stratum) for item in items])
    images: dict[str, int] = {}
    cluster = np.array([images.setdefault(item.sha256, len(images)) for item in items])
    hit = np.array(hits, np.float64)
    size = np.array([stratum.count for stratum in strata], np.float64)
    sampled = np.bincount(number, hit) / np.bincount(number)
    value = float(PERCENT * size @ sampled / size.sum())
    if hit.all() or not hit.any():
        weight = (size / np.bincount(number))[number]
        bound = min(PERCENT, PERCENT * 3 * float(weight @ weight) / float(weight.sum()) ** 2)
        return Estimate(value, 0.0, bound, n) if not hit.any() else Estimate(value, PERCENT - bound, PERCENT, n)
    if len(strata) == 1:
        low, high = wilson(int(hit.sum()), n)
        return Estimate(value, PERCENT * low, PERCENT * high, n)

    def weighted(weights: Weights) -> float:
        drawn = weights[cluster]
        total = np.bincount(number, drawn, len(strata))
        rate = np.where(total > 0, np.bincount(number, drawn * hit, len(strata)) / np.maximum(total, 1), sampled)
        return float(PERCENT * size @ rate / size.sum())

    return statistics.interval(weighted, len(images), n=n, seed=seed, resamples=resamples)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share of `hits` among `n`, from 0 to 1."""
    rate, square = hits / n, Z * Z
    centre = (rate + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def _agreement(
    a: tuple[str, Mapping[str, Decision]],
    b: tuple[str, Mapping[str, Decision]],
    sample: AuditSample,
    resamples: int,
) -> Agreement:
    both = [item for item in sample.items if item.annotation in a[1] and item.annotation in b[1]]
    images: dict[str, int] = {}
    cluster = np.array([images.setdefault(item.sha256, len(images)) for item in both])
    table = np.zeros((len(images), len(DECISIONS), len(DECISIONS)))
    for place, item in zip(cluster, both, strict=True):
        table[place, DECISIONS.index(a[1][item.annotation]), DECISIONS.index(b[1][item.annotation])] += 1

    def equal(weights: Weights) -> float:
        counts = np.tensordot(weights, table, 1)
        return float(PERCENT * np.trace(counts) / counts.sum())

    def agreed(weights: Weights) -> float:
        return kappa(np.tensordot(weights, table, 1))

    def estimated(statistic: Callable[[Weights], float]) -> Estimate:
        return statistics.interval(statistic, len(images), n=len(both), seed=sample.seed, resamples=resamples)

    return Agreement((a[0], b[0]), len(both), estimated(equal), estimated(agreed))


def kappa(counts: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """Cohen's kappa of a table of counts, one person's verdicts by the other's; NaN if chance agrees always."""
    total = counts.sum()
    observed = np.trace(counts) / total
    expected = float(counts.sum(axis=0) @ counts.sum(axis=1)) / total**2
    return float((observed - expected) / (1 - expected)) if expected < 1 else math.nan
