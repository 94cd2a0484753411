"""What is frozen: scores of kept answers, prompts, and answers that are queried again (`answers.py`).

A folder of frozen things holds runs of `MODEL` on every task, whose answers are scored again; `prompts.json`, the
prompt of every kind and form; and `answers.jsonl`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from harness import runner, store
from harness.core import Phrase, Question, Size, Task
from harness.errors import HarnessError, UsageError
from harness.evaluation.plan import MINIATURE, data_root, samples_of, selected
from harness.gates import answers, verdicts
from harness.gates.promises import Promise
from harness.gates.runs import Runs, run_folder
from harness.gates.verdicts import Verdict

MODEL, IMAGES = "florence2-nano-ft", 12  # images of each task
PROMPTS = "prompts.json"
GOLDEN = Question(
    "", Size(640, 480), "caption", region=(33.6, 159.6, 596.8, 371.76), text="a red cup",
    phrases=(Phrase("a red cup"), Phrase("dogs", said="dogs of all kinds")),
)  # fmt: skip


def judged(folder: Path, patterns: Sequence[str]) -> Iterator[Verdict]:
    """A verdict on the prompts, on the scores of each task, and on each way of querying again."""

    def wanted(name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    yield from (one for one in _prompts_judged(folder / PROMPTS) if wanted(one.name))
    yield from (one for one in _scores_judged(folder, wanted_names=patterns))
    if any(wanted(name) for name in answers.NAMES):
        yield from (one for one in answers.judged(folder / answers.FILE, MODEL) if wanted(one.name))


def freeze(folder: Path) -> None:
    """Writes all that is frozen again.

    UsageError where answers of the same version differ: an answers version names one set of answers.
    """
    if red := [one for one in answers.judged(folder / answers.FILE, MODEL) if one.state == "broken" and one.chance]:
        raise UsageError(f"{red[0].line()}; nothing was frozen")
    prompts = json.dumps(golden_prompts(), indent=1, ensure_ascii=False) + "\n"
    answered = answers.queried_again(MODEL)
    with run_folder(None) as made:
        runs = Runs(made)
        for task in _embedded():
            kept, _ = runs.run(Promise(name="frozen", task=task.name, model=MODEL, limit=IMAGES), task)
            store.pack(kept)
        for old in [kept for kept, _ in store.runs(folder)]:  # nothing was removed before all is there
            old.remove()
        shutil.copytree(made, folder, dirs_exist_ok=True)
    store.replace_file(folder / PROMPTS, prompts.encode())
    store.replace_file(folder / answers.FILE, answered)


def _embedded() -> list[Task[Any]]:
    """The tasks that the embedded benchmark has."""
    return selected("all", *data_root(MINIATURE, "the gate", embedded=True))


def golden_prompts() -> Mapping[str, Sequence[str]]:
    """The texts of every form of every kind, for one question that stays as it is."""
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


def _scores_judged(folder: Path, wanted_names: Sequence[str]) -> Iterator[Verdict]:
    """The scores of frozen answers, task by task; every task of the embedded benchmark must have some."""
    runs = list(store.runs(folder))
    for kept, run in runs:
        name = f"scoring {run.spec.task}"
        if not any(fnmatchcase(name, pattern) for pattern in wanted_names):
            continue
        try:
            task, samples, _ = samples_of(run, None)
            rows = runner.mark(task, samples, runner.kept_answers(samples, kept, run.spec.fingerprint))
            scores = {row.sample.id: row.score for row in rows}
            metrics = runner.reduce(task, rows, run.spec.seed)
            again = f"python -m harness score {kept.path}"
            yield verdicts.same_scores(name, run, task.version, scores, kept.scores(), metrics, again)
        except HarnessError as error:
            yield Verdict(name, "broken", f"scores of version {run.spec.version} as they were", str(error))
    for lacking in sorted({task.name for task in _embedded()} - {run.spec.task for _, run in runs}):
        if any(fnmatchcase(f"scoring {lacking}", pattern) for pattern in wanted_names):
            yield Verdict(f"scoring {lacking}", "broken", "frozen scores", "none are kept", more="gate --freeze")
