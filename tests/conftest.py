"""What every test stands on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tasks.miniature import ensure

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is imported, by whoever is first


@pytest.fixture(scope="session")
def miniature() -> Path:
    """The embedded benchmark's root, drawn once into the user's cache."""
    return ensure()


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test depends on the environment's data root, or reaches for the real hub."""
    monkeypatch.delenv("FLORENCE2_HARNESS_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    yield
