"""What a cluster costs: the driver's capacity and memory, images per second by workers, start-up, and 1,000 workers.

    python -m benchmarks.cluster [--only capacity|memory|workers|simulated] [--answers 200000]

capacity    answers a second that the driver takes in and stores, from workers that answer at once: by the dispatcher
            alone, with the store, and through Ray with 1 and 2 workers
memory      peak memory of the driver for 10^5 and 10^6 questions that are not held elsewhere
workers     images a second of florence2-nano with 1 and 2 workers, by turns, and of one process
simulated   efficiency of 1,000 workers in virtual time, by the length of a chunk and with a tenth of them lost

Times are meaningful on an idle machine only.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from harness.cluster.dispatcher import Asked, Dispatcher
from harness.cluster.ray_cluster import RayCluster, Spread
from harness.core import Answer, Failure, Question, Text, Ticket
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request
from harness.store import Kept, RunFolder
from harness.timings import forget_peak_memory, peak_memory

ANSWER = Answer(("a red circle on the left of a blue square",), Text(("a red circle on the left of a blue square",)))


class AtOnce:
    """A model that answers without looking."""

    fingerprint = "at once"
    provenance: ClassVar[dict[str, Any]] = {"batch size": 256}

    def answer(self, questions: Iterable[Asked]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, _ in questions:
            yield ticket, ANSWER


def at_once(shipped: Path | None) -> AtOnce:
    """The factory of `AtOnce`."""
    return AtOnce()


def questions(count: int) -> Iterator[Asked]:
    """Three questions an image."""
    return ((ticket, Question(f"{ticket // 3:012}.jpg", None, "vqa", text="What is it?")) for ticket in range(count))


def dispatched(count: int) -> Iterator[tuple[Ticket, Answer | Failure]]:
    """The answers of four workers in this process, dealt by the dispatcher in chunks of 256."""
    queue = Dispatcher(questions(count), size=256)
    now = 0.0
    for worker in itertools.cycle("abcd"):
        if (chunk := queue.take(worker, 4, now)) is None:
            return
        now += 1.0
        yield from queue.finished(worker, [(ticket, ANSWER) for ticket, _ in chunk.questions], now)


def stored(answers: Iterable[tuple[Ticket, Answer | Failure]], folder: Path) -> int:
    """Stores answers as a run does; returns their number."""
    run = RunFolder(folder)
    folder.mkdir(parents=True)
    count = 0
    with run.appending() as appender:
        for ticket, answer in answers:
            assert isinstance(answer, Answer)
            appender.write(Kept(str(ticket), "0123456789ab:0123456789ab", answer))
            count += 1
    return count


def capacity(count: int) -> None:
    """Prints answers a second, without and with the store, and through Ray."""
    start = time.perf_counter()
    assert sum(1 for _ in dispatched(count)) == count
    print(f"dispatcher alone: {count / (time.perf_counter() - start):,.0f} answers/s")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        assert stored(dispatched(count), Path(folder, "run")) == count
        print(f"with the store: {count / (time.perf_counter() - start):,.0f} answers/s")
        for workers in (1, 2):
            start = time.perf_counter()
            with RayCluster(at_once, Spread(workers=workers), Path()) as cluster:
                ready = time.perf_counter()
                assert stored(cluster.answer(questions(count)), Path(folder, f"ray {workers}")) == count
                rate = count / (time.perf_counter() - ready)
            print(f"through Ray, {workers} workers: {rate:,.0f} answers/s; ready after {ready - start:.1f} s")


def memory() -> None:
    """Prints the growth of peak memory while questions are dealt that nothing else holds."""
    for count in (100_000, 1_000_000):
        forget_peak_memory()
        before = peak_memory()
        assert sum(1 for _ in dispatched(count)) == count
        print(f"{count:,} questions: peak memory {peak_memory():.0f} MiB, {peak_memory() - before:+.1f} MiB")


def workers(rounds: int = 3) -> None:
    """Prints images a second of florence2-nano, by turns."""
    request = Request(task="coco_caption", model="florence2-nano", data="miniature")
    for round_, number in itertools.product(range(rounds), (0, 1, 2)):
        spread = Spread(workers=number) if number else None
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            [evaluated] = evaluate_each(replace(request, out=Path(folder), spread=spread))
            seconds = time.perf_counter() - start
        name = f"{number} workers" if number else "one process"
        rate = evaluated.run.timings["images/s"]
        print(f"round {round_ + 1}, {name}: {rate:.1f} images/s, {seconds:.1f} s in all")


def simulated() -> None:
    """Prints efficiencies in virtual time."""
    from tests.harness.cluster.test_dispatcher import thousand

    for goal, lost in itertools.product((0.5, 2.0, 5.0), (0.0, 0.1)):
        end, efficiency, counts = thousand(goal, lost)
        print(
            f"chunks of {goal} s, {lost:.0%} lost: {end:.0f} s, efficiency {efficiency:.1%}, {counts.chunks:,} chunks, "
            f"{counts.twice} answers twice"
        )


def main() -> None:
    """Runs the parts that the command names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("capacity", "memory", "workers", "simulated"))
    parser.add_argument("--answers", type=int, default=200_000)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    parts = {
        "memory": memory,
        "simulated": simulated,
        "capacity": lambda: capacity(arguments.answers),
        "workers": workers,
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"{name}:")
            part()


if __name__ == "__main__":
    main()
