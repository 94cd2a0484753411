"""Updates the committed records of the embedded benchmark: `make records`.

    python -m benchmarks.records [--answers .records] [--results results]

Every model is evaluated on every task and split.  Answers are kept in `--answers`, so that only new questions are
evaluated.  A record in `--results` is replaced where the task version, the fingerprint or a count differs, or where a
metric differs by more than another processor explains: its order of sums tips an answer in thousands.  A change of code
that changes no answer therefore changes no committed file.
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

SAME = 0.05  # percentage points: half of the last digit in tables
MODELS = {  # splits
    "florence2-nano": "all",
    "florence2-nano-ft": "all",
    "clip-nano": "all",
    "whole-image": None,
    "oracle-quantised": None,
}
DATA = "miniature"


def main() -> None:
    """Evaluates the models, and updates the records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=Path, default=Path(".records"), help="folder of runs with their answers")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of committed records")
    options = parser.parse_args()
    runs: list[Run] = []
    for model, split in MODELS.items():
        request = Request(
            task="all", model=model, split=split, data=DATA, out=options.answers, command=("make records",),
        )  # fmt: skip
        runs += [evaluated.run for evaluated in evaluate_each(request)]
    for change in renewed(runs, options.results):
        print(change)


def renewed(runs: list[Run], results: Path) -> Iterator[str]:
    """Writes the records that changed and removes those without a run, and yields a line for each change."""
    current = {store.run_folder(results, run.spec): run for run in runs}
    for folder, _ in list(store.runs(results / DATA)):
        if folder.path not in current:
            shutil.rmtree(folder.path)
            yield f"removed {folder.path}"
    for path, run in current.items():
        folder = store.RunFolder(path)
        before = folder.read_run()
        if before is None or not same(before, run):
            folder.write_run(replace(run, timings={}))
            yield f"{'renewed' if before else 'new'} {path}"


def same(before: Run, after: Run) -> bool:
    """Returns whether two records of a run agree: specification, metrics within `SAME`, and counts."""
    shared = before.metrics.keys() & after.metrics.keys()
    if before.spec != after.spec or (before.metrics.keys() | after.metrics.keys()) - shared - {"METEOR"}:
        return False  # METEOR needs Java, and may be missing
    counts = [{name: n for name, n in run.counts.items() if name != "asked now"} for run in (before, after)]
    return counts[0] == counts[1] and all(alike(before.metrics[name], after.metrics[name]) for name in shared)


def alike(before: Estimate, after: Estimate) -> bool:
    """Returns whether two estimates are those of one answer set, but for what another processor changes.

    Values may differ by `SAME`, or by one sample of a share.  If they differ, so do the resamples: the ends of the
    interval may then differ by two samples, else by `SAME`.
    """
    if before.n != after.n:
        return False
    sample = 100.0 / before.n if before.n else 0.0
    moved = _distance(before.value, after.value)
    ends = max(_distance(before.low, after.low), _distance(before.high, after.high))
    one_sample = math.isclose(moved, sample, rel_tol=1e-6)
    return (moved <= SAME or one_sample) and ends <= (max(SAME, 2.0 * sample) if moved else SAME)


def _distance(a: float | None, b: float | None) -> float:
    """The absolute difference; infinite where one of the two is undefined."""
    if a is None or b is None:
        return 0.0 if a is b else math.inf
    return abs(a - b)


if __name__ == "__main__":
    main()
