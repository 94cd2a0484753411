"""Peers that compute exported graphs: this harness's engine and searches over another runtime, at its best settings.

The tokens of a peer are compared in float32 before anything is timed.  Then the number of threads and each hint are
tried in turn on the first queries, and a value is kept where it is faster.  torch-compile is not searched, since each
trial takes minutes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from harness.core import Estimate
from harness.errors import UsageError
from harness.florence2.bart import Memory
from harness.florence2.decoding.generate import generate
from harness.florence2.decoding.search import Decoding
from harness.florence2.exported import runtimes
from harness.florence2.exported.checking import candidates, compare, first_equal
from harness.florence2.exported.folder import exported
from harness.florence2.exported.graphs import plain
from harness.florence2.exported.network import Exported
from harness.florence2.exported.runtimes import RUNTIMES, Settings
from harness.florence2.fast.choose import accelerated
from harness.speed.fidelity import digest, fidelity
from harness.speed.percentiles import percentile
from harness.speed.scenarios import ask
from harness.speed.systems import RANDOM, Ours, Queries, Subject, rounds_of

LENGTHS = (20, 100)  # new tokens of the part that writes
OPTION = "--against"


@dataclass(frozen=True, slots=True)
class RuntimePeer:
    """A peer at its best settings; `described` is for the record: settings, what was tried, tokens and errors."""

    network: Exported
    system: Ours
    described: Mapping[str, Any]


def check(name: str, subject: Subject) -> None:
    """UsageError or ResourceError where the runtime cannot be compared with the subject here."""
    if subject.device.type != "cpu":
        raise UsageError(f"{OPTION} {name} is for a CPU, and the model is on {subject.device}; add --device cpu")
    runtimes.find(name, _precision(subject), OPTION)


def build(name: str, subject: Subject, queries: Queries, slots: int) -> RuntimePeer:
    """The peer for the precision of the subject, with its weights in float32 exported where they were not before.

    Errors as `check`; ResourceError where its float32 tokens differ from the subject's.
    """
    check(name, subject)
    source = plain(subject.in_full())
    reference = accelerated(plain(source), torch.device("cpu"), torch.float32)
    key = digest(source) if subject.sha256 == RANDOM else subject.sha256
    folder = exported(source, key, subject.preprocess) if RUNTIMES[name].exports else Path()

    def load(settings: Settings) -> Exported:
        return Exported(source.config, runtimes.load(source, folder, settings), settings)

    first = Settings(name, "float32", torch.get_num_threads())
    network, compared = first_equal(reference, load, first, subject.preprocess, subject.decoding)
    equal = network.settings

    def seconds(settings: Settings) -> float:
        system = Ours(load(settings), subject.preprocess, subject.decoding, queries, slots)
        return _seconds(lambda: ask(system, range(min(slots, len(queries)))))

    best = replace(equal, precision=_precision(subject))
    tried: dict[str, float] = {}
    if RUNTIMES[name].exports:
        best, tried = search(best, seconds)
    if best.hints != equal.hints or best.threads != equal.threads:
        in_full = load(replace(best, precision="float32"))
        again = compare(reference, in_full, subject.preprocess, subject.decoding)
        if again.difference:  # the fastest settings are wrong here, and those that were compared first are right
            best = replace(best, hints=equal.hints, threads=equal.threads)
        else:
            compared = again
    if best != equal:
        network = load(best)
    described = {
        "version": RUNTIMES[name].version, "precision": best.precision, "threads": best.threads,
        "hints": {hint: best.hint(hint) for hint in RUNTIMES[name].hints}, "seconds of settings": tried,
        "equal float32 tokens": compared.tokens, "largest error of a log-probability": compared.error,
        "theirs versus float32": fidelity(reference, network, subject.preprocess, queries),
        "ours versus float32": fidelity(reference, subject.model, subject.preprocess, queries),
    }  # fmt: skip
    return RuntimePeer(network, Ours(network, subject.preprocess, subject.decoding, queries, slots), described)


def search(settings: Settings, seconds: Callable[[Settings], float]) -> tuple[Settings, dict[str, float]]:
    """The fastest settings of a search along one axis after another, and the seconds of all that were tried."""
    best, tried = settings, {_label(settings): seconds(settings)}

    def attempt(changed: Settings) -> None:
        nonlocal best
        if _label(changed) not in tried:
            tried[_label(changed)] = seconds(changed)
            if tried[_label(changed)] < tried[_label(best)]:
                best = changed

    if settings.threads > 1:
        attempt(replace(settings, threads=settings.threads // 2))
    for changed in list(candidates(settings))[1:]:
        [(hint, value)] = changed.hints.items() - settings.hints.items()
        attempt(replace(best, hints={**best.hints, hint: value}))
    return best, tried


def _label(settings: Settings) -> str:
    hints = [f"{name}={settings.hint(name)}" for name in RUNTIMES[settings.runtime].hints]
    return " ".join([f"threads={settings.threads}", *hints])


def _seconds(work: Callable[[], object]) -> float:
    """The shorter of two runs, after one that is not timed."""
    work()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def _precision(subject: Subject) -> str:
    return str(subject.dtype).removeprefix("torch.")


@torch.inference_mode()
def parts(peer: RuntimePeer, subject: Subject, queries: Queries, slots: int, rounds: int) -> list[dict[str, Any]]:
    """Ours versus the peer in alternating rounds, for vision, text encoder, and writing: a line for each part.

    A ratio is the peer's time over ours, with its interval.  A batch has `slots` queries, and prompts of equal length.
    """
    chosen = [query % len(queries) for query in range(slots)]
    length = min(len(queries.prompts[query]) for query in chosen)
    pixels = subject.preprocess.normalise(torch.stack([queries.pixels[query] for query in chosen]))
    prompts = torch.tensor([list(queries.prompts[query][:length]) for query in chosen])
    sides = {"ours": subject.model, "theirs": peer.network}
    inputs = {side: pixels.to(model.vision.dtype) for side, model in sides.items()}
    lines = []

    def timed(part: str, work: Callable[[str], object]) -> None:
        calls: Any = {side: (lambda side=side: work(side)) for side in sides}
        times, _ = rounds_of(calls, rounds, time.perf_counter)
        lines.append({"part": part, **ratio(times["ours"], times["theirs"])})

    timed("vision", lambda side: sides[side].encode_image(inputs[side]))
    image = subject.model.encode_image(inputs["ours"])
    timed("text encoder", lambda side: sides[side].encode(image.float(), prompts))
    memories = {side: _kept(model.encode(image.float(), prompts)) for side, model in sides.items()}
    for part, decoding in _writing(subject.decoding, subject.model.config.text.positions):
        timed(part, lambda side, decoding=decoding: generate(sides[side], memories[side], decoding))  # type: ignore[misc]
    return lines


def _kept(memory: Memory) -> Memory:
    return Memory(memory.keys.clone(), memory.values.clone(), memory.mask)


def _writing(decoding: Decoding, positions: int) -> Iterator[tuple[str, Decoding]]:
    """The searches that are timed: of 20 and 100 tokens, greedy and with the beams of `decoding`."""
    for count in LENGTHS:
        if count <= positions:
            for beams in sorted({1, decoding.beams}):
                name = f"write {count} tokens, {'greedy' if beams == 1 else f'{beams} beams'}"
                yield name, replace(decoding, beams=beams, max_new_tokens=count, min_new_tokens=count)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """The median of the rounds' ratios, theirs over ours, with its 95 % interval, extremes and both median times."""
    ratios = sorted(slow / fast for fast, slow in zip(ours, theirs, strict=True))
    middle = percentile(ratios, 50.0) or Estimate(statistics.median(ratios), None, None, len(ratios))
    return {
        "ratio": asdict(middle), "least": ratios[0], "most": ratios[-1], "ours": statistics.median(ours),
        "theirs": statistics.median(theirs),
    }  # fmt: skip
