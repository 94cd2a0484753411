"""What the tests of speed share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.speed import bench, scenarios, systems
from tests.harness.speed.known import Clock


@pytest.fixture
def simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only where a system works or a scenario waits."""
    simulated = SimpleNamespace(perf_counter=lambda: Clock.now, sleep=Clock.sleep)
    for module in (bench, scenarios, systems):
        monkeypatch.setattr(module, "time", simulated)
