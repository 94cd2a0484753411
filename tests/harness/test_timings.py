"""Throughput, latency and peak memory: by arithmetic, and in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from harness import timings
from harness.core import Answer
from harness.timings import Clock, latency

ROOT = Path(__file__).parents[2]


def output_of(code: str) -> str:
    """What a new Python process prints; its memory is its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return process.stdout


def test_clock_measures_rates_from_its_start_to_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    # Starts at 10 s, answers at 12 s and 13 s, and is queried at 14 s: 2 answers and 6 tokens in 4 s.
    moments: Iterator[float] = iter((10.0, 12.0, 13.0, 14.0))
    monkeypatch.setattr(timings.time, "perf_counter", lambda: next(moments))
    clock = Clock(timings.time.perf_counter())
    clock.answered(Answer(("a",), None, tokens=5))
    clock.answered(Answer(("b",), None, tokens=1))
    measured = clock.timings(images=1)
    assert measured.pop("peak memory MiB") > 0
    assert measured == {
        "seconds": 4.0, "first answer s": 2.0, "answers/s": 0.5, "images/s": 0.25, "tokens/s": 1.5,
    }  # fmt: skip


def test_clock_without_answers_has_no_rates() -> None:
    assert set(Clock().timings(images=3)) == {"seconds", "peak memory MiB"}


def test_latency_counts_each_batch_once() -> None:
    # Three batches: one of 4 answers in 4 s, two of 1 answer in 1 s.  The median is 1 s by batch, but 4 s by answer.
    answers = [Answer((), None, seconds=4.0, batch=4)] * 4 + [Answer((), None, seconds=1.0)] * 2
    assert latency(answers)["p50 s"] == 1.0
    assert latency(answers)["p99 s"] == 4.0


def test_latency_names_what_was_measured() -> None:
    single, batched = Answer((), None, seconds=2.0), Answer((), None, seconds=2.0, batch=4)
    assert latency([single])["latency of"] == "an answer, at batch size 1"
    assert latency([single, batched])["latency of"] == "a batch of at most 4 answers"


def test_latency_of_model_without_times_is_empty() -> None:
    assert latency([Answer((), None)]) == {}


def test_peak_memory_does_not_count_the_starting_process() -> None:
    """A process of more than 600 MiB starts one of about 100 MiB; `getrusage` would report 600 MiB or more."""
    code = "from harness.timings import peak_memory; held = b'x' * (50 << 20); print(peak_memory())"
    starting = f"import subprocess, sys; held = b'x' * (600 << 20); subprocess.run([sys.executable, '-c', {code!r}])"
    assert 50 < float(output_of(starting)) < 400


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be reset here")
def test_peak_memory_after_forgetting_is_measured_from_current_memory() -> None:
    """256 MiB are allocated and freed before, and again after, the peak is forgotten.

    Each allocation is an `mmap` of its own, so freed memory is not reused.  5 % allow for what Python allocates itself,
    huge pages of 2 MiB, and the kernel's page counts, which are exact only to some pages per processor.
    """
    code = """
from harness.timings import forget_peak_memory, peak_memory
start = peak_memory()
bytearray(b"x") * (256 << 20)
print(peak_memory() - start)
forget_peak_memory()
lower = peak_memory()
print(lower - start)
held = bytearray(b"x") * (256 << 20)
print(peak_memory() - lower)
"""
    freed, forgotten, held = map(float, output_of(code).split())
    assert freed == pytest.approx(256, rel=0.05)
    assert forgotten == pytest.approx(0, abs=0.05 * 256)
    assert held == pytest.approx(256, rel=0.05)


def test_peak_of_a_gpu_is_that_of_the_fullest_and_restarts_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs, of which the second held 3 MiB; each is reset once."""
    reset: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: (1 + 2 * device) << 20)
    assert Clock().timings(images=1)["peak GPU memory MiB"] == 3
    assert reset == [0, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_peak_of_a_gpu_counts_what_was_freed_and_what_was_there_before() -> None:
    held = torch.empty(8 << 20, dtype=torch.uint8, device="cuda")
    before = torch.cuda.memory_allocated() / (1 << 20)
    clock = Clock()
    torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    assert clock.timings(images=1)["peak GPU memory MiB"] == pytest.approx(before + 64, abs=4)
    assert held.numel() == 8 << 20


def test_process_without_torch_and_process_without_a_gpu_have_no_peak_of_a_gpu() -> None:
    code = (
        "from harness.timings import Clock; import sys; {}; print(*Clock().timings(images=1), 'torch' in sys.modules)"
    )
    assert output_of(code.format("pass")).split("\n")[0] == "seconds peak memory MiB False"
    assert output_of(code.format("import torch")).split("\n")[0] == "seconds peak memory MiB True"
