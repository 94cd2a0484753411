"""Renews the committed records of the embedded benchmark: `make records`.

    python -m benchmarks.records [--answers .records] [--results results]

Every model is evaluated on every task and split in `--answers`, where answers are kept: only what changed is queried.
A record in `--results` is replaced only where it says something else: another version of the task or of the model's
answers, another count, or a metric that differs by more than `SAME`.  Smaller differences are another processor's order
of additions.  So a change of code that changes no answer changes no committed file.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness import store
from harness.core import Estimate, Run
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request

SAME = 0.05  # points, half of the last digit that tables print
MODELS = {"florence2-nano": "all", "florence2-nano-ft": "all", "whole-image": None, "oracle-quantised": None}  # splits
DATA = "miniature"


def main() -> None:
    """Evaluates, then renews."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, default=Path(".records"), help="folder of runs with their answers")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of committed records")
    given = parser.parse_args()
    runs: list[Run] = []
    for model, split in MODELS.items():
        request = Request(
            task="all", model=model, split=split, data=DATA, out=given.answers, command=("make records",),
        )  # fmt: skip
        runs += [one.run for one in evaluate_each(request)]
    for changed in renewed(runs, given.results):
        print(changed)


def renewed(runs: list[Run], results: Path) -> Iterator[str]:
    """Writes what changed and removes what is gone under the data's folder; a line for each."""
    wanted = {store.run_folder(results, run.spec): run for run in runs}
    for folder, _ in list(store.runs(results / DATA)):
        if folder.path not in wanted:
            shutil.rmtree(folder.path)
            yield f"removed {folder.path}"
    for path, run in wanted.items():
        folder = store.RunFolder(path)
        before = folder.read_run()
        if before is None or not same(before, run):
            folder.write_run(replace(run, timings={}))
            yield f"{'renewed' if before else 'new'} {path}"


def same(before: Run, after: Run) -> bool:
    """Whether two records of one run say the same."""
    shared = before.metrics.keys() & after.metrics.keys()
    if before.spec != after.spec or (before.metrics.keys() | after.metrics.keys()) - shared - {"METEOR"}:
        return False  # METEOR is only there with a Java
    counts = [{name: n for name, n in run.counts.items() if name != "asked now"} for run in (before, after)]
    return counts[0] == counts[1] and all(alike(before.metrics[name], after.metrics[name]) for name in shared)


def alike(one: Estimate, other: Estimate) -> bool:
    """Whether two estimates agree within `SAME`."""
    pairs = ((one.value, other.value), (one.low, other.low), (one.high, other.high))
    return one.n == other.n and all(
        (a is None) == (b is None) and math.isclose(a or 0.0, b or 0.0, rel_tol=0.0, abs_tol=SAME) for a, b in pairs
    )


if __name__ == "__main__":
    main()
