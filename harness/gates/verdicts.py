"""The verdict on a promise: kept, broken or undecided."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.comparison import Compared
from harness.core import Estimate, Run, Score
from harness.gates.promises import MEMORY, Promise
from harness.statistics import ROUNDING

LOWER = ("unreadable", "truncated", MEMORY)  # metrics for which lower is better
LEVEL = 0.05  # significance level of the signed-rank test
SCORING = 1e-6  # relative difference that a score may have between machines
State = Literal["kept", "broken", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a promise: what was promised, what was measured, the reason, and the command that shows more."""

    name: str
    state: State
    promised: str
    measured: str
    reason: str = ""
    more: str = ""
    passes: bool = False  # where it is undecided

    @property
    def red(self) -> bool:
        """Whether the verdict fails the gate."""
        return self.state == "broken" or (self.state == "undecided" and not self.passes)

    def line(self) -> str:
        """The whole verdict on one line."""
        reason, more = (f"; {self.reason}" if self.reason else ""), (f"; see: {self.more}" if self.more else "")
        return f"{self.name}: promised {self.promised}, measured {self.measured}{reason}{more}"


def bounded(promise: Promise, name: str, run: Run, more: str) -> Verdict:
    """The verdict on a bound of a metric, or of peak memory, of a finished run.

    The value decides, whatever its interval: a bound is hard.
    """
    metric = promise.metric or run.headline
    promised = f"{metric} {_bounds(promise)}"
    estimate = Estimate(run.timings.get(metric), None, None, 1) if metric == MEMORY else run.metrics.get(metric)
    if estimate is None:
        names = ", ".join(run.metrics) or "none"
        return Verdict(name, "broken", promised, f"no such metric: there are {names}", more=more)
    if estimate.value is None:
        return Verdict(name, "undecided", promised, "no number", "undefined on these samples", more, _passes(promise))
    measured = f"{estimate.value:.4g}"
    if estimate.low is not None and estimate.high is not None:
        measured += f" [{estimate.low:.4g}, {estimate.high:.4g}]"
    if metric != MEMORY:
        measured += f", {run.counts.get('images', 0):,} images"
    if not _beyond(promise, estimate.value):
        return Verdict(name, "kept", promised, measured, more=more)
    if estimate.low is None or estimate.high is None:
        return Verdict(name, "broken", promised, measured, "no interval", more)
    if _beyond(promise, estimate.low) and _beyond(promise, estimate.high):
        reason = "the whole interval is beyond the bound"
    else:
        reason = "the interval contains the bound, which is hard"
    return Verdict(name, "broken", promised, measured, reason, more)


def no_worse(promise: Promise, name: str, metric: str, compared: Compared, images: int, more: str) -> Verdict:
    """The verdict on a metric of a run (B) versus its reference (A).

    Broken: more than the margin is lost, and the interval of the paired difference excludes 0.  Kept: the interval
    excludes a loss of more than the margin.  Otherwise undecided, with the number of images that would decide.
    """
    promised = f"{metric} not worse by more than {promise.margin:g}"
    sign = -1 if metric in LOWER else 1
    difference = compared.difference
    gain = sign * difference.value
    lost_too_much = gain < -promise.margin - ROUNDING
    if difference.low is None or difference.high is None:
        measured = f"{compared.b:.2f} versus {compared.a:.2f} ({difference.value:+.2f}, {images:,} images)"
        if abs(gain) <= ROUNDING:
            return Verdict(name, "kept", promised, measured, more=more)
        reason = "no interval: the metric has none, or there are too few images"
        state: State = "broken" if lost_too_much else "undecided"
        return Verdict(name, state, promised, measured, reason, more, _passes(promise))
    low, high = sorted((sign * difference.low, sign * difference.high))
    interval = f"{difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}], {images:,} images"
    measured = f"{compared.b:.2f} versus {compared.a:.2f} ({interval})"
    if lost_too_much and high < 0:
        return Verdict(name, "broken", promised, measured, "beyond noise: the interval excludes 0", more)
    if low >= -promise.margin - ROUNDING:
        return Verdict(name, "kept", promised, measured, more=more)
    # The half-width of an interval falls with the square root of the number of images.
    if lost_too_much:
        needed = images * ((high - gain) / -gain) ** 2
        reason = "more than the margin is lost, but the interval contains 0"
    else:
        room = gain + promise.margin
        needed = images * ((gain - low) / room) ** 2 if room > ROUNDING else math.inf
        reason = "the interval does not exclude a loss of more than the margin"
    count = f"about {math.ceil(needed):,} images" if math.isfinite(needed) and needed < 1e7 else "another margin"
    reason = f"undecided: {reason}; a decision needs {count}"
    return Verdict(name, "undecided", promised, measured, reason, more, _passes(promise))


