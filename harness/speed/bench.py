"""A point measured by rule: what was asked, what came, whether it counts, and why not.

A record is VALID where nothing speaks against it.  INVALID has its reasons beside it, and the numbers all the same:
the device was shared or throttled; latencies drifted; answers of both sides were not equally long; there were too few
queries for the percentile that a target is held to; what was answered while the clock ran is not what is answered
without one.
"""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from harness.core import Estimate
from harness.errors import UsageError
from harness.speed import scenarios
from harness.speed.ceilings import Ceilings, Work, synchronise
from harness.speed.levels import MOST_GROUPS, STEADY, Level
from harness.speed.meters import Meter
from harness.speed.percentiles import percentile, percentiles
from harness.speed.scenarios import Held, Measured, System, Tokens
from harness.speed.stages import Staged
from harness.speed.systems import rounds_of

log = logging.getLogger(__name__)
SCENARIOS = ("single_stream", "offline", "server")
DRIFT = 0.05  # between the medians of the first and the last third, of latencies that rank with time
DIFFER = 0.01  # of answers: in other company floats are summed in another order, which may tip a near tie
ALONE = 8  # queries that are asked alone before a target is believed
BEYOND = 2.0  # times what is answered all at once: no rate that could be held
TOO_FEW_ROUNDS = 6  # rounds below which a median has no distribution-free interval


@dataclass(slots=True)
class Point:
    """What `measure` found: everything that a record says of it.

    `answers` are the tokens of the accuracy run, a list a query; `differing` are those that were timed and are others,
    with the query that they are to.
    """

    scenario: str
    level: str
    queries: int
    seconds: float
    latency: Mapping[str, Estimate]
    throughput: Mapping[str, float]
    meter: Mapping[str, Any]
    reasons: list[str] = field(default_factory=list)
    held: Sequence[Held] = ()
    differing: Sequence[tuple[int, Tokens]] = ()
    answers: Sequence[Tokens] = ()

    @property
    def valid(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "scenario": self.scenario,
            "level": self.level,
            "valid": self.valid,
            "reasons": self.reasons,
            "queries": self.queries,
            "seconds": self.seconds,
            "answers that differ": len(self.differing),
            "differing": [{"query": query, "tokens": list(tokens)} for query, tokens in self.differing],
            "answers": [list(tokens) for tokens in self.answers],
            "latency s": {name: asdict(estimate) for name, estimate in self.latency.items()},
            "throughput": dict(self.throughput),
            "rates tried": [asdict(one) for one in self.held],
            "meter": {key: value for key, value in self.meter.items() if key != "reasons"},
        }


def measure(
    system: System,
    queries: int,
    scenario: str,
    level: Level,
    device: torch.device,
    *,
    target: float | None = None,
    rate: float | None = None,
    tick: Callable[[int], object] = int,
) -> Point:
    """A scenario over a system, after an accuracy run that its answers are held against.

    For "server": at `rate` a second, or else the highest that holds `target` seconds is searched for.  UsageError for a
    rate of more than twice what is answered all at once, and for a target that one answer alone takes longer than.
    """
    expected = scenarios.accuracy(system, queries, scenario)
    meter = Meter(device)
    held: list[Held] = []
    reasons: list[str] = []
    if scenario == "server":
        steady = scenarios.warm_up(lambda: scenarios.ask(system, [0]), level.group)
        possible = _possible(system, queries, level, target, rate)

        def at(rate: float) -> Measured:
            meter.start()
            measured = scenarios.server(system, queries, level, rate, tick=tick)
            measured.used, measured.steady = meter.stop(), steady
            return measured

        measured, held, reasons = _served(at, possible, target, rate)
    else:
        run = scenarios.single_stream if scenario == "single_stream" else scenarios.offline
        measured = run(system, queries, level, tick, meter.start)
        measured.used = meter.stop()
    differing = [
        (query, tokens)
        for query, tokens in zip(measured.queries, measured.written, strict=True)
        if list(tokens) != list(expected[query])
    ]
    reasons += measured.used["reasons"]
    # On a CPU, but for a server, who is beside whom is the same both times, and so is every sum.
    allowed = 0 if device.type == "cpu" and scenario != "server" else DIFFER * len(measured.queries)
    if len(differing) > allowed:
        reasons.append(f"{len(differing)} of {len(measured.queries)} answers differ from those of the accuracy run")
    if scenario == "single_stream":
        reasons += drift(measured.latencies)
    if scenario == "offline":
        reasons += drift(measured.passes, "times through the set", least=9)
    if not measured.steady:
        reasons.append(
            f"never steady: after {MOST_GROUPS} groups the last two still differed by more than {STEADY:.0%}"
        )
    latencies = {} if scenario == "offline" else percentiles(measured.latencies)
    if scenario != "offline" and "p90" not in latencies:
        reasons.append(f"too few: {len(measured.queries)} queries have no p90")
    return Point(
        scenario,
        level.name,
        len(measured.queries),
        measured.seconds,
        latencies,
        throughput(measured),
        measured.used,
        reasons,
        held,
        differing,
        expected,
    )


