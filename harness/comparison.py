"""Compares two runs on the same questions: by how much run B is better, whether by more than chance, and what changed.

Everything is paired by sample.  The interval of a difference resamples images and computes the metric of both runs in
every resample, so the difficulty that the runs share cancels (see `statistics.paired`).

p-values.  For a mean over samples, a permutation test: if the runs were equivalent, it would not matter which of an
image's two answers belongs to which run, so images are exchanged at random.  CIDEr is such a mean, because the rarity
of words depends on the references only, which both runs share.  AP is not, so its p-value comes from the resamples.
Such a p-value cannot be below 2 / (resamples + 1).  If a headline's is that small, it is computed again from ten times
as many resamples.  Over the headlines of several tasks, p-values are also given with Holm's correction.

Minimum detectable difference: 2.8 standard errors, 1.96 for the 5 % level and 0.84 for a power of 80 %.  A smaller true
difference would be found in less than 80 % of cases.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from harness.core import Answer, Metric, Row, Run, Sample, Score, Task
from harness.errors import DataError
from harness.metrics.reduce import between_runs, clusters_of, mean_of, share_of
from harness.statistics import ROUNDING, Difference, in_order_of, paired

PERMUTATIONS = 10_000
FURTHER = 10  # times the usual number of resamples, for a headline's smallest p-value
DETECTABLE = 1.96 + 0.84  # standard errors
INTERVAL = 2 * 1.96  # standard errors between the ends of a 95 % interval
IGNORED = (  # in provenance
    "date", "command", "checksum", "load", "marked again", "seen", "intervals", "marking", "policy", "sanity",
    "remarks", "notes",
)  # fmt: skip
STAGES = {  # stages of answering in order, and the entries of a record that show a difference at each
    "prompt": ("prompts",),
    "pixels": ("input",),
    "weights": ("weights sha256", "precision"),
    "decoding": ("decoding",),
}
TRAIL = ("prompt", "pixels", "tokens in", "tokens out")  # the fields of `core.Trail`
Scoring = Callable[[Sequence[Sample[Any]], Mapping[str, Answer]], Sequence[Row[Any]]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric of both runs.

    `difference` is B minus A, and `test` names the test of its p-value.  `smallest` is the minimum detectable
    difference at this sample size; None if there is no interval.
    """

    a: float
    b: float
    difference: Difference
    test: str
    smallest: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two runs.

    `samples` are all samples of the run.  By sample id: `answers`, `images` with the digest of the image's file as it
    was when the answer was stored (if known), and the stored `scores`.
    """

    run: Run
    samples: Sequence[Sample[Any]]
    answers: Mapping[str, Answer]
    images: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A sample whose score differs between the runs; `before` is A's score and `after` is B's (see `goodness`)."""

    a: Row[Any]
    b: Row[Any]
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of `compare`; `worse` and `better` list the changes of run B, largest first."""

    a: Run
    b: Run
    samples: int
    images: int
    left_out: int  # samples of only one of the runs
    scored_by: str  # the score that `worse` and `better` are about: the task's first
    metrics: Mapping[str, Compared]
    worse: Sequence[Change]
    better: Sequence[Change]
    other: int  # answers that differ, in words, boxes or probabilities
    parted: str  # the first stage at which the runs diverge
    settings: Mapping[str, tuple[Any, Any]]  # other entries of the provenance that differ: (A, B)


def _candidates(run: Run) -> str:
    """The first run of a re-ranking run, in words; "" for other runs."""
    named = run.provenance.get("candidates")
    return f"the best {named.get('top')} of run {named.get('run')}" if isinstance(named, dict) else ""


def refuse(a: Run, b: Run) -> None:
    """DataError, with the reason, if the two runs cannot be compared."""
    for field_name, of_a, of_b in (
        ("task", a.spec.task, b.spec.task),
        ("split", a.spec.split, b.spec.split),
        ("data", a.spec.data, b.spec.data),
        ("candidates", _candidates(a), _candidates(b)),
        ("annotations", a.spec.data_hash[:12], b.spec.data_hash[:12]),
        ("task version", a.spec.version, b.spec.version),
    ):
        if of_a != of_b:
            hint = "; `score RUN` scores stored answers by the current version" if "version" in field_name else ""
            raise DataError(f"{a.id} and {b.id} differ in {field_name} ({of_a} and {of_b}){hint}")
    for run in (a, b):
        if not run.finished:
            raise DataError(f"{run.id} is {run.status}, so it has no result; the same `run` command resumes it")


def compare(task: Task[Any], a: Side, b: Side, score: Scoring, only: str = "") -> Comparison:
    """The comparison of two finished runs of a task over the samples that both have.

    `score` turns samples and answers into rows.  Both runs are scored on the same samples, because the score of a
    caption depends on the other samples.  `only` restricts the comparison to one metric, which saves resampling.

    DataError if the runs cannot be compared, have no sample in common, or have different samples under one id.
    """
    refuse(a.run, b.run)
    both = {sample.id for sample in a.samples} & {sample.id for sample in b.samples}
    samples = [sample for sample in a.samples if sample.id in both]
    left_out = len(a.samples) + len(b.samples) - 2 * len(samples)
    if not samples:
        raise DataError(f"{a.run.id} and {b.run.id} have no sample in common")
    if all(sample.target is None for sample in samples):
        raise DataError(
            f"the targets of {task.name} {a.run.spec.split} are not published, so there is nothing to compare by"
        )
    rows_a = _with_stored_scores(task, score(samples, a.answers), a.scores)
    scored_b = score([sample for sample in b.samples if sample.id in both], b.answers)
    try:
        rows_b = in_order_of(rows_a, _with_stored_scores(task, scored_b, b.scores))
    except ValueError as error:
        raise DataError(f"{a.run.id} and {b.run.id}: {error}") from error
    changes = [
        Change(row_a, row_b, before, after)
        for row_a, row_b in zip(rows_a, rows_b, strict=True)
        for before, after in [(goodness(row_a), goodness(row_b))]
        if abs(after - before) > ROUNDING
    ]
    changes.sort(key=lambda change: (-abs(change.after - change.before), change.a.sample.id))
    other_images = sum(a.images[name] != b.images[name] for name in a.images.keys() & b.images.keys() & both)
    other_answers = sum(
        row_a.answer.raw != row_b.answer.raw or row_a.answer.value != row_b.answer.value
        for row_a, row_b in zip(rows_a, rows_b, strict=True)
    )
    settings = differing(a.run.provenance, b.run.provenance)
    kinds: set[str] = {sample.question.kind for sample in samples}
    recorded = _divergence_from_records(a.run, b.run, settings, kinds, other_answers)
    return Comparison(
        a=a.run,
        b=b.run,
        samples=len(rows_a),
        images=len({row.sample.cluster for row in rows_a}),
        left_out=left_out,
        scored_by=next(iter(rows_a[0].score.values), ""),
        metrics=metrics_of(task, rows_a, rows_b, a.run.spec.seed, only),
        worse=[change for change in changes if change.after < change.before],
        better=[change for change in changes if change.after > change.before],
        other=other_answers,
        parted=_first_divergence(rows_a, rows_b, other_images, other_answers, recorded),
        settings=settings,
    )


def metrics_of(
    task: Task[Any], rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]], seed: int, only: str = ""
) -> dict[str, Compared]:
    """Every metric that is defined for both runs, by name; the rows pair.

    The headline is first.  The task's other metrics follow, then `unreadable` and `truncated`, then the metrics of each
    group of samples as "metric group".  With `only`, the named metric alone, unless it is a metric of a group.
    """
    order = [task.headline, *(name for name in task.metrics if name != task.headline)]
    metrics: dict[str, Metric] = {name: task.metrics[name] for name in order}
    metrics |= variant_metrics(task)
    metrics |= {
        "unreadable": share_of(lambda row: not row.score.readable),
        "truncated": share_of(lambda row: row.answer.truncated),
    }
    if only in metrics:
        return _compared_where_defined(task, {only: metrics[only]}, rows_a, rows_b, seed)
    compared = _compared_where_defined(task, metrics, rows_a, rows_b, seed)
    groups = dict.fromkeys(group for row in rows_a for group in row.sample.groups) if task.by_group else {}
    unstratified = replace(task, intervals=replace(task.intervals, stratified=False))
    for group in groups:
        a, b = ([row for row in rows if group in row.sample.groups] for rows in (rows_a, rows_b))
        of_group = {f"{name} {group}": metric for name, metric in task.by_group.items()}
        compared |= _compared_where_defined(unstratified, of_group, a, b, seed)
    return compared


def variant_metrics(task: Task[Any]) -> dict[str, Metric]:
    """The metrics of a task's variants that can be computed from stored scores."""
    return {name: metric for variant in task.variants.values() for name, metric in variant.metrics.items()}


