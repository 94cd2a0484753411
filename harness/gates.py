"""What must hold, and whether it does: promises, and the verdict on each.

A promise is a table of a TOML file (`read`):

    [promise.refcoco-floor]                  # a hard bound on a metric of a run made for it
    task = "refcoco"                         # a name, several, a glob, or "all": then one promise for each
    model = "florence2-nano-ft"
    limit = 24                               # images, drawn with `seed`
    at_least = 60.0                          # or at_most; of `metric`, the headline where it is not named

    [promise.no-worse]                       # the same questions, paired by sample with a run that is kept
    task = "all"
    model = "florence2-nano-ft"
    not_worse_than = "../results"            # a run, or the folder of results it is in, from this file's folder
    margin = 2.0                             # what may be lost

    [promise.decoding]                       # speed, and equality of answers, beside a peer in the same process
    task = "refcoco"
    model = "florence2-nano-ft"
    metric = "speed"                         # times as quick; "parity": percent of answers, token for token
    peer = "transformers"
    at_least = 1.2

    [promise.no-slower]                      # speed of micro-benchmarks, beside another checkout of this project
    base = "origin/main"                     # a git revision, or a folder; both are run by turns
    benchmarks = "benchmarks/test_micro.py"  # what pytest is given, with pytest-benchmark
    at_least = 0.85                          # times as quick, each of them

    [promise.recorded]                       # speed, from seconds that were recorded by turns, a pair a round
    timings = "timings.json"                 # {"base": [...], "head": [...]}
    at_least = 0.95

A bound that is broken is broken, whether or not chance could have done it; which of the two is said.  "Not worse" is
broken only where more than the margin is lost and the difference's 95 % interval leaves out none; it is kept where the
interval leaves out a loss of more than the margin; else it cannot be told, and it is said how many images it needs.
Speed is broken where the median ratio is below what was promised and a rank test of the rounds agrees.  What cannot be
told counts as broken, unless the promise has `undecided = "passes"`.
"""

from __future__ import annotations

import difflib
import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from harness.comparison import Compared
from harness.core import Estimate, Run, Score
from harness.errors import UsageError
from harness.statistics import ROUNDING

SPEED, PARITY, MEMORY = "speed", "parity", "peak memory MiB"
LOWER = ("unreadable", "truncated", MEMORY)  # of which less is better
LEVEL = 0.05
State = Literal["kept", "broken", "undecided"]
MARKING = 1e-6  # by which a mark may differ between machines


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One table of the file; None and '' where it says nothing."""

    name: str
    task: str = ""
    model: str = ""
    weights: str | None = None
    data: str | None = None
    split: str | None = None
    limit: int | None = None
    seed: int = 0
    metric: str = ""
    at_least: float | None = None
    at_most: float | None = None
    not_worse_than: str = ""
    margin: float = 0.0
    peer: str = ""
    images: int = 16
    timings: str = ""
    base: str = ""
    benchmarks: str = ""
    undecided: Literal["broken", "passes"] = "broken"


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


@dataclass(frozen=True, slots=True)
class Gates:
    """A file of promises, and the folder of answers whose marking is frozen (None: none is)."""

    promises: Sequence[Promise]
    frozen: Path | None


def read(path: Path) -> Gates:
    """UsageError, with the place, for what is no file of promises."""
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; harness/gates.py says what such a file holds"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    tables = found.pop("promise", {})
    frozen = found.pop("frozen", None)
    if found or not isinstance(tables, dict) or not isinstance(frozen, str | None):
        raise UsageError(f"{path}: it holds tables [promise.NAME] and `frozen`, a folder; it has {', '.join(found)}")
    promises = [_promise(path, name, table) for name, table in tables.items()]
    if not promises and frozen is None:
        raise UsageError(f"{path} promises nothing")
    return Gates(promises, None if frozen is None else path.parent / frozen)


def _promise(path: Path, name: str, table: object) -> Promise:
    where = f"{path}, [promise.{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{where}: a table")
    kinds: dict[str, tuple[type, ...]] = {
        "limit": (int,), "seed": (int,), "images": (int,), "margin": (int, float), "at_least": (int, float),
        "at_most": (int, float),
    }  # fmt: skip
    known = [field.name for field in fields(Promise) if field.name != "name"]
    for key, value in table.items():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
            raise UsageError(f"{where}: there is no {key!r}{hint}")
        kind = kinds.get(key, (str,))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UsageError(f"{where}: {key} = {value!r} is no {' or '.join(one.__name__ for one in kind)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{where}: {key} = {value} is not finite")
    one = Promise(name=name, **table)
    bounds = [one.at_least is not None or one.at_most is not None, bool(one.not_worse_than)]
    if sum(bounds) != 1:
        raise UsageError(f"{where}: either at_least and at_most, or not_worse_than")
    if one.margin < 0:
        raise UsageError(f"{where}: margin = {one.margin}: what may be lost, 0 or more")
    if one.undecided not in ("broken", "passes"):
        raise UsageError(f"{where}: undecided = {one.undecided!r}: 'broken' or 'passes'")
    if bool(one.base) != bool(one.benchmarks):
        raise UsageError(f"{where}: base and benchmarks go together: what is timed, and beside what")
    if one.base and one.at_least is None:
        raise UsageError(f"{where}: at_least: how many times as quick as the base")
    beside_base = table.keys() - {"base", "benchmarks", "at_least", "undecided", "metric"}
    if one.base and (beside_base or one.metric not in ("", SPEED)):
        raise UsageError(f"{where}: beside base and benchmarks there are at_least and undecided, and nothing else")
    if not one.timings and not one.base and not (one.task and one.model):
        raise UsageError(f"{where}: it needs a task and a model, or timings, or a base and benchmarks")
    if one.metric in (SPEED, PARITY) and not one.timings and not one.base and not one.peer:
        raise UsageError(f"{where}: {one.metric} is beside a peer: peer = 'transformers'")
    for key in ("limit", "images"):
        if (value := getattr(one, key)) is not None and value < 1:
            raise UsageError(f"{where}: {key} = {value}: at least one image")
    return one


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
