"""Two runs over the same questions: how much better the second is, whether that is more than chance, and what changed.

Everything is paired by sample.  A difference's interval comes from resampling images, each metric worked out anew for
both runs within every resample, so that what both find equally hard cancels (`statistics.paired`).  The p-value of a
mean over samples comes from a permutation test instead: if the runs were alike, which of an image's two answers is
whose would not matter, so images are exchanged at random.  CIDEr is such a mean under exchange, since how rare a word
is, is told by the references alone; within a resample it is told anew, by the references that were drawn.  AP's p-value
is of the resamples, of which none is below two in so many: where it is as low as the usual number of them can tell, the
headline's is of ten times as many.  Of the headlines of several tasks, p-values are also given as corrected by Holm.

What could not have been seen: a difference smaller than 2.8 standard errors has less than four chances in five of being
told from none at the 5 % level (1.96 for the level, 0.84 for the chance).
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
FURTHER = 10  # times as many resamples, for a headline's p-value
DETECTED = 1.96 + 0.84  # standard errors
QUANTILES = 2 * 1.96  # standard errors between the ends of a 95 % interval
NOT_TOLD = ("date", "command", "load", "marked again", "seen", "intervals", "marking", "policy")
STAGES = {  # of what a model makes of a question, in this order, and what of a record tells that it differs
    "prompt": ("prompts",),
    "pixels": ("input",),
    "weights": ("weights sha256", "precision"),
    "decoding": ("decoding",),
}
TRAIL = ("prompt", "pixels", "tokens in", "tokens out")  # as `core.Trail` has them
Marking = Callable[[Sequence[Sample[Any]], Mapping[str, Answer]], Sequence[Row[Any]]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A metric of both runs, their difference (B less A), how its p-value was found, and the smallest difference that
    so many images would have shown in four of five cases (None: too few to say)."""

    a: float
    b: float
    difference: Difference
    test: str
    smallest: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its record, the samples that it was asked, its answers, the digest of each sample's picture as it
    kept it (where there was one), and the scores that it kept."""

    run: Run
    samples: Sequence[Sample[Any]]
    answers: Mapping[str, Answer]
    images: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Score] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """A sample that one run answers better than the other; scores are the task's first, as shares."""

    a: Row[Any]
    b: Row[Any]
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.  `worse` and `better` are from run B's side, the largest change first."""

    a: Run
    b: Run
    samples: int
    images: int
    left_out: int  # samples that only one of the runs was asked
    scored_by: str  # what of a sample is called worse or better: the task's first score
    metrics: Mapping[str, Compared]
    worse: Sequence[Change]
    better: Sequence[Change]
    other: int  # answers that are not the same: other words, boxes or probabilities
    parted: str  # the first stage at which they part
    settings: Mapping[str, tuple[Any, Any]]  # what else a record says differently of the two


def refuse(a: Run, b: Run) -> None:
    """DataError, with the reason, where the two cannot be held against each other."""
    for what, one, other in (
        ("task", a.spec.task, b.spec.task),
        ("split", a.spec.split, b.spec.split),
        ("data", a.spec.data, b.spec.data),
        ("annotations", a.spec.data_hash[:12], b.spec.data_hash[:12]),
        ("task version", a.spec.version, b.spec.version),
    ):
        if one != other:
            hint = "; `score RUN` marks kept answers again, by the version that is here" if "version" in what else ""
            raise DataError(f"{a.id} and {b.id} are not of the same {what} ({one} and {other}){hint}")
    for run in (a, b):
        if not run.finished:
            raise DataError(f"{run.id} is {run.status}, so it has no result; the same `run` command goes on with it")


