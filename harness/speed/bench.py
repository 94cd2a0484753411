"""Measures a scenario by rule, and judges whether the measurement is valid.

A measurement is VALID where no rule is broken.  An INVALID one keeps its numbers and lists the reasons: the device was
shared or throttled; the warm-up did not become steady; latencies drifted; both sides of a comparison wrote different
numbers of tokens; there were too few queries for a percentile; timed answers differ from those of the accuracy run.
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
DRIFT = 0.05  # largest change from the first third to the last, where latencies correlate with time
DIFFER = 0.01  # largest share of answers that differ: another batch sums floats in another order, which may tip a tie
ALONE = 8  # queries that are answered one at a time before a target is accepted
BEYOND = 2.0  # times the offline throughput: the highest rate that is tried
TOO_FEW_ROUNDS = 6  # with fewer rounds a median has no distribution-free interval


@dataclass(slots=True)
class Measurement:
    """The result of `measure`: everything that a record keeps of it.

    `latency` (seconds) and `throughput` are by name.  `answers` are the token ids of the accuracy run, one list per
    query.  `differing` are the timed answers that differ from them, each with its query.  `held` are the rates that
    were tried.
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
        """Whether no rule is broken."""
        return not self.reasons

    def record(self) -> dict[str, Any]:
        """Returns the measurement for JSON."""
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
            "rates tried": [asdict(held) for held in self.held],
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
    repeatable: bool = True,
    alone: bool = True,
) -> Measurement:
    """Runs a scenario, and compares its answers with those of an untimed accuracy run.

    The server scenario runs at `rate` queries per second.  Without a rate, it runs at the highest rate that holds the
    latency `target` (seconds).  `tick` receives the number of answers so far.  `repeatable` says whether a CPU
    computes the same sums in every run, and `alone` whether this process does all the work.  Raises UsageError for a
    rate above `BEYOND` times the offline throughput, and for a target below the fastest answer alone.
    """
    expected = scenarios.accuracy(system, queries, scenario)
    meter = Meter(device, alone=alone)
    held: list[Held] = []
    reasons: list[str] = []
    if scenario == "server":
        steady = scenarios.warm_up(lambda: scenarios.ask(system, [0]), level.group)
        possible = _offline_throughput(system, queries, level, target, rate)

        def at(rate: float) -> Measured:
            meter.start()
            measured = scenarios.server(system, queries, level, rate, tick=tick)
            measured.meter, measured.steady = meter.stop(), steady
            return measured

        measured, held, reasons = _run_server(at, possible, target, rate)
    else:
        run = scenarios.single_stream if scenario == "single_stream" else scenarios.offline
        measured = run(system, queries, level, tick, meter.start)
        measured.meter = meter.stop()
    differing = [
        (query, tokens)
        for query, tokens in zip(measured.queries, measured.answers, strict=True)
        if list(tokens) != list(expected[query])
    ]
    reasons += measured.meter["reasons"]
    # On a CPU the batches are the same in both runs, and so is the order of every sum, except for a server.
    same = repeatable and device.type == "cpu" and scenario != "server"
    allowed = 0 if same else DIFFER * len(measured.queries)
    if len(differing) > allowed:
        reasons.append(f"{len(differing)} of {len(measured.queries)} answers differ from those of the accuracy run")
    if scenario == "single_stream":
        reasons += drift(measured.latencies)
    if scenario == "offline":
        reasons += drift(measured.passes, "passes over the set", least=9)
    if not measured.steady:
        reasons.append(f"never steady: the last two of {MOST_GROUPS} warm-up groups differ by more than {STEADY:.0%}")
    latencies = {} if scenario == "offline" else percentiles(measured.latencies)
    if scenario != "offline" and "p90" not in latencies:
        reasons.append(f"too few queries: {len(measured.queries)} give no p90")
    return Measurement(
        scenario,
        level.name,
        len(measured.queries),
        measured.seconds,
        latencies,
        throughput(measured, target if scenario == "server" else None),
        measured.meter,
        reasons,
        held,
        differing,
        expected,
    )


def _offline_throughput(system: System, queries: int, level: Level, target: float | None, rate: float | None) -> float:
    """Returns the queries per second of one pass; UsageError for a rate or a target that no run can hold."""

    def seconds(submitted: Sequence[int]) -> float:
        start = time.perf_counter()
        scenarios.ask(system, submitted)
        return time.perf_counter() - start

    possible = queries / seconds(range(queries))
    if rate is not None and rate > BEYOND * possible:
        raise UsageError(
            f"--rate {rate:g} cannot be held: all at once, about {possible:.3g} queries per second are answered; "
            "--target SECONDS alone searches for the highest rate"
        )
    if target is None:
        return possible
    alone = min(seconds([query]) for query in range(min(queries, ALONE)))
    if target < alone:
        raise UsageError(
            f"--target {target:g} cannot be held at any rate: the fastest answer alone takes {alone:.3g} s"
        )
    if rate is not None and scenarios.target_percent(level.queries(rate)) < 99:
        log.warning(
            "the result will be INVALID: %d queries at %g per second are too few for p99; a longer --level or a higher "
            "--rate has more",
            level.queries(rate), rate,
        )  # fmt: skip
    return possible