def _compared_where_defined(
    task: Task[Any], metrics: Mapping[str, Metric], rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]], seed: int
) -> dict[str, Compared]:
    """The metrics that are defined for both runs; AP of a size that no object has, for example, is not."""
    compared = {}
    ones = np.ones(len({row.sample.cluster for row in rows_a}))
    for name, metric in metrics.items():
        value_a, value_b = (metric.prepare(rows)(ones) for rows in (rows_a, rows_b))
        if not (np.isfinite(value_a) and np.isfinite(value_b)):
            continue
        compared[name] = _compared(task, name, metric, rows_a, rows_b, seed, value_a, value_b)
    return compared


def _with_stored_scores(task: Task[Any], rows: Sequence[Row[Any]], scores: Mapping[str, Score]) -> list[Row[Any]]:
    """The rows with the scores of variants that the run stored; such scores do not depend on the other samples."""
    if not variant_metrics(task) or any(row.sample.id not in scores for row in rows):
        return list(rows)
    return [replace(row, score=_with_added(row.score, scores[row.sample.id])) for row in rows]


def _with_added(score: Score, stored: Score) -> Score:
    """The score with the stored values that it lacks; they come last, because the first value has a meaning."""
    added = {name: value for name, value in stored.values.items() if name not in score.values}
    return replace(score, values={**score.values, **added})


