"""Frozen scores, prompts and answers: what a change of code must not change by accident.

The folder holds runs of `MODEL` on every task that it answers, which are scored again; `prompts.json`, the prompt of
every question kind and form; and `answers.jsonl`, answers that are queried again (`answers.py`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import baselines
from harness import runner, store
from harness.core import Phrase, Question, Size, Task
from harness.errors import HarnessError, UsageError
from harness.evaluation.evaluate import answerable
from harness.evaluation.plan import MINIATURE, data_root, samples_of, selected
from harness.gates import answers, verdicts
from harness.gates.promises import Promise
from harness.gates.runs import Runs, run_folder
from harness.gates.verdicts import Verdict

MODEL, IMAGES = "florence2-nano-ft", 12  # number of images of each task
PROMPTS = "prompts.json"
GOLDEN = Question(
    "", Size(640, 480), "caption", region=(33.6, 159.6, 596.8, 371.76), text="a red cup",
    phrases=(Phrase("a red cup"), Phrase("dogs", said="dogs of all kinds")),
)  # fmt: skip


def judged(folder: Path, patterns: Sequence[str]) -> Iterator[Verdict]:
    """A verdict on the prompts, on the scores of each task, and on the answers in each way of querying.

    `patterns` are globs of the verdicts' names; only matching verdicts are computed, except for the prompts.
    """
    yield from (verdict for verdict in _prompts_judged(folder / PROMPTS) if _matches(verdict.name, patterns))
    yield from _scores_judged(folder, patterns)
    if any(_matches(name, patterns) for name in answers.NAMES):
        judged_answers = answers.judged(folder / answers.FILE, MODEL)
        yield from (verdict for verdict in judged_answers if _matches(verdict.name, patterns))


def freeze(folder: Path) -> None:
    """Writes new frozen scores, prompts and answers.

    UsageError where the same weights under the same answers version give other answers: a version stands for one set.
    """
    for verdict in answers.judged(folder / answers.FILE, MODEL):
        if verdict.state == "broken" and verdict.reason:  # other broken verdicts ask for a freeze
            raise UsageError(f"{verdict.line()}; nothing was frozen")
    prompts = json.dumps(golden_prompts(), indent=1, ensure_ascii=False) + "\n"
    answer_lines = answers.queried_again(MODEL)
    with run_folder(None) as new_folder:
        runs = Runs(new_folder)
        for task in _embedded():
            kept, _ = runs.run(Promise(name="frozen", task=task.name, model=MODEL, limit=IMAGES), task)
            store.pack(kept)
        for old in [kept for kept, _ in store.runs(folder)]:  # only after every new run is finished
            old.remove(folder)
        shutil.copytree(new_folder, folder, dirs_exist_ok=True)
    store.replace_file(folder / PROMPTS, prompts.encode())
    store.replace_file(folder / answers.FILE, answer_lines)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _embedded() -> list[Task[Any]]:
    """The tasks of the embedded benchmark that the model answers."""
    name, root = data_root(MINIATURE, "the gate", embedded=True)
    return answerable(selected("all", name, root), baselines.find(MODEL).answers({}), root)


def golden_prompts() -> Mapping[str, Sequence[str]]:
    """The prompts of the question GOLDEN, by question kind and prompt form."""
    from harness.florence2 import prompts

    return {
        f"{kind} {form}": list(prompts.prompts_of(replace(GOLDEN, kind=kind), form))
        for kind, forms in prompts.FORMS.items()
        for form in forms
    }


def _prompts_judged(path: Path) -> Iterator[Verdict]:
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        yield Verdict("prompts", "broken", f"golden prompts in {path}", str(error), more="gate --freeze")
        return
    yield from verdicts.same_prompts(before, golden_prompts())


def _scores_judged(folder: Path, patterns: Sequence[str]) -> Iterator[Verdict]:
    """A verdict on the scores of each task's frozen answers; broken for an embedded task that has none."""
    runs = list(store.runs(folder))
    for kept, run in runs:
        name = f"scoring {run.spec.task}"
        if not _matches(name, patterns):
            continue
        try:
            task, samples, _ = samples_of(run, None)
            rows = runner.mark(task, samples, runner.kept_answers(samples, kept, run.spec.fingerprint))
            scores = {row.sample.id: row.score for row in rows}
            metrics = runner.reduce(task, rows, run.spec.seed)
            command = f"python -m harness score {kept.path}"
            yield verdicts.same_scores(name, run, task.version, scores, kept.scores(), metrics, command)
        except HarnessError as error:
            yield Verdict(name, "broken", f"scores of version {run.spec.version} as they were", str(error))
    for task_name in sorted({task.name for task in _embedded()} - {run.spec.task for _, run in runs}):
        name = f"scoring {task_name}"
        if _matches(name, patterns):
            yield Verdict(name, "broken", "frozen scores", "none are kept", more="gate --freeze")