def _run_server(
    at: Callable[[float], Measured], possible: float, target: float | None, rate: float | None
) -> tuple[Measured, list[Held], list[str]]:
    """Returns the run at the given rate, or else at the highest that holds; all rates that were tried; and reasons."""
    if rate is not None:
        measured = at(rate)
        if target is None:
            return measured, [], []
        held = scenarios.holds(measured, target, rate)
        broken = f"the rate of {rate:g} per second does not hold {target:g} s: {_described(held)}"
        return measured, [held], [*([] if held.holds else [broken]), *_few_queries(held)]
    if target is None:
        raise ValueError("a server run needs a rate, a target, or both")
    tried = scenarios.highest_rate(at, possible / 2, target)
    all_held = [held for held, _ in tried]
    holding = [pair for pair in tried if pair[0].holds]
    if not holding:
        lowest, measured = min(tried, key=lambda pair: pair[0].rate)
        return measured, all_held, [f"no rate holds {target:g} s; at the lowest rate tried, {_described(lowest)}"]
    highest, measured = max(holding, key=lambda pair: pair[0].rate)
    reasons = []
    if len(holding) == len(tried):
        reasons.append(f"the highest rate was not reached: every rate holds, the last with {_described(highest)}")
    return measured, all_held, [*reasons, *_few_queries(highest)]


def _few_queries(held: Held) -> list[str]:
    return [] if held.percent >= 99 else [f"too few queries for p99: the target was compared with p{held.percent:g}"]


def _described(held: Held) -> str:
    return f"{held.rate:.3g} per second, p{held.percent:g} is {held.latency:.3g} s"


def throughput(measured: Measured, target: float | None = None) -> dict[str, float]:
    """Returns images and tokens per second, and tokens per answer.

    With a `target` (seconds) also the goodput: answers per second whose latency is at most the target.
    """
    figures = {
        "images/s": len(measured.queries) / measured.seconds,
        "tokens/s": measured.tokens / measured.seconds,
        "tokens an answer": measured.tokens / max(1, len(measured.queries)),
    }
    if target is not None:
        figures["goodput/s"] = sum(latency <= target for latency in measured.latencies) / measured.seconds
    return figures


def drift(latencies: Sequence[float], name: str = "latencies", least: int = 30) -> list[str]:
    """Returns a reason where at least `least` values, in order of time, rise or fall.

    Both must hold: the rank correlation with time has p below 0.001, and the medians of the first and the last third
    differ by more than `DRIFT`.
    """
    if len(latencies) < least:
        return []
    third = len(latencies) // 3
    first, last = statistics.median(latencies[:third]), statistics.median(latencies[-third:])
    change = last / first - 1
    if abs(change) <= DRIFT or float(spearmanr(np.arange(len(latencies)), latencies).pvalue) >= 0.001:
        return []
    return [f"drift: the last third of {name} takes {change:+.0%} versus the first"]


@dataclass(frozen=True, slots=True)
class Beside:
    """Ours versus a peer in alternating rounds: the median of the rounds' time ratios, and its 95 % interval.

    A ratio is the peer's time over ours; `least` and `most` are the extreme ratios.  `ours` and `theirs` are median
    seconds of a round of `queries` queries.  `different` is the number of different queries in all rounds, and `equal`
    the share of answers that are equal token for token.
    """

    name: str
    ratio: Estimate
    least: float
    most: float
    ours: float
    theirs: float
    rounds: int
    queries: int
    different: int
    equal: float
    reasons: Sequence[str] = ()


def versus(
    ours: System, theirs: System, name: str, batches: Sequence[Sequence[int]], rounds: int, device: torch.device
) -> Beside:
    """Runs both systems on the same queries in alternating rounds, and returns the comparison.

    A round is one batch of queries; after the last batch the first follows again.  The comparison is INVALID where the
    two sides write different numbers of tokens.
    """

    def clock() -> float:
        synchronise(device)
        return time.perf_counter()

    answers: dict[str, list[list[Tokens]]] = {"ours": [], name: []}

    def answering(system: System, side: str) -> Callable[[], list[Tokens]]:
        following = itertools.cycle(batches)

        def answer_next() -> list[Tokens]:
            answers[side].append(scenarios.ask(system, next(following)))
            return answers[side][-1]

        return answer_next

    meter = Meter(device)
    meter.start()
    times, _ = rounds_of({"ours": answering(ours, "ours"), name: answering(theirs, name)}, rounds, clock)
    used = meter.stop()
    ratios = sorted(slow / fast for fast, slow in zip(times["ours"], times[name], strict=True))
    middle = percentile(ratios, 50.0) or Estimate(statistics.median(ratios), None, None, len(ratios))
    reasons = list(used["reasons"])
    own, other = ([tokens for batch in answers[side] for tokens in batch] for side in ("ours", name))
    lengths, other_lengths = list(map(len, own)), list(map(len, other))
    if lengths != other_lengths:
        reasons.append(f"unequal token counts: {sum(lengths)} (ours), {sum(other_lengths)} ({name})")
    if rounds < TOO_FEW_ROUNDS:
        reasons.append(f"too few rounds: {rounds} give no interval")
    equal = sum(list(tokens) == list(others) for tokens, others in zip(own, other, strict=True)) / len(own)
    queries = {query for batch in batches[: rounds + 1] for query in batch}
    return Beside(
        name, middle, ratios[0], ratios[-1], statistics.median(times["ours"]), statistics.median(times[name]),
        rounds, len(batches[0]), len(queries), equal, reasons,
    )  # fmt: skip


def versus_floors(stages: Staged, work: Mapping[str, Work], ceilings: Ceilings) -> list[dict[str, Any]]:
    """Returns one line per stage: its seconds and, where its work is counted, its floor and share of the ceiling."""
    lines: list[dict[str, Any]] = []
    for name, seconds in stages.seconds.items():
        line: dict[str, Any] = {"stage": name, "seconds": seconds}
        if name in work:
            floor = work[name].floor(ceilings)
            line |= {
                "floor s": floor,
                "bound": work[name].bound(ceilings),
                "of the ceiling": floor / seconds,
                "operations": work[name].operations,
                "bytes": work[name].bytes,
            }
        lines.append(line)
    return lines
