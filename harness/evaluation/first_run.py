"""The first run of a re-ranking task: finds it, checks that it fits, and reads its answers.

The id of the first run, a digest of its answers and the number of candidates are part of a re-ranking run's identity:
`RunSpec.data_hash` is a digest of them and of the annotation files.  The record names the first run under "candidates".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tasks
from harness import runner, store
from harness.core import Answer, Candidates, Embedding, Run, RunSpec, Task
from harness.errors import DataError, UsageError
from harness.store import RunFolder
from tasks.rerank import TOP

if TYPE_CHECKING:
    from harness.evaluation.plan import DataSource
    from harness.evaluation.request import Request


def with_candidates(source: DataSource, request: Request, pairs: Sequence[tuple[Task[Any], str]]) -> DataSource:
    """The source with the candidates of `request.candidates`.  `pairs` are the tasks and splits of the request.

    UsageError where the request or the task has no candidates, or the first run is of another task, split or limit;
    DataError where it is of other annotations.
    """
    needing = [task for task, _ in pairs if task.candidates_of]
    if request.candidates is None:
        task = needing[0]
        raise UsageError(f"{task.name} needs --candidates RUN, a finished run of {task.candidates_of}; `ls` lists runs")
    if len(pairs) != 1 or not needing:
        raise UsageError("--candidates is of one split of one re-ranking task, such as flickr30k_rerank")
    [(task, split)] = pairs
    folder, record = store.find(request.out, request.candidates)
    _refuse_unfit(record, task, split)
    spec = record.spec
    if spec.limit is not None and (spec.limit, spec.seed) != (request.limit, request.seed):
        same = f"--limit {spec.limit} --seed {spec.seed}"
        raise UsageError(f"--candidates {record.id}: a partial run; its re-ranking is as partial: {same}")
    return replace(source, candidates=_read(source, record, folder, request.top or TOP))


def of_predictions(
    source: DataSource, task: Task[Any], split: str, candidates: str | None, top: int | None, out: Path
) -> tuple[DataSource, RunSpec | None]:
    """The source with the candidates that a file of predictions scores, and the first run's spec; its limit is theirs.

    The source as it is, and None, for a task without candidates.  UsageError where the task has no candidates or the
    first run is of another task or split; DataError where it is of other annotations.
    """
    if not task.candidates_of:
        if candidates is not None or top is not None:
            raise UsageError(
                f"--candidates and --top are of a re-ranking task, such as flickr30k_rerank, not {task.name}"
            )
        return source, None
    if candidates is None:
        raise UsageError(
            f"{task.name}: its samples are the candidates of a first run, so --predictions needs --candidates RUN, the "
            f"run of {task.candidates_of} whose pairs the file scores; `ls` lists runs"
        )
    if top is not None and top < 1:
        raise UsageError(f"--top {top}: the number of candidates of a query, from 1")
    folder, record = store.find(out, candidates)
    _refuse_unfit(record, task, split)
    return replace(source, candidates=_read(source, record, folder, top or TOP)), record.spec


def _refuse_unfit(record: Run, task: Task[Any], split: str) -> None:
    spec, of = record.spec, f"--candidates {record.id}"
    if spec.task != task.candidates_of:
        raise UsageError(f"{of}: a run of {spec.task}; {task.name} re-ranks runs of {task.candidates_of}")
    if spec.split != split:
        raise UsageError(f"{of}: a run of split {spec.split}, not {split}; --split {spec.split} re-ranks it")
    if not record.finished:
        raise UsageError(f"{of}: the run is {record.status}; its own command finishes it")


def _read(source: DataSource, record: Run, folder: RunFolder, top: int) -> Candidates:
    """The candidates of a first run; DataError where its annotations are others, or an answer is missing."""
    first = tasks.every()[record.spec.task]
    if (source.name, source.annotation_digest(first, record.spec.split)) != (record.spec.data, record.spec.data_hash):
        raise DataError(f"run {record.id} is of other annotations ({record.spec.data}) than this run ({source.name})")
    samples = runner.choose(source.read(first, record.spec.split).samples, record.spec.limit, record.spec.seed)
    answers = runner.kept_answers(samples, folder, record.spec.fingerprint)
    if len(answers) < len(samples):
        raise DataError(f"run {record.id} has answers to {len(answers):,} of its {len(samples):,} questions")
    path = folder.path.absolute()
    return Candidates(answers, top, record.id, record.spec.model, path, _digest_of(answers))


def _digest_of(answers: dict[str, Answer]) -> str:
    total = hashlib.sha256()
    for name, answer in answers.items():
        total.update(f"{name}\0".encode())
        total.update(answer.value.data if isinstance(answer.value, Embedding) else b"")
    return total.hexdigest()


def digest(annotations: str, candidates: Candidates) -> str:
    """The sha256 over the digest of the annotation files and the candidates."""
    parts = (annotations, candidates.run, candidates.digest, candidates.top)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def described(candidates: Candidates) -> dict[str, Any]:
    """The candidates as a record names them, from which `again` reads them."""
    return {
        "run": candidates.run,
        "model": candidates.model,
        "top": candidates.top,
        "folder": str(candidates.folder),
    }


def again(task: Task[Any], source: DataSource, record: Run) -> DataSource:
    """The source with the candidates that a record names; as it is for a task without candidates.

    DataError where the first run is not in its folder.
    """
    if not task.candidates_of:
        return source
    named = record.provenance.get("candidates")
    if not isinstance(named, dict) or not isinstance(named.get("folder"), str) or not isinstance(named.get("top"), int):
        raise DataError(f"the record of {record.id} does not name the first run whose candidates it re-ranks")
    folder = RunFolder(Path(named["folder"]))
    first = folder.read_run()
    if first is None or first.id != named.get("run") or first.spec.task != task.candidates_of:
        raise DataError(f"run {record.id} re-ranks run {named.get('run')}, which is not in {folder.path}")
    return replace(source, candidates=_read(source, first, folder, named["top"]))
