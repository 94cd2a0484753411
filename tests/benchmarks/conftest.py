"""What the tests of benchmarks share."""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from unittest import mock

import pytest


@pytest.fixture(scope="session")
def parts() -> ModuleType:
    return imported("benchmarks.parts")


@pytest.fixture(scope="session")
def peers() -> ModuleType:
    return imported("benchmarks.peers")


@pytest.fixture(scope="session")
def scaling() -> ModuleType:
    return imported("benchmarks.scaling")


def imported(name: str) -> ModuleType:
    """The module, without the variables that `harness.__main__` sets for torch when it is imported."""
    with mock.patch.dict(os.environ):
        return importlib.import_module(name)
