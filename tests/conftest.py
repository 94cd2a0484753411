"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

from tasks.miniature import ensure

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported

# How long an example takes depends on the machine and its load.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


PEERS = (  # tests that load ONNX Runtime or OpenVINO
    "tests/harness/florence2/exported/",
    "tests/harness/speed/test_runtimes.py",
    "tests/benchmarks/test_peers.py",
    "tests/baselines/test_florence2.py::test_nano_in_a_backend",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that `make test` runs in processes of their own."""
    for item in items:
        if item.nodeid.startswith(PEERS):
            item.add_marker(pytest.mark.peers)


@pytest.fixture(scope="session")
def miniature() -> Path:
    """The data root of the embedded benchmark, which is rendered into the user's cache once."""
    return ensure()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Removes the user's data root from the environment, and switches off telemetry of the hub."""
    monkeypatch.delenv("FLORENCE2_HARNESS_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield


@pytest.fixture
def no_meteor() -> Iterator[None]:
    """Closes this process's shared METEOR program before and after the test."""
    from harness.metrics import meteor

    meteor.release()
    yield
    meteor.release()


@pytest.fixture(scope="module", autouse=True)
def meteor_stays_within_a_module() -> Iterator[None]:
    """Closes the shared METEOR program after each test file, so that it takes no memory from the others."""
    yield
    if meteor := sys.modules.get("harness.metrics.meteor"):
        meteor.release()


@pytest.fixture(autouse=True)
def settings_of_torch_are_restored() -> Iterator[None]:
    """Fails a test that leaves gradients disabled, or another default type, to the tests after it."""
    yield
    assert torch.is_grad_enabled() and torch.get_default_dtype() == torch.float32
