"""An interpreter with tools that cannot share this project's pinned environment; `make tools` makes it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run_with(package: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs an interpreter that has `package`, with the repository on its path; skips the test where there is none."""
    python = os.environ.get("TOOLS_PYTHON") or (sys.executable if find_spec(package) else "")
    if not python:
        pytest.skip(f"{package} is not in this environment (it pins other packages); `make tools` tests it in its own")
    return subprocess.run(
        [python, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
