"""Stored answers as a model: those of a run of this harness, or of an official result file.

`--model replay:PATH`.  PATH is the folder of a run, its run.json, or a file or folder in the task's official format.  A
run must be of the same task, split and annotations.  A sample without a stored answer is a Failure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from baselines.entry import Entry, Part, Setting
from harness.core import Answer, Failure, Kind, Question, Ticket
from harness.errors import DataError, UsageError
from harness.store import RunFolder

ANSWERS_VERSION = 1  # raise it whenever an answer could change
RECORD = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of `replay`."""

    answers: str | None = None
    "Folder of a run, or a file or folder in the task's official result format"


class Replay:
    """A Model (see `core`) that answers each sample of a part with its stored answer."""

    def __init__(self, part: Part, answers: Mapping[str, Answer], origin: Mapping[str, Any]) -> None:
        self._answers = answers
        self._origin = dict(origin)
        # A question is found by identity first: two samples may have equal questions and different answers.
        self._ids = {id(sample.question): sample.id for sample in part.samples}
        self._equal = {sample.question: sample.id for sample in reversed(part.samples)}

    @property
    def fingerprint(self) -> str:
        """The answers version, and a digest of the answers."""
        content = repr([(name, self._answers[name].raw, self._answers[name].value) for name in sorted(self._answers)])
        return f"replay:v{ANSWERS_VERSION}:{hashlib.sha256(content.encode('utf-8', 'replace')).hexdigest()[:16]}"

    @property
    def provenance(self) -> dict[str, Any]:
        """The origin of the answers: a run with its model, or a file with its sha256."""
        return {"answers of": self._origin}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """The stored answer of each question, in order; a Failure where there is none."""
        for ticket, question in questions:
            name = self._ids.get(id(question)) or self._equal.get(question)
            answer = None if name is None else self._answers.get(name)
            yield ticket, Failure("there is no stored answer to this question") if answer is None else answer


def of(path: str) -> Entry:
    """The Entry of `replay:PATH`."""
    [entry] = ENTRIES
    return replace(entry, build=partial(_build_from, path=path), refuse=None)


def _build_from(setting: Setting, options: Options, path: str) -> Replay:
    return build(setting, Options(answers=options.answers or path))


def build(setting: Setting, options: Options) -> Replay:
    """A Replay of the answers at a path; UsageError where they are of another task, DataError for a damaged file."""
    refuse(setting, options)
    if setting.part is None:
        raise UsageError("replay answers a task's samples; there is no task here")
    path = Path(options.answers or "").expanduser()
    folder = path.parent if path.name == RECORD else path
    if (folder / RECORD).is_file():
        return _of_run(setting.part, RunFolder(folder))
    if not path.exists():
        raise UsageError(f"replay:{path}: there is no such file or folder")
    form = setting.part.task.predictions
    if form.folder != path.is_dir():
        kind = "folder" if form.folder else "file"
        raise UsageError(f"replay:{path} is no run, and results of {setting.part.task.name} are a {kind}")
    answers = form.read(path, setting.part.samples)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "-"
    return Replay(setting.part, answers, {"file": path.name, "sha256": digest})


def refuse(setting: Setting, options: Options) -> None:
    """UsageError without a path."""
    if not options.answers:
        raise UsageError("model replay needs a path: --model replay:FOLDER, or --model replay:FILE")


def _of_run(part: Part, folder: RunFolder) -> Replay:
    record = folder.read_run()
    if record is None or not folder.has_answers:
        raise DataError(f"{folder.path} has no stored answers; without them, nothing can be replayed")
    spec = record.spec
    if (spec.task, spec.split) != (part.task.name, part.split):
        raise UsageError(
            f"{folder.path} is a run of {spec.task} {spec.split}, not of {part.task.name} {part.split}; "
            "--task and --split choose"
        )
    if spec.data_hash != part.data_hash:
        raise UsageError(f"{folder.path} is a run on other annotations of {spec.task} than those given; --data chooses")
    answers = {name: kept.answer for name, kept in folder.answers().items()}
    origin = {"run": record.id, "model": spec.model, "fingerprint": spec.fingerprint}
    return Replay(part, answers, origin)


ENTRIES = (
    Entry(
        name="replay",
        about="stored answers of a run or of an official result file, as replay:PATH",
        build=build,
        options=Options,
        refuse=refuse,
        kinds=frozenset(get_args(Kind)),
        per_task=True,
        embedded=True,
        protocol="predictions",
    ),
)
