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

LOWER = ("unreadable", "truncated", MEMORY)  # metrics of which less is better
LEVEL = 0.05
State = Literal["kept", "broken", "undecided"]
SCORING = 1e-6  # relative difference that a score may have between machines


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was promised, what was measured (`came`), whether chance explains it, and the command that shows more."""

    name: str
    state: State
    promised: str
    came: str
    chance: str = ""
    more: str = ""
    passes: bool = False  # though it is undecided

    @property
    def red(self) -> bool:
        """Whether it fails the gate."""
        return self.state == "broken" or (self.state == "undecided" and not self.passes)

    def line(self) -> str:
        """The whole verdict on one line."""
        chance, more = (f"; {self.chance}" if self.chance else ""), (f"; see: {self.more}" if self.more else "")
        return f"{self.name}: promised {self.promised}, measured {self.came}{chance}{more}"


def bounded(promise: Promise, name: str, run: Run, more: str) -> Verdict:
    """The verdict on a bound of a metric, or of peak memory, of a finished run."""
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
        return Verdict(name, "undecided", promised, "no number", "undefined on these samples", more, _passes(promise))
    came = f"{estimate.value:.4g}"
    if estimate.low is not None and estimate.high is not None:
        came += f" [{estimate.low:.4g}, {estimate.high:.4g}]"
    if metric != MEMORY:
        came += f", {run.counts.get('images', 0):,} images"
    broken = _beyond(promise, estimate.value)
    if not broken:
        return Verdict(name, "kept", promised, came, more=more)
    if estimate.low is None or estimate.high is None:
        return Verdict(name, "broken", promised, came, "no interval", more)
    surely = _beyond(promise, estimate.low) and _beyond(promise, estimate.high)
    chance = "the whole interval is beyond the bound" if surely else "the interval contains the bound, which is hard"
    return Verdict(name, "broken", promised, came, chance, more)


def no_worse(promise: Promise, name: str, metric: str, compared: Compared, images: int, more: str) -> Verdict:
    """The verdict on a metric of a run (B) versus the run that it must not be worse than (A)."""
    promised = f"{metric} not worse by more than {promise.margin:g}"
    sign = -1 if metric in LOWER else 1
    difference = compared.difference
    came = f"{compared.b:.2f} versus {compared.a:.2f} ({difference.value:+.2f}, {images:,} images)"
    gain = sign * difference.value
    lost_too_much = gain < -promise.margin - ROUNDING
    if difference.low is None or difference.high is None:
        chance = "no interval: the metric has none, or there are too few images"
        if not lost_too_much and abs(gain) <= ROUNDING:
            return Verdict(name, "kept", promised, came, more=more)
        state: State = "broken" if lost_too_much else "undecided"
        return Verdict(name, state, promised, came, chance, more, _passes(promise))
    low, high = sorted((sign * difference.low, sign * difference.high))
    interval = f"{difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}], {images:,} images"
    came = f"{compared.b:.2f} versus {compared.a:.2f} ({interval})"
    if lost_too_much and high < 0:
        return Verdict(name, "broken", promised, came, "beyond noise: the interval excludes 0", more)
    if low >= -promise.margin - ROUNDING:
        return Verdict(name, "kept", promised, came, more=more)
    if lost_too_much:
        needed = images * ((high - gain) / -gain) ** 2
        why = "more than the margin is lost, but the interval contains 0"
    else:
        room = gain + promise.margin
        needed = images * ((gain - low) / room) ** 2 if room > ROUNDING else math.inf
        why = "the interval does not exclude a loss of more than the margin"
    count = f"about {math.ceil(needed):,} images" if math.isfinite(needed) and needed < 1e7 else "another margin"
    return Verdict(name, "undecided", promised, came, f"undecided: {why}; it needs {count}", more, _passes(promise))


def quick(promise: Promise, base: Sequence[float], head: Sequence[float], more: str, name: str = "") -> Verdict:
    """The verdict on seconds of both sides, a pair for each round; base / head is the speed ratio.

    ValueError where the rounds do not pair.
    """
    if not base or len(base) != len(head) or not all(0 < value < math.inf for value in (*base, *head)):
        raise ValueError("base and head: equally many seconds, at least one, each above 0")
    promised = f"speed {_bounds(promise)}"
    from scipy.stats import wilcoxon  # a second to import: no other command should wait for it

    ratios = [slow / fast for slow, fast in zip(base, head, strict=True)]
    middle = statistics.median(ratios)
    least = promise.at_least if promise.at_least is not None else 0.0
    came = f"{middle:.3f} times the speed of the base ({min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} rounds)"
    name = name or promise.name
    if middle >= least:
        return Verdict(name, "kept", promised, came, more=more)
    p = float(wilcoxon([math.log(ratio / least) for ratio in ratios], alternative="less").pvalue)
    if p < LEVEL:
        return Verdict(name, "broken", promised, came, f"beyond noise: signed-rank test, p = {p:.2g}", more)
    chance = f"undecided: signed-rank test, p = {p:.2g}; it needs more rounds"
    return Verdict(name, "undecided", promised, came, chance, more, _passes(promise))


def same_scores(
    name: str, before: Run, version: int, scores: Mapping[str, Score], kept: Mapping[str, Score],
    metrics: Mapping[str, Estimate], more: str,
) -> Verdict:  # fmt: skip
    """The verdict on what a task makes of frozen answers now, versus when they were frozen."""
    promised = f"scores of version {before.spec.version} as they were"
    if version != before.spec.version:
        return Verdict(name, "undecided", promised, f"version {version}", "not frozen yet: `gate --freeze`", more)
    why = "scores changed: raise the task's version"
    for sample in sorted(kept.keys() | scores.keys()):
        old, new = (side[sample].values if sample in side else {} for side in (kept, scores))
        for score in sorted(old.keys() | new.keys()):
            if not _alike(old.get(score), new.get(score)):
                came = f"{score} of {sample} {new.get(score)}, which was {old.get(score)}"
                return Verdict(name, "broken", promised, came, why, more)
    for metric in sorted(before.metrics.keys() | metrics.keys()):
        values = [side[metric].value if metric in side else None for side in (before.metrics, metrics)]
        if (metric in before.metrics) != (metric in metrics) or not _alike(*values):
            return Verdict(name, "broken", promised, f"{metric} {values[1]}, which was {values[0]}", why, more)
    return Verdict(name, "kept", promised, f"{len(scores)} samples and {len(metrics)} metrics equal")


def same_prompts(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> list[Verdict]:
    """Verdicts on golden prompts: by kind and form, the texts of questions that stay the same."""
    found = []
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            found.append(Verdict(f"prompt {name}", "broken", "a prompt", "none: the form is gone"))
        elif name not in before:
            found.append(Verdict(f"prompt {name}", "broken", "no such form", f"{now[name]}", "", "gate --freeze"))
        elif list(before[name]) != list(now[name]):
            found.append(
                Verdict(f"prompt {name}", "broken", f"{list(before[name])}", f"{list(now[name])}", "", "gate --freeze")
            )
    return found or [Verdict("prompts", "kept", f"{len(before)} prompts as they were", "the same")]


def _alike(old: float | None, new: float | None) -> bool:
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
