"""Two checkouts of a project by turns: the same micro-benchmarks (pytest-benchmark's) of a base and of what is here.

Each round runs every benchmark of both, each side a process of its own in its own folder; who is first changes from
round to round, so that what drifts on a machine is shared.  What is taken of a round is each benchmark's median.
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

SHOWN = 600  # letters of what a command that failed has said
Medians = Callable[[Path, str], dict[str, float]]


@contextmanager
def checkout(base: str, here: Path, beside: Path | None = None) -> Iterator[Path]:
    """The base's folder, from `beside` on if it is there (with a / in its name), else a worktree of that git revision,
    which goes again.

    UsageError where it is neither.
    """
    folder_given = (beside or here) / base
    if os.sep in base and folder_given.is_dir():
        yield folder_given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="base-") as folder:
        tree = Path(folder) / "tree"
        _git(here, "worktree", "add", "--detach", str(tree), f"{base}^{{commit}}")
        try:
            yield tree
        finally:
            remove = ["git", "-C", str(here), "worktree", "remove", "--force", str(tree)]
            subprocess.run(remove, capture_output=True, check=False)  # what failed before this is what counts


def _git(here: Path, *arguments: str) -> None:
    try:
        subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
    except OSError as error:
        raise UsageError(f"base: git cannot be run ({error.strerror}); base can be a checkout's folder, too") from error
    except subprocess.CalledProcessError as error:
        why = error.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise UsageError(f"base: a checkout's folder or a git revision: {why[0]}") from error


def medians(side: Path, benchmarks: str) -> dict[str, float]:
    """Seconds of each micro-benchmark of a checkout, by its name; `benchmarks` are words for pytest: files, -k NAME.

    DataError where they fail, or there are none.
    """
    asked = shlex.split(benchmarks)
    for file in (what.partition("::")[0] for what in asked):
        if file.endswith(".py") and not (side / file).is_file():
            raise DataError(f"the checkout {side} has no {file}: there is nothing to time")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = Path(folder) / "found.json"
        command = [sys.executable, "-m", "pytest", *asked, "-q", "-o", "addopts=", "-p", "benchmark"]
        paths = os.pathsep.join(filter(None, [str(side), str(side / "src"), os.environ.get("PYTHONPATH", "")]))
        rest = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(
            [*command, "--benchmark-only", f"--benchmark-json={found}"],
            cwd=side, env={**rest, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            told = (done.stdout + done.stderr).strip()[-SHOWN:]
            raise DataError(f"the benchmarks of {side} gave exit status {done.returncode}:\n{told}")
        record = json.loads(found.read_bytes()) if found.is_file() else {"benchmarks": []}
    times = {one["fullname"]: float(one["stats"]["median"]) for one in record["benchmarks"]}
    if not times:
        raise DataError(f"there are no benchmarks in {benchmarks} of {side}")
    return times


def by_turns(
    base: Path, here: Path, benchmarks: str, rounds: int, first: int = 0, measured: Medians = medians
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each benchmark of both sides, a pair a round, `first` the number of the first round.

    A benchmark that only one side has is left out: a new one has nothing to be slower than.
    """
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(first, first + rounds):
        order = [("base", base), ("head", here)][:: 1 if number % 2 == 0 else -1]
        times = {name: measured(side, benchmarks) for name, side in order}
        for benchmark in times["base"].keys() & times["head"].keys():
            sides = found.setdefault(benchmark, {"base": [], "head": []})
            for name in sides:
                sides[name].append(times[name][benchmark])
    return dict(sorted(found.items()))
