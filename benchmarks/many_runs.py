"""Time and memory of `ls` and `report` on a folder with many runs, which are copies of a few stored runs.

    python -m benchmarks.many_runs --runs 1000 --to /tmp/many

`whole-image` is evaluated on the embedded benchmark's tasks, and each stored run is copied under other names of its
model.  `ls` and `report` then run in processes of their own.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from harness import store
from harness.cli import main as harness
from harness.core import Run
from harness.store import RunFolder

TASKS = "refcoco,refcoco_res,vqav2,coco_caption,flickr30k"
ANSWERS = ("answers.jsonl", "scores.jsonl")


class Cost(NamedTuple):
    """What a command took: wall-clock and processor seconds, and its largest memory in MB."""

    seconds: float
    processor: float
    memory: float


def stored(folder: Path, tasks: str, limit: int) -> list[tuple[RunFolder, Run]]:
    """The runs of `whole-image` on these tasks of the embedded benchmark, made where they are not there yet."""
    command = ["run", "--task", tasks, "--model", "whole-image", "--data", "miniature", "--no-meteor"]
    command += ["--limit", str(limit)]
    if harness([*command, "--out", str(folder)]):
        raise SystemExit("the first runs failed")
    return list(store.runs(folder))


def copied(runs: list[tuple[RunFolder, Run]], count: int, to: Path) -> None:
    """Writes `count` runs: the given ones in turn, each time under another name of the model."""
    for number, (folder, run) in enumerate(itertools.islice(itertools.cycle(runs), count)):
        spec = replace(run.spec, model=f"{run.spec.model}-{number // len(runs):05}")
        copy = RunFolder(store.run_folder(to, spec))
        copy.path.mkdir(parents=True, exist_ok=True)
        for name in ANSWERS:
            shutil.copyfile(folder.path / name, copy.path / name)
        copy.write_run(store.sealed(replace(run, id=store.run_id(spec), spec=spec)))


def cost(command: list[str]) -> Cost:
    """What a command of the harness takes; SystemExit if it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "harness", *command], capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(round(seconds, 2), round(used, 2), round(after.ru_maxrss / 1024, 1))


def main() -> None:
    """Makes the runs and prints one JSON line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--limit", type=int, default=20, help="images of each run")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--to", type=Path, required=True, help="an empty folder")
    given = parser.parse_args()
    copied(stored(given.to / "first", given.tasks, given.limit), given.runs, given.to / "results")
    commands = {
        "ls": ["ls", "--out", str(given.to / "results")],
        "report": [
            "report", "--results", str(given.to / "results"), "--to", str(given.to / "report"),
            "--pictures", str(given.pictures),
        ],
    }  # fmt: skip
    for name, command in commands.items():  # `report` last: the memory is the largest of all children so far
        print(json.dumps({"command": name, "runs": given.runs, **cost(command)._asdict()}), flush=True)


if __name__ == "__main__":
    main()