def compare(task: Task[Any], a: Side, b: Side, mark: Marking, only: str = "") -> Comparison:
    """Two finished runs of a task; where one was asked less, over what both were asked.

    `mark` marks samples with their answers.  It is given both runs' over the same samples: a caption's score depends on
    which others there are.  `only` names the one metric that is wanted: resampling all of them takes long.  DataError
    where nothing pairs, or what pairs is not the same.
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
    rows_a = _with_kept(task, mark(samples, a.answers), a.scores)
    marked_b = mark([one for one in b.samples if one.id in both], b.answers)
    try:
        rows_b = in_order_of(rows_a, _with_kept(task, marked_b, b.scores))
    except ValueError as error:
        raise DataError(f"{a.run.id} and {b.run.id}: {error}") from error
    changes = [
        Change(one, other, before, after)
        for one, other in zip(rows_a, rows_b, strict=True)
        for before, after in [(goodness(one), goodness(other))]
        if abs(after - before) > ROUNDING
    ]
    changes.sort(key=lambda change: (-abs(change.after - change.before), change.a.sample.id))
    other_images = sum(a.images[name] != b.images[name] for name in a.images.keys() & b.images.keys() & both)
    other = sum(
        one.answer.raw != two.answer.raw or one.answer.value != two.answer.value
        for one, two in zip(rows_a, rows_b, strict=True)
    )
    settings = differing(a.run.provenance, b.run.provenance)
    kinds: set[str] = {sample.question.kind for sample in samples}
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
        other=other,
        parted=_parted(rows_a, rows_b, other_images, other, _told(a.run, b.run, settings, kinds, other)),
        settings=settings,
    )


def metrics_of(
    task: Task[Any], rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]], seed: int, only: str = ""
) -> dict[str, Compared]:
    """Every metric that is defined for both, the headline first; then the shares of unreadable and cut-off answers;
    then what a task reports for each group of samples, as "metric group"."""
    order = [task.headline, *(name for name in task.metrics if name != task.headline)]
    wanted: dict[str, Metric] = {name: task.metrics[name] for name in order}
    wanted |= variant_metrics(task)
    wanted |= {
        "unreadable": share_of(lambda row: not row.score.readable),
        "truncated": share_of(lambda row: row.answer.truncated),
    }
    if only in wanted:
        return _each(task, {only: wanted[only]}, rows_a, rows_b, seed)
    found = _each(task, wanted, rows_a, rows_b, seed)
    groups = dict.fromkeys(group for row in rows_a for group in row.sample.groups) if task.by_group else {}
    within = replace(task, intervals=replace(task.intervals, stratified=False))
    for group in groups:
        a, b = ([row for row in rows if group in row.sample.groups] for rows in (rows_a, rows_b))
        named = {f"{name} {group}": metric for name, metric in task.by_group.items()}
        found |= _each(within, named, a, b, seed)
    return found


def variant_metrics(task: Task[Any]) -> dict[str, Metric]:
    """The metrics of a task's variants that need only the scores that runs keep."""
    return {name: metric for variant in task.variants.values() for name, metric in variant.metrics.items()}


def _each(
    task: Task[Any], wanted: Mapping[str, Metric], rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]], seed: int
) -> dict[str, Compared]:
    found = {}
    ones = np.ones(len({row.sample.cluster for row in rows_a}))
    for name, metric in wanted.items():
        value_a, value_b = (metric.prepare(rows)(ones) for rows in (rows_a, rows_b))
        if not (np.isfinite(value_a) and np.isfinite(value_b)):
            continue  # an AP of a size that no object has
        found[name] = _compared(task, name, metric, rows_a, rows_b, seed, value_a, value_b)
    return found


def _with_kept(task: Task[Any], rows: Sequence[Row[Any]], scores: Mapping[str, Score]) -> list[Row[Any]]:
    """Rows with the scores of variants that the run kept.  These scores do not depend on the set of samples."""
    if not variant_metrics(task) or any(row.sample.id not in scores for row in rows):
        return list(rows)
    return [
        replace(
            row, score=replace(row.score, values={**row.score.values, **_besides(scores[row.sample.id], row.score)})
        )
        for row in rows
    ]


def _besides(kept: Score, marked: Score) -> dict[str, float]:
    return {key: value for key, value in kept.values.items() if key not in marked.values}


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
    each = mean_of(metric)
    resamples, stratified = task.intervals.resamples, task.intervals.stratified
    further = FURTHER * resamples if name == task.headline and each is None else 0
    difference = paired(
        between_runs(metric), rows_a, rows_b, seed, stratified=stratified, resamples=resamples, further=further
    )
    apart = ", each data set's apart" if stratified else ""
    test = f"paired bootstrap, {difference.resamples:,} resamples of images{apart}"
    if difference.p is None:
        test = "none"
    if each is not None and difference.p is not None:
        p = permuted([each(b) - each(a) for a, b in zip(rows_a, rows_b, strict=True)], clusters_of(rows_a), seed)
        difference = replace(difference, p=p)
        test = f"permutation of images, {PERMUTATIONS:,} times"
    return Compared(value_a, value_b, difference, test, smallest(difference))