def _compared(
    task: Task[Any],
    name: str,
    metric: Metric,
    rows_a: Sequence[Row[Any]],
    rows_b: Sequence[Row[Any]],
    seed: int,
    value_a: float,
    value_b: float,
) -> Compared:
    score_of = mean_of(metric)  # None if the metric is not a mean over samples
    resamples, stratified = task.intervals.resamples, task.intervals.stratified
    further = FURTHER * resamples if name == task.headline and score_of is None else 0
    difference = paired(
        between_runs(metric), rows_a, rows_b, seed, stratified=stratified, resamples=resamples, further=further
    )
    strata = ", separately for each data set" if stratified else ""
    test = f"paired bootstrap, {difference.resamples:,} resamples of images{strata}"
    if difference.p is None:
        test = "none"
    if score_of is not None and difference.p is not None:
        differences = [score_of(b) - score_of(a) for a, b in zip(rows_a, rows_b, strict=True)]
        difference = replace(difference, p=permuted(differences, clusters_of(rows_a), seed))
        test = f"permutation of images, {PERMUTATIONS:,} times"
    return Compared(value_a, value_b, difference, test, minimum_detectable(difference))


def permuted(differences: Sequence[float], clusters: Sequence[int], seed: int) -> float:
    """The two-sided p-value of a mean difference of 0 under random exchanges of clusters between the runs.

    `differences` and `clusters` have one entry for each sample; clusters are numbered from 0.  One is added to both
    counts, so the p-value is never 0 (Phipson and Smyth, 2010).
    """
    sums = np.bincount(clusters, differences)
    sums = sums[np.abs(sums) > ROUNDING]  # exchanging a cluster without a difference changes nothing
    if not len(sums):
        return 1.0
    draw = np.random.default_rng(seed)
    observed = abs(sums.sum()) - ROUNDING
    beyond = 0
    for _ in range(PERMUTATIONS // 100):
        signs = draw.integers(0, 2, (100, len(sums))) * 2 - 1
        beyond += int(np.count_nonzero(np.abs(signs @ sums) >= observed))
    return (beyond + 1) / (PERMUTATIONS + 1)


def minimum_detectable(difference: Difference) -> float | None:
    """The true difference that would be found in 80 % of cases at the 5 % level, from the width of the interval.

    None if there is no interval, or if it has no width, since then the standard error is unknown.
    """
    if difference.low is None or difference.high is None or difference.high - difference.low <= ROUNDING:
        return None
    return DETECTABLE * (difference.high - difference.low) / INTERVAL


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that the family-wise error rate is that of one test (Holm, 1979).

    The k-th smallest of m values is multiplied by m - k + 1.  A corrected value is at most 1, and at least as large as
    the corrected values of smaller ones.  The order of the input is kept.
    """
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected


def goodness(row: Row[Any]) -> float:
    """The task's first score of a sample, for which larger is better; 0 if there are no scores."""
    return float(next(iter(row.score.values.values()), 0.0))


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The entries of two provenances that differ, as (A, B) by name, without those that always differ.

    The name of a nested entry is "outer: inner".
    """
    differences: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*a, *b]):
        if name in IGNORED:
            continue
        of_a, of_b = a.get(name), b.get(name)
        if isinstance(of_a, Mapping) or isinstance(of_b, Mapping):
            sides = (side if isinstance(side, Mapping) else {} for side in (of_a, of_b))
            differences |= {f"{name}: {key}": pair for key, pair in differing(*sides).items()}
        elif of_a != of_b:
            differences[name] = of_a, of_b
    return differences


def _first_divergence(
    rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]], other_images: int, other_answers: int, recorded: str
) -> str:
    """The first stage between question and answer at which any sample differs, by the digests stored with answers.

    `recorded` is the divergence that the records show.  It is returned if answers have no digests, and explains output
    tokens that differ although everything before is equal.
    """
    if other_images:
        return f"data: {other_images} samples have another image of the same name"
    trails = [(row_a.answer.trail, row_b.answer.trail) for row_a, row_b in zip(rows_a, rows_b, strict=True)]
    known = [(of_a, of_b) for of_a, of_b in trails if of_a is not None and of_b is not None]
    if len(known) < len(trails):
        return recorded
    for index, stage in enumerate(TRAIL):
        differing_samples = sum(of_a[index] != of_b[index] for of_a, of_b in known)
        if differing_samples:
            equal = ", ".join(("images", *TRAIL[:index]))
            reason = f"; {recorded}" if stage == TRAIL[-1] and recorded.partition(":")[0] in STAGES else ""
            return f"{stage}: {differing_samples:,} of {len(known):,} samples differ; equal before: {equal}{reason}"
    if other_answers:
        return f"parsing: {other_answers:,} answers have equal tokens, but other probabilities or parsed values"
    return "nowhere: all answers are equal"


def _divergence_from_records(
    a: Run, b: Run, settings: Mapping[str, tuple[Any, Any]], kinds: set[str], other_answers: int
) -> str:
    """The first stage at which the two records differ; `settings` are the differing entries of their provenance."""
    models = [run.provenance.get("model", {}) for run in (a, b)]
    described = [{name for names in STAGES.values() for name in names if name in model} for model in models]
    recorded = described[0] & described[1]
    for stage, names in STAGES.items():
        keys = [f"model: {name}" for name in names if name in recorded]
        keys = [f"{key}: {kind}" for key in keys for kind in kinds] if stage == "prompt" else keys
        differing_keys = [key.removeprefix("model: ") for key in keys if key in settings]
        if differing_keys:
            return f"{stage}: different {', '.join(differing_keys)}"
    if not recorded:
        silent = [run.spec.model for run, names in zip((a, b), described, strict=True) if not names]
        if not silent:
            return "an unknown stage: the two records describe their models by other settings"
        return f"an unknown stage: the record of {' and of '.join(silent)} does not describe the model"
    if a.spec.fingerprint != b.spec.fingerprint:
        return f"the code, or a setting, of the model (the fingerprints differ); {other_answers} answers differ"
    if other_answers:
        return f"tokens: {other_answers} answers differ; equal before: images, prompts, weights, decoding and code"
    return "nowhere: all answers are equal"