def _possible(system: System, queries: int, level: Level, target: float | None, rate: float | None) -> float:
    """How many a second are answered all at once; UsageError for what cannot be held whatever is tried."""

    def seconds(asked: Sequence[int]) -> float:
        start = time.perf_counter()
        scenarios.ask(system, asked)
        return time.perf_counter() - start

    possible = queries / seconds(range(queries))
    if rate is not None and rate > BEYOND * possible:
        raise UsageError(
            f"--rate {rate:g} cannot be held: all at once, about {possible:.3g} a second are answered here; with "
            "--target SECONDS alone the highest that holds is looked for"
        )
    if target is None:
        return possible
    alone = min(seconds([query]) for query in range(min(queries, ALONE)))
    if target < alone:
        raise UsageError(
            f"--target {target:g} cannot be held at any rate: the quickest answer alone takes {alone:.3g} s"
        )
    if rate is not None and scenarios.looked_at(level.queries(rate)) < 99:
        log.warning(
            "this will be INVALID: %d queries at %g a second are too few for p99; a longer --level, or a higher --rate",
            level.queries(rate), rate,
        )  # fmt: skip
    return possible


def _served(
    at: Callable[[float], Measured], possible: float, target: float | None, rate: float | None
) -> tuple[Measured, list[Held], list[str]]:
    """The run at the given rate, or at the highest that held; all that were tried; and what speaks against it."""
    if rate is not None:
        measured = at(rate)
        if target is None:
            return measured, [], []
        one = scenarios.holds(measured, target, rate)
        reasons = [] if one.holds else [f"{rate:g} a second cannot be held within {target:g} s: {_told(one)}"]
        return measured, [one], reasons + _few(one)
    if target is None:
        raise ValueError("a server run needs a rate, a target, or both")
    tried = scenarios.highest_rate(at, possible / 2, target)
    held = [one for one, _ in tried]
    good = [pair for pair in tried if pair[0].holds]
    if not good:
        least = min(tried, key=lambda pair: pair[0].rate)
        return least[1], held, [f"no rate was found that holds {target:g} s; at the least tried, {_told(least[0])}"]
    best = max(good, key=lambda pair: pair[0].rate)
    above = [] if len(good) < len(tried) else [f"the highest rate was not reached: of all tried, {_told(best[0])}"]
    return best[1], held, above + _few(best[0])


def _few(one: Held) -> list[str]:
    return [] if one.percent >= 99 else [f"the target was held to p{one.percent:g}: too few queries for p99"]


def _told(one: Held) -> str:
    return f"{one.rate:.3g} a second, p{one.percent:g} is {one.latency:.3g} s"


