"""How these tests call the command line: as a process of its own, or `main` in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[3]
LITERAL = ("run", "--task", "refcoco_res", "--model", "florence2-l")


class Outcome(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line of stderr, which must be the one that says what was wrong."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


Call = Callable[..., Outcome]


def process(*arguments: str | Path, **environment: str) -> Outcome:
    """`python -m harness ...` in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def evaluated(here: Call, task: str, *more: str | Path, model: str = "oracle") -> dict[str, Any]:
    """The record of a run on the embedded benchmark."""
    outcome = here("run", "--task", task, "--model", model, "--data", "miniature", "--json", *more)
    assert outcome.status == 0, outcome.err
    record: dict[str, Any] = json.loads(outcome.out)
    return record