def permuted(differences: Sequence[float], clusters: Sequence[int], seed: int) -> float:
    """The two-sided p-value of a mean difference of 0, clusters exchanged between the runs at random.

    One is added to both counts, so it is never 0 (Phipson and Smyth, 2010).
    """
    sums = np.bincount(clusters, differences)
    sums = sums[np.abs(sums) > ROUNDING]  # an image that both answer alike is alike either way
    if not len(sums):
        return 1.0
    draw = np.random.default_rng(seed)
    observed = abs(sums.sum()) - ROUNDING
    beyond = 0
    for _ in range(PERMUTATIONS // 100):
        signs = draw.integers(0, 2, (100, len(sums))) * 2 - 1
        beyond += int(np.count_nonzero(np.abs(signs @ sums) >= observed))
    return (beyond + 1) / (PERMUTATIONS + 1)


def smallest(difference: Difference) -> float | None:
    """The smallest true difference that would have been told from none in four of five cases; None where nothing
    varies, which says nothing of that."""
    if difference.low is None or difference.high is None or difference.high - difference.low <= ROUNDING:
        return None
    return DETECTED * (difference.high - difference.low) / QUANTILES


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests, corrected so that the chance of any false alarm stays what it is for one (Holm, 1979).

    The k-th smallest of m is multiplied by m - k + 1, and is no smaller than those before it.
    """
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = highest
    return corrected


def goodness(row: Row[Any]) -> float:
    """The score of a sample that a task names first, of which more is better; 0 where there is none."""
    return float(next(iter(row.score.values.values()), 0.0))


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two records say differently of how they came about, name by name, without what always differs."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in dict.fromkeys([*a, *b]):
        if name in NOT_TOLD:
            continue
        one, other = a.get(name), b.get(name)
        if isinstance(one, Mapping) or isinstance(other, Mapping):
            sides = (side if isinstance(side, Mapping) else {} for side in (one, other))
            found |= {f"{name}: {key}": pair for key, pair in differing(*sides).items()}
        elif one != other:
            found[name] = one, other
    return found


def _parted(rows_a: Sequence[Row[Any]], rows_b: Sequence[Row[Any]], other_images: int, other: int, told: str) -> str:
    """The first stage of the way from a question to its answer at which any sample is not alike, by what was kept with
    the answers; where nothing was, what the records tell.  Between tokens in and out they tell what else is another."""
    if other_images:
        return f"data: {other_images} samples have another picture, of the same name"
    trails = [(one.answer.trail, two.answer.trail) for one, two in zip(rows_a, rows_b, strict=True)]
    known = [(one, two) for one, two in trails if one is not None and two is not None]
    if len(known) < len(trails):
        return told
    for place, stage in enumerate(TRAIL):
        differ = sum(one[place] != two[place] for one, two in known)
        if differ:
            before = ", ".join(("pictures", *TRAIL[:place]))
            why = f"; {told}" if stage == TRAIL[-1] and told.partition(":")[0] in STAGES else ""
            return f"{stage}: {differ:,} of {len(known):,} samples have others; alike before that: {before}{why}"
    if other:
        return f"reading: {other:,} answers are of the same tokens, with other probabilities or read in another way"
    return "nowhere: every answer is the same"


def _told(a: Run, b: Run, settings: Mapping[str, tuple[Any, Any]], kinds: set[str], other: int) -> str:
    """The same from what the records say, where answers were kept without their trail."""
    ways = [run.provenance.get("model", {}) for run in (a, b)]
    told = [name for names in STAGES.values() for name in names if all(name in way for way in ways)]
    for stage, names in STAGES.items():
        keys = [f"model: {name}" for name in names if name in told]
        keys = [f"{key}: {kind}" for key in keys for kind in kinds] if stage == "prompt" else keys
        differ = [key.removeprefix("model: ") for key in keys if key in settings]
        if differ:
            return f"{stage}: another {', '.join(differ)}"
    if not told:
        return f"an unknown stage: how {a.spec.model} or {b.spec.model} came to its answers is not recorded"
    if a.spec.fingerprint != b.spec.fingerprint:
        return f"the code, or a setting, that answers (the fingerprints differ); {other} answers are others"
    if other:
        return f"tokens: {other} answers are others, though pictures, prompts, weights, decoding and code are alike"
    return "nowhere: every answer is the same"
