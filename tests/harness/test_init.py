"""The names of `import harness`, which are imported on first use."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import harness


@pytest.mark.parametrize("name", sorted(set(harness.__all__) - {"__version__", "engine"}))
def test_public_name_is_the_object_of_its_module(name: str) -> None:
    value = getattr(harness, name)
    assert value is getattr(import_module(value.__module__), name)
    assert name in dir(harness)


def test_engine_is_a_module_of_functions() -> None:
    assert harness.engine is import_module("harness.evaluation.engine")
    assert "engine" in dir(harness)


def test_unknown_name_is_an_attribute_error_that_lists_the_names() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'evalute'; it has .*evaluate"):
        harness.evalute  # noqa: B018


def test_import_loads_no_large_package() -> None:
    code = "import sys, harness; print({'torch', 'numpy', 'pandas', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
