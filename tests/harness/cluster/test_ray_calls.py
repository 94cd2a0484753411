"""Independent calls on workers: their results, their errors, and what happens when a worker dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path

import pytest

from harness.cluster import ray_calls
from harness.cluster.ray_calls import RayCalls
from harness.cluster.ray_cluster import Spread, connected
from harness.cluster.worker import versions
from harness.errors import DataError, ModelError, ResourceError

ray = pytest.importorskip("ray")
TWO = Spread(workers=2)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with connected(TWO):
        yield
    assert not ray.is_initialized()


def called(folder: Path, name: str, deaths: int) -> tuple[str, int]:
    """Kills its process the first `deaths` times; then the name and how often it was called."""
    calls = folder / name
    with calls.open("a") as stream:
        stream.write(".")
    if calls.stat().st_size <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return name, calls.stat().st_size


def raises(message: str) -> None:
    raise DataError(message)


def test_results_come_from_calls_of_which_workers_died_as_well(tmp_path: Path) -> None:
    with RayCalls(TWO) as calls:
        assert calls.workers == 2
        futures = [calls.submit(called, tmp_path, str(number), number % 3) for number in range(4)]
        found = dict(future.result() for future in as_completed(futures, 120))
    assert found == {str(number): number % 3 + 1 for number in range(4)}
    assert ray.is_initialized()  # the cluster was there before


def test_call_of_which_three_workers_die_is_a_line(tmp_path: Path) -> None:
    with RayCalls(TWO) as calls, pytest.raises(ResourceError, match="3 workers died of one call, the last: "):
        calls.submit(called, tmp_path, "deadly", 9).result(120)
    assert (tmp_path / "deadly").stat().st_size == 3


def test_error_of_a_function_is_raised_as_it_is(tmp_path: Path) -> None:
    with RayCalls(TWO) as calls, pytest.raises(DataError, match="no such file"):
        calls.submit(raises, "no such file").result(60)


def test_calls_that_have_not_ended_are_cancelled(tmp_path: Path) -> None:
    began = time.monotonic()
    with RayCalls(TWO) as calls:
        for _ in range(3):
            calls.submit(time.sleep, 1_000)
    with RayCalls(TWO) as calls:
        assert calls.submit(called, tmp_path, "next", 0).result(60) == ("next", 1)
    assert time.monotonic() - began < 100


@pytest.mark.parametrize("package", ["harness", "torch", "transformers"])
def test_worker_with_another_version_is_refused_by_name(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's versions are made others, as if a worker had another package."""
    monkeypatch.setattr(ray_calls, "versions", lambda: {**versions(), package: "9.9"})
    with (
        RayCalls(TWO) as calls,
        pytest.raises(ModelError, match=f"a worker on .*: {package} is .*; the driver's is '9.9'"),
    ):
        calls.submit(time.sleep, 0).result(60)
