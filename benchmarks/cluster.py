"""What a cluster costs: the driver's capacity and memory, images per second by workers, start-up, and 1,000 workers.

    python -m benchmarks.cluster [--only capacity|memory|weights|workers|simulated] [--answers 200000]

capacity    answers a second that the driver takes in and stores, from workers that answer at once: by the dispatcher
            alone, with the store, and through Ray with 1 and 2 workers
memory      peak memory of the driver for 10^5 and 10^6 questions that are not held elsewhere
weights     memory of 1, 2 and 3 workers with one checkpoint of florence2-b's size, in float32 and in float16 files
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
from harness.evaluation.building import entry_of
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.plan import source_of
from harness.evaluation.request import Request
from harness.evaluation.spreading import build
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


def weights() -> None:
    """Prints the memory of workers that have loaded random weights of florence2-b, in float32 on the CPU.

    USS is what a worker has alone; in the sum of PSS, a page that workers share counts once.
    """
    import torch

    from harness.florence2.config import BASE, with_text
    from harness.florence2.model import Florence2
    from harness.florence2.start import initialise
    from harness.florence2.weights import save
    from harness.training.vocabulary import learn

    with tempfile.TemporaryDirectory() as name:
        for stored in (None, torch.float32, torch.float16):
            folder = Path(name, str(stored))
            if stored is not None:
                model = Florence2(with_text(BASE, vocab=51328, positions=1024)).requires_grad_(False)
                initialise(model, 50269, torch.Generator().manual_seed(0))
                save(model, folder, dtype=stored)
                del model
                learn(["a random checkpoint says nothing"] * 3, 1500).backend.save(str(folder / "tokenizer.json"))
            for number in (1, 2, 3):
                request = Request(
                    task="-", model="florence2-b" if stored is not None else "florence2-nano", data="miniature",
                    weights=None if stored is None else str(folder), device="cpu", dtype="float32",
                )  # fmt: skip
                entry = entry_of(request.model)
                source = source_of(request.data, "weights", embedded=False)
                with build(request, Spread(workers=number), entry, source) as cluster:
                    cluster.wait_for_all()
                    used = [memory_of(process) for process in cluster.processes]
                file = sum(path.stat().st_size for path in folder.glob("*.safetensors")) / (1 << 20)
                about = f"{file:.0f} MiB of {stored}" if stored is not None else "florence2-nano"
                alone = ", ".join(f"{uss:.0f}" for _, uss in used)
                print(f"{about}, {number} workers: {sum(pss for pss, _ in used):.0f} MiB in all, USS {alone} MiB")


def memory_of(process: int) -> tuple[float, float]:
    """The PSS and the USS of a process in MiB."""
    lines = (line.split() for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:])
    found = {fields[0].rstrip(":"): int(fields[1]) / 1024 for fields in lines}
    return found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


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
    parser.add_argument("--only", choices=("capacity", "memory", "weights", "workers", "simulated"))
    parser.add_argument("--answers", type=int, default=200_000)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    parts = {
        "memory": memory,
        "simulated": simulated,
        "capacity": lambda: capacity(arguments.answers),
        "weights": weights,
        "workers": workers,
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"{name}:")
            part()


if __name__ == "__main__":
    main()
