"""Micro-benchmarks (pytest-benchmark) of two checkouts of a project, the base and the current one, in alternation.

A round runs every benchmark of both checkouts, each in a process and a folder of its own.  The order of the checkouts
alternates from round to round, so that drift of the machine affects both.  A round gives the median of each benchmark.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import DataError, UsageError

SHOWN = 600  # characters of the output of a failed command that an error shows
Medians = Callable[[Path, str], dict[str, float]]


@contextmanager
def checkout(base: str, here: Path, home: Path | None = None) -> Iterator[Path]:
    """Yields the folder of the base: a folder that exists, or a temporary git worktree.

    A base with a "/" in its name is a folder, relative to `home` (default: `here`), where that folder exists.  Any
    other base is a git revision of `here`.  Raises UsageError for a base that is neither.
    """
    folder = (home or here) / base
    if os.sep in base and folder.is_dir():
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="base-") as temporary:
        tree = Path(temporary) / "tree"
        _git(here, "worktree", "add", "--detach", str(tree), f"{base}^{{commit}}")
        try:
            yield tree
        finally:
            remove = ["git", "-C", str(here), "worktree", "remove", "--force", str(tree)]
            subprocess.run(remove, capture_output=True, check=False)  # an earlier failure is the one to report


def _git(here: Path, *arguments: str) -> None:
    try:
        subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
    except OSError as error:
        raise UsageError(f"base: git cannot be run ({error.strerror}); a checkout's folder needs no git") from error
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["git gives no reason"]
        raise UsageError(f"base: a checkout's folder or a git revision is needed: {reason[0]}") from error


def medians(side: Path, benchmarks: str) -> dict[str, float]:
    """Runs the benchmarks of a checkout, and returns the median seconds of each by its name.

    `benchmarks` are arguments for pytest: files, -k NAME.  Raises DataError where they fail, or where there are none.
    """
    arguments = shlex.split(benchmarks)
    for file in (argument.partition("::")[0] for argument in arguments):
        if file.endswith(".py") and not (side / file).is_file():
            raise DataError(f"the checkout {side} has no file {file} with benchmarks")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / "benchmarks.json"
        command = [sys.executable, "-m", "pytest", *arguments, "-q", "-o", "addopts=", "-p", "benchmark"]
        paths = os.pathsep.join(filter(None, [str(side), str(side / "src"), os.environ.get("PYTHONPATH", "")]))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [*command, "--benchmark-only", f"--benchmark-json={path}"],
            cwd=side, env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            output = (done.stdout + done.stderr).strip()[-SHOWN:]
            raise DataError(f"the benchmarks of {side} failed with exit status {done.returncode}:\n{output}")
        record = json.loads(path.read_bytes()) if path.is_file() else {"benchmarks": []}
    times = {entry["fullname"]: float(entry["stats"]["median"]) for entry in record["benchmarks"]}
    if not times:
        raise DataError(f"{side} has no benchmarks in {benchmarks}")
    return times


def interleaved(
    base: Path, here: Path, benchmarks: str, rounds: int, first: int = 0, measured: Medians = medians
) -> dict[str, dict[str, list[float]]]:
    """Runs the benchmarks of both checkouts in alternation, and returns the seconds of each: one value per round.

    `first` is the number of the first round; the base is first in even rounds.  A benchmark that only one checkout has
    is left out, since it has nothing to be compared with.
    """
    seconds: dict[str, dict[str, list[float]]] = {}
    for number in range(first, first + rounds):
        order = [("base", base), ("head", here)][:: 1 if number % 2 == 0 else -1]
        times = {name: measured(side, benchmarks) for name, side in order}
        for benchmark in times["base"].keys() & times["head"].keys():
            sides = seconds.setdefault(benchmark, {"base": [], "head": []})
            for name in sides:
                sides[name].append(times[name][benchmark])
    return dict(sorted(seconds.items()))