def throughput(measured: Measured) -> dict[str, float]:
    """Images and tokens a second."""
    return {
        "images/s": len(measured.queries) / measured.seconds,
        "tokens/s": measured.tokens / measured.seconds,
        "tokens an answer": measured.tokens / max(1, len(measured.queries)),
    }


def drift(latencies: Sequence[float], what: str = "latencies", least: int = 30) -> list[str]:
    """A reason where so many or more rise or fall with time: by rank (p below 0.001) and by more than `DRIFT`."""
    if len(latencies) < least:
        return []
    third = len(latencies) // 3
    first, last = statistics.median(latencies[:third]), statistics.median(latencies[-third:])
    change = last / first - 1
    if abs(change) <= DRIFT or float(spearmanr(np.arange(len(latencies)), latencies).pvalue) >= 0.001:
        return []
    return [f"a trend: the last third of {what} is {change:+.0%} beside the first"]


@dataclass(frozen=True, slots=True)
class Beside:
    """Ours and another by turns: the median of the rounds' ratios (theirs over ours) and its interval."""

    name: str
    ratio: Estimate
    least: float
    most: float
    ours: float
    theirs: float
    rounds: int
    queries: int  # in a round
    different: int  # in all rounds
    equal: float  # share of answers that are the same, token for token
    reasons: Sequence[str] = ()


def beside(
    ours: System, theirs: System, name: str, batches: Sequence[Sequence[int]], rounds: int, device: torch.device
) -> Beside:
    """The same queries, by turns, in one process: a round a batch, the first again after the last.  INVALID where
    either side wrote more tokens than the other."""

    def clock() -> float:
        synchronise(device)
        return time.perf_counter()

    wrote: dict[str, list[list[Tokens]]] = {"ours": [], name: []}

    def answering(system: System, side: str) -> Callable[[], list[Tokens]]:
        following = itertools.cycle(batches)

        def answered() -> list[Tokens]:
            wrote[side].append(scenarios.ask(system, next(following)))
            return wrote[side][-1]

        return answered

    meter = Meter(device)
    meter.start()
    times, _ = rounds_of({"ours": answering(ours, "ours"), name: answering(theirs, name)}, rounds, clock)
    used = meter.stop()
    ratios = sorted(slow / fast for fast, slow in zip(times["ours"], times[name], strict=True))
    middle = percentile(ratios, 50.0) or Estimate(statistics.median(ratios), None, None, len(ratios))
    reasons = list(used["reasons"])
    mine, other = ([tokens for batch in wrote[side] for tokens in batch] for side in ("ours", name))
    lengths = list(map(len, mine)), list(map(len, other))
    if lengths[0] != lengths[1]:
        reasons.append(f"unequal token counts: {sum(lengths[0])} ours, {sum(lengths[1])} theirs")
    if rounds < TOO_FEW_ROUNDS:
        reasons.append(f"too few: {rounds} rounds have no interval")
    same = sum(_same(one, two) for one, two in zip(mine, other, strict=True)) / len(mine)
    asked = {query for batch in batches[: rounds + 1] for query in batch}
    return Beside(
        name, middle, ratios[0], ratios[-1], statistics.median(times["ours"]), statistics.median(times[name]),
        rounds, len(batches[0]), len(asked), same, reasons,
    )  # fmt: skip


def _same(one: Tokens, other: Tokens) -> bool:
    return list(one) == list(other)


def beside_floors(found: Staged, work: Mapping[str, Work], ceilings: Ceilings) -> list[dict[str, Any]]:
    """A line a stage: seconds, the floor, which ceiling it is under, and how near it is."""
    lines: list[dict[str, Any]] = []
    for name, seconds in found.seconds.items():
        line: dict[str, Any] = {"stage": name, "seconds": seconds}
        if name in work:
            needed = work[name]
            floor = needed.floor(ceilings)
            line |= {
                "floor s": floor,
                "bound": needed.bound(ceilings),
                "of the ceiling": floor / seconds,
                "operations": needed.operations,
                "bytes": needed.bytes,
            }
        lines.append(line)
    return lines
