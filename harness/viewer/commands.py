"""The commands that fill the empty cells of the leaderboard."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from harness.core import Run

MOST = 60  # commands


class Missing(NamedTuple):
    """An empty cell, and the command that fills it."""

    data: str
    task: str
    split: str
    model: str
    command: str


def missing(runs: Sequence[Run]) -> list[Missing]:
    """At most `MOST` empty cells, in order of tasks.

    A model is expected on a task if a finished run of the model on the same data has the headline metric of the task.
    A detector is then not expected to write captions.
    """
    columns = {(run.spec.data, run.spec.task, run.spec.split): run.headline for run in runs}
    models = {(run.spec.model, run.spec.protocol): run for run in runs}
    able = {(run.spec.data, run.spec.model, run.spec.protocol, run.headline) for run in runs if run.finished}
    run_already = {
        (run.spec.data, run.spec.task, run.spec.split, run.spec.model, run.spec.protocol)
        for run in runs
        if run.finished
    }
    cells = []
    for (data, task, split), metric in columns.items():
        for (model, protocol), example in models.items():
            wanted = (data, model, protocol, metric) in able
            if wanted and (data, task, split, model, protocol) not in run_already:
                cells.append(Missing(data, task, split, model, command(example, data, task, split)))
    return cells[:MOST]


def command(example: Run, data: str, task: str, split: str) -> str:
    """The command that runs the model and protocol of `example` on a task, as a shell takes it.

    The record of a run has the name of its data and not the place, so a placeholder stands for a data root.
    """
    spec, own = example.spec, example.provenance.get("own data")
    words = ["python", "-m", "harness", "run", "--task", task, "--split", split, "--model", spec.model]
    words += ["--protocol", spec.protocol] if spec.protocol != "zero_shot" else []
    words += ["--data", data] if data == "miniature" else []
    said = shlex.join(word if word.isprintable() else repr(word) for word in words)
    return said if data == "miniature" else f"{said} --data {'DATASET_TOML' if own else 'DATA_ROOT'}"
