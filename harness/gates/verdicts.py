"""The verdict on a promise: kept, broken, or not to be told."""

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

LOWER = ("unreadable", "truncated", MEMORY)  # of which less is better
LEVEL = 0.05
State = Literal["kept", "broken", "undecided"]
MARKING = 1e-6  # by which a mark may differ between machines


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a promise: what was promised, what came, how that stands to chance, and what shows more."""

    name: str
    state: State
    promised: str
    came: str
    chance: str = ""
    more: str = ""
    passes: bool = False  # though it cannot be told

    @property
    def red(self) -> bool:
        """Whether it fails the gate."""
        return self.state == "broken" or (self.state == "undecided" and not self.passes)

    def line(self) -> str:
        """All of it, on one line."""
        chance, more = (f"; {self.chance}" if self.chance else ""), (f"; see: {self.more}" if self.more else "")
        return f"{self.name}: promised {self.promised}, came {self.came}{chance}{more}"


def bounded(promise: Promise, name: str, run: Run, more: str) -> Verdict:
    """A metric of a finished run, against a bound."""
    metric = promise.metric or run.headline
    promised = f"{metric} {_bounds(promise)}"
    if metric == MEMORY:
        value = run.timings.get(metric)
        estimate = Estimate(value, None, None, 1)
    else:
        found = run.metrics.get(metric)
        if found is None:
            there = ", ".join(run.metrics) or "none"
            return Verdict(name, "broken", promised, f"no such metric: there are {there}", more=more)
        estimate = found
    if estimate.value is None:
        return Verdict(name, "undecided", promised, "no number", "it is not defined here", more, _passes(promise))
    came = f"{estimate.value:.4g}"
    if estimate.low is not None and estimate.high is not None:
        came += f" [{estimate.low:.4g}, {estimate.high:.4g}], n = {estimate.n:,}"
    broken = _beyond(promise, estimate.value)
    if not broken:
        return Verdict(name, "kept", promised, came, more=more)
    if estimate.low is None or estimate.high is None:
        return Verdict(name, "broken", promised, came, "no interval", more)
    surely = _beyond(promise, estimate.low) and _beyond(promise, estimate.high)
    chance = "beyond its interval" if surely else "within its interval of the bound, which is a hard one"
    return Verdict(name, "broken", promised, came, chance, more)


def no_worse(promise: Promise, name: str, metric: str, compared: Compared, images: int, more: str) -> Verdict:
    """A metric of a run (B) against that of the run it must not be worse than (A)."""
    promised = f"{metric} not worse by more than {promise.margin:g}"
    sign = -1 if metric in LOWER else 1
    difference = compared.difference
    came = f"{compared.b:.2f} after {compared.a:.2f} ({difference.value:+.2f})"
    gain = sign * difference.value
    lost_too_much = gain < -promise.margin - ROUNDING
    if difference.low is None or difference.high is None:
        chance = "no interval: nothing is drawn at random here, or too few images"
        if not lost_too_much and abs(gain) <= ROUNDING:
            return Verdict(name, "kept", promised, came, more=more)
        state: State = "broken" if lost_too_much else "undecided"
        return Verdict(name, state, promised, came, chance, more, _passes(promise))
    low, high = sorted((sign * difference.low, sign * difference.high))
    told = f"[{difference.low:+.2f}, {difference.high:+.2f}], {images:,} images"
    came = f"{came[:-1]} {told})"
    if lost_too_much and high < 0:
        return Verdict(name, "broken", promised, came, "beyond noise: the interval leaves out no difference", more)
    if low >= -promise.margin - ROUNDING:
        return Verdict(name, "kept", promised, came, more=more)
    if lost_too_much:
        needed = images * ((high - gain) / -gain) ** 2
        why = "more than the margin is lost, but it may be chance"
    else:
        room = gain + promise.margin
        needed = images * ((gain - low) / room) ** 2 if room > ROUNDING else math.inf
        why = "a loss of more than the margin is not left out"
    count = f"about {math.ceil(needed):,} images" if math.isfinite(needed) and needed < 1e7 else "another margin"
    return Verdict(name, "undecided", promised, came, f"cannot tell: {why}; it needs {count}", more, _passes(promise))


def quick(promise: Promise, base: Sequence[float], head: Sequence[float], more: str, name: str = "") -> Verdict:
    """Seconds of both sides, a pair a round: base / head is how many times as quick head is.

    ValueError where they do not pair.
    """
    if not base or len(base) != len(head) or not all(0 < value < math.inf for value in (*base, *head)):
        raise ValueError("base and head: equally many seconds, at least one, each above 0")
    promised = f"speed {_bounds(promise)}"
    from scipy.stats import wilcoxon  # a second to import: no other command should wait for it

    ratios = [slow / fast for slow, fast in zip(base, head, strict=True)]
    middle = statistics.median(ratios)
    least = promise.at_least if promise.at_least is not None else 0.0
    came = f"{middle:.3f} times as quick as the base ({min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds)"
    name = name or promise.name
    if middle >= least:
        return Verdict(name, "kept", promised, came, more=more)
    p = float(wilcoxon([math.log(ratio / least) for ratio in ratios], alternative="less").pvalue)
    if p < LEVEL:
        return Verdict(name, "broken", promised, came, f"beyond noise: signed-rank test, p = {p:.2g}", more)
    chance = f"cannot tell: signed-rank test, p = {p:.2g}; it needs more rounds"
    return Verdict(name, "undecided", promised, came, chance, more, _passes(promise))


def same_marking(
    name: str, before: Run, version: int, marks: Mapping[str, Score], kept: Mapping[str, Score],
    metrics: Mapping[str, Estimate], more: str,
) -> Verdict:  # fmt: skip
    """What a task makes now of frozen answers, against what it made when they were frozen."""
    promised = f"marks of version {before.spec.version} as they were"
    if version != before.spec.version:
        return Verdict(
            name, "undecided", promised, f"version {version}", "its marking is not frozen yet: `gate --freeze`", more
        )
    for sample in kept.keys() | marks.keys():
        one, other = (side[sample].values if sample in side else {} for side in (kept, marks))
        for score in one.keys() | other.keys():
            if not _alike(one.get(score), other.get(score)):
                came = f"{score} of {sample} {other.get(score)}, which was {one.get(score)}"
                return Verdict(name, "broken", promised, came, "marking has changed: raise the task's version", more)
    for metric in before.metrics.keys() | metrics.keys():
        one_value, other_value = (
            None if metric not in side else side[metric].value for side in (before.metrics, metrics)
        )
        if (metric in before.metrics) != (metric in metrics) or not _alike(one_value, other_value):
            came = f"{metric} {other_value}, which was {one_value}"
            return Verdict(name, "broken", promised, came, "marking has changed: raise the task's version", more)
    return Verdict(name, "kept", promised, f"{len(marks)} samples and {len(metrics)} metrics alike")


def same_prompts(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[Verdict]:
    """Golden prompts: by kind and form, the texts of questions that stay the same."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            found.append(Verdict(f"prompt {name}", "broken", "a prompt", "none: there is no such form any more"))
        elif name not in before:
            found.append(Verdict(f"prompt {name}", "broken", "no such form", f"{now[name]}", "", "gate --freeze"))
        elif list(before[name]) != list(now[name]):
            found.append(
                Verdict(f"prompt {name}", "broken", f"{list(before[name])}", f"{list(now[name])}", "", "gate --freeze")
            )
    return found or [Verdict("prompts", "kept", f"{len(before)} prompts as they were", "the same")]


def _alike(one: float | None, other: float | None) -> bool:
    if one is None or other is None or math.isnan(one) or math.isnan(other):
        return (one is None or math.isnan(one)) and (other is None or math.isnan(other))
    return abs(one - other) <= MARKING * max(1.0, abs(one))


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
