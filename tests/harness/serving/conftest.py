"""A worker with florence2-nano, which all tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import baselines
from baselines import Setting
from harness.serving.worker import Worker


@pytest.fixture(scope="package")
def worker() -> Iterator[Worker]:
    loaded = baselines.find("florence2-nano").load(Setting(device="cpu", batch_size=4))
    worker = Worker(loaded)  # type: ignore[arg-type]
    yield worker
    worker.close()