def quick(promise: Promise, base: Sequence[float], head: Sequence[float], more: str, name: str = "") -> Verdict:
    """The verdict on the seconds of two sides, a pair for each round; the speed ratio of a round is base / head.

    Broken: the median ratio is below the promise, and a signed-rank test of the ratios agrees at LEVEL.  ValueError
    where the rounds do not pair, or a time is not positive and finite.
    """
    if not base or len(base) != len(head) or not all(0 < value < math.inf for value in (*base, *head)):
        raise ValueError("base and head: equally many seconds, at least one, each above 0")
    from scipy.stats import wilcoxon  # here: the import is slow, and other commands do not need it

    promised = f"speed {_bounds(promise)}"
    ratios = [base_seconds / head_seconds for base_seconds, head_seconds in zip(base, head, strict=True)]
    median = statistics.median(ratios)
    least = promise.at_least if promise.at_least is not None else 0.0
    spread = f"{min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds"
    measured = f"{median:.3f} times the speed of the base ({spread})"
    name = name or promise.name
    if median >= least:
        return Verdict(name, "kept", promised, measured, more=more)
    p = float(wilcoxon([math.log(ratio / least) for ratio in ratios], alternative="less").pvalue)
    if p < LEVEL:
        return Verdict(name, "broken", promised, measured, f"beyond noise: signed-rank test, p = {p:.2g}", more)
    reason = f"undecided: signed-rank test, p = {p:.2g}; a decision needs more rounds"
    return Verdict(name, "undecided", promised, measured, reason, more, _passes(promise))


def same_scores(
    name: str, before: Run, version: int, scores: Mapping[str, Score], kept: Mapping[str, Score],
    metrics: Mapping[str, Estimate], more: str,
) -> Verdict:  # fmt: skip
    """The verdict on the scores and metrics of frozen answers.

    `scores` and `metrics` are computed now, by `version` of the task; `kept` and `before` are frozen.
    """
    promised = f"scores of version {before.spec.version} as they were"
    if version != before.spec.version:
        return Verdict(name, "undecided", promised, f"version {version}", "not frozen yet: `gate --freeze`", more)
    reason = "scores changed: raise the task's version"
    for sample in sorted(kept.keys() | scores.keys()):
        old, new = (side[sample].values if sample in side else {} for side in (kept, scores))
        for score in sorted(old.keys() | new.keys()):
            if not _equal(old.get(score), new.get(score)):
                change = f"{score} of {sample} {new.get(score)}, which was {old.get(score)}"
                return Verdict(name, "broken", promised, change, reason, more)
    for metric in sorted(before.metrics.keys() | metrics.keys()):
        was, now = (side[metric].value if metric in side else None for side in (before.metrics, metrics))
        if (metric in before.metrics) != (metric in metrics) or not _equal(was, now):
            return Verdict(name, "broken", promised, f"{metric} {now}, which was {was}", reason, more)
    return Verdict(name, "kept", promised, f"{len(scores)} samples and {len(metrics)} metrics equal")


def same_prompts(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[Verdict]:
    """The verdicts on golden prompts, by kind and form: one for each that changed, or one that all are kept."""
    changes = []
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            changes.append(Verdict(f"prompt {name}", "broken", "a prompt", "none: the form is gone"))
        elif name not in before:
            changes.append(Verdict(f"prompt {name}", "broken", "no such form", f"{now[name]}", "", "gate --freeze"))
        elif list(before[name]) != list(now[name]):
            changes.append(
                Verdict(f"prompt {name}", "broken", f"{list(before[name])}", f"{list(now[name])}", "", "gate --freeze")
            )
    return changes or [Verdict("prompts", "kept", f"{len(before)} prompts as they were", "the same")]


def _equal(old: float | None, new: float | None) -> bool:
    """Whether two scores are equal up to SCORING; an undefined score (None or NaN) equals an undefined one only."""
    if old is None or new is None or math.isnan(old) or math.isnan(new):
        return (old is None or math.isnan(old)) and (new is None or math.isnan(new))
    return abs(old - new) <= SCORING * max(1.0, abs(old))


def _beyond(promise: Promise, value: float) -> bool:
    return (promise.at_least is not None and value < promise.at_least) or (
        promise.at_most is not None and value > promise.at_most
    )


def _bounds(promise: Promise) -> str:
    least = [f"at least {promise.at_least:g}"] if promise.at_least is not None else []
    most = [f"at most {promise.at_most:g}"] if promise.at_most is not None else []
    return " and ".join(least + most)


def _passes(promise: Promise) -> bool:
    return promise.undecided == "passes"
