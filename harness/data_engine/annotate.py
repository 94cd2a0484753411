"""Asks specialists about the images of an engine, and keeps what they answer.

Answers of a shard are appended to a file as they arrive, and become a raw file when the last is there.  A question with
an answer is never asked again: not after an interruption, and not because a setting of a filter changed.  A question
that fails is asked up to `TRIES` times; then it is final and counted.  A specialist that fails on all questions of a
shard, if they are `BROKEN` or more, is an error, and nothing of it is final.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

from harness import tracking
from harness.core import Answer, Failure, Kind, Model
from harness.data_engine.costs import Spent, add, spent_on
from harness.data_engine.images import read_unchanged
from harness.data_engine.questions import OF_IMAGES, Asked, Chunks, annotations_of, measures_of, questions
from harness.data_engine.records import Origin, Record, digest
from harness.data_engine.shards import Engine
from harness.data_engine.similarity import COMPARED
from harness.data_engine.tables import Row
from harness.errors import ModelError
from harness.progress import Progress
from harness.store.files import disk_errors, lines, remove_incomplete_line
from harness.store.lines import MALFORMED, Appender, Kept, parse_answer

TRIES = 3
BROKEN = 5  # questions of a shard that all fail: the specialist is broken, and not the images
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Specialist:
    """A model that is asked questions of one kind; `name` is its name in recipes, `licence` that of its weights."""

    kind: Kind
    name: str
    model: Model = field(repr=False)
    licence: str = ""
    round: int = 0

    @cached_property
    def origin(self) -> Origin:
        """The origin of its annotations; a model that the engine taught is asked in a later round."""
        return Origin(
            kind="model" if self.round else "specialist",
            name=self.name,
            fingerprint=self.model.fingerprint,
            round=self.round,
            licence=self.licence,
        )


@dataclass(slots=True)
class Asking:
    """What became of the questions of a specialist: how many there are, and how many were asked now."""

    questions: int = 0
    asked: int = 0
    unreadable: int = 0
    failed: int = 0
    annotations: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of final failures

    def __add__(self, other: Asking) -> Asking:
        """The sums of both."""
        return Asking(
            self.questions + other.questions, self.asked + other.asked, self.unreadable + other.unreadable,
            self.failed + other.failed, self.annotations + other.annotations, self.reasons + other.reasons,
        )  # fmt: skip


def annotate(
    engine: Engine,
    specialist: Specialist,
    root: Path,
    *,
    shards: Iterable[int] | None = None,
    chunks: Chunks | None = None,
) -> Asking:
    """Asks a specialist everything of its kind that it has not answered yet; returns the counts over these shards.

    `root` is the data root.  Questions about regions, texts and phrases are about those that the recipe keeps of what
    was answered so far.  `shards` are the numbers of the shards (None: all).

    DataError if an image has changed since the engine was made; ModelError if the specialist breaks its contract, or
    fails on all questions of a shard; UsageError if another process works on a shard; ResourceError if the disk is
    full.
    """
    specialist = _as_known(engine, specialist)
    engine.add_origins([specialist.origin])
    numbers = list(engine.shards if shards is None else shards)
    counts = Asking()
    seen, name = Seen(shards=len(numbers)), f"{specialist.kind}: {specialist.name}"
    shown = Progress(name, None, unit="questions", numbers=seen.numbers, tracked=True)
    with ExitStack() as tracked, shown:
        for number in numbers:
            with engine.locked(f"{number:05d}"):
                asked = list(_asked(engine, specialist, number, chunks))
                shard = _Shard(engine, specialist, root, number, asked)
                if shard.todo and not seen.asks:
                    seen.asks = True
                    tracked.enter_context(tracking.run(name, _facts(engine, specialist)))
                counts += shard.ask(shown, seen)
            seen.shards -= 1
        if seen.asks:
            tracking.log(_tracked(counts), shown.done)
    return counts


@dataclass(slots=True)
class Seen:
    """What the progress of a specialist tells: failures and unreadable answers of now, and the shards that are left."""

    shards: int
    unreadable: int = 0
    failed: int = 0
    asks: bool = False  # whether anything is asked at all

    def numbers(self) -> dict[str, float]:
        """The counts by name."""
        return {"unreadable": self.unreadable, "failed": self.failed, "shards left": self.shards}


def _facts(engine: Engine, specialist: Specialist) -> dict[str, Any]:
    """The identity of a specialist's questions, for trackers."""
    return {
        "engine": engine.path.name, "recipe": engine.recipe.name, "kind": specialist.kind,
        "specialist": specialist.name, "fingerprint": specialist.origin.fingerprint, "round": specialist.round,
    }  # fmt: skip


def _tracked(counts: Asking) -> dict[str, float]:
    """The counts of a specialist, for trackers."""
    names = ("questions", "asked", "unreadable", "failed", "annotations")
    return {f"count/{name}": getattr(counts, name) for name in names}


def _as_known(engine: Engine, specialist: Specialist) -> Specialist:
    """The specialist with the licence that the folder has of it: what it answered under another one is its own too."""
    for origin in engine.origins.values():
        if replace(origin, licence=specialist.licence) == specialist.origin:
            return replace(specialist, licence=origin.licence)
    return specialist


def _asked(engine: Engine, specialist: Specialist, number: int, chunks: Chunks | None) -> Iterator[Asked]:
    """Every question of a shard; of equal files, the first is asked about."""
    seen: set[str] = set()
    recipe = engine.decided_by(engine.current)
    if specialist.kind in COMPARED:  # all texts of a region are compared, whichever was chosen before
        recipe = recipe.until("choice")
    for record in _records(engine, specialist, number):
        if record.image.sha256 not in seen:
            seen.add(record.image.sha256)
            told = record if specialist.kind in OF_IMAGES else recipe.apply(record)
            yield from questions(specialist.kind, told, specialist.origin.id, recipe.categories, chunks)


def _records(engine: Engine, specialist: Specialist, number: int) -> Iterator[Record]:
    if specialist.kind not in OF_IMAGES:
        yield from engine.raw_records(number, engine.current)
        return
    for image in engine.images_of(number):
        if not image.stage:
            yield Record(image=image)


class _Shard:
    """The questions of one shard to one specialist."""

    def __init__(self, engine: Engine, specialist: Specialist, root: Path, number: int, asked: Sequence[Asked]) -> None:
        self.engine, self.specialist, self.root, self.number = engine, specialist, root, number
        self.round, self.origin = specialist.round, specialist.origin.id
        self.before = {
            row["question"]: row
            for row in engine.answers(self.round, number)
            if row["origin"] == self.origin and row["kind"] == specialist.kind
        }
        self.count = len(asked)
        self.todo = {each.key: each for each in asked if each.key not in self.before}
        self.inputs = digest([self.origin, specialist.kind, sorted(self.todo)])
        folder = engine.folder(self.round, "asking")
        self.answered_path = folder / f"{number:05d}-{self.inputs}.jsonl"
        self.failed_path = folder / f"{number:05d}-{self.inputs}.failed.jsonl"

    def ask(self, progress: Progress, seen: Seen) -> Asking:
        """Asks what is left, writes the raw file, and returns the counts."""
        counts = Asking(questions=self.count)
        for row in self.before.values():
            self._count(counts, row)
        progress.update(self.count - len(self.todo))
        if not self.todo:
            return counts
        counts.asked = self._ask(progress, seen)
        answers, failures = self._answers(), self._failures()
        rows, annotations, measures = [], [], []
        for key in sorted(self.todo):
            rows.append(self._row(self.todo[key], answers.get(key), failures.get(key, [])))
            self._count(counts, rows[-1])
            if key in answers:
                annotations += annotations_of(self.todo[key], answers[key].value, self.origin)
                measures += measures_of(self.todo[key], answers[key].value, self.origin)
        annotations.sort(key=lambda each: (each.image, each.kind, each.id))
        counts.annotations = len(annotations)
        self.engine.write_part(self.round, self.number, self.inputs, rows, annotations, measures)
        self.answered_path.unlink(missing_ok=True)
        self.failed_path.unlink(missing_ok=True)
        return counts

    def _ask(self, progress: Progress, seen: Seen) -> int:
        """Asks until every question has an answer or has failed for good; returns the number of questions sent."""
        sent = 0
        with disk_errors(self.answered_path):
            self.answered_path.parent.mkdir(parents=True, exist_ok=True)
        for path in (self.answered_path, self.failed_path):
            remove_incomplete_line(path)
        progress.update(len(self._answers()))
        while True:
            answers, failures = self._answers(), self._failures()
            left = [
                asked for key, asked in self.todo.items() if key not in answers and len(failures.get(key, ())) < TRIES
            ]
            if not left:
                return sent
            for asked in left:
                read_unchanged(self.root, asked.image)
            started = time.perf_counter()
            failed = self._stream(left, progress, seen)
            images = 0 if sent else len({asked.image.sha256 for asked in left})  # those of a second try were counted
            spent = spent_on(self.specialist.model, time.perf_counter() - started)
            add(
                self.engine.path,
                Spent(
                    kind=self.specialist.kind, origin=self.origin, shard=self.number, images=images,
                    questions=len(left), **spent,
                ),
            )  # fmt: skip
            sent += len(left)
            if len(failed) >= BROKEN and not self._answers():
                self.failed_path.unlink(missing_ok=True)
                raise ModelError(
                    f"{self.specialist.name} failed on all {len(self.todo):,} questions of shard {self.number}: "
                    f"{failed[0]}; nothing of it is final, and the same command asks again"
                )

    def _stream(self, left: Sequence[Asked], progress: Progress, seen: Seen) -> list[str]:
        """Sends questions to the model, and appends each answer or failure; returns the reasons of failures."""
        waiting = set(range(len(left)))
        failed = []
        stream = self.specialist.model.answer((place, asked.question) for place, asked in enumerate(left))
        with (
            disk_errors(self.answered_path),
            self.answered_path.open("ab") as answered,
            self.failed_path.open("ab") as failures,
        ):
            for ticket, answer in stream:
                if ticket not in waiting:
                    raise ModelError(f"{self.specialist.name} answered ticket {ticket!r}, which it was not given")
                if not isinstance(answer, Answer | Failure):
                    what = type(answer).__name__
                    raise ModelError(f"{self.specialist.name} answered with {what} instead of an Answer or a Failure")
                waiting.remove(ticket)
                key = left[ticket].key
                reason = (answer.reason or "no reason given") if isinstance(answer, Failure) else ""
                if isinstance(answer, Answer):
                    try:
                        line = _line(Kept(key, self.inputs, answer))
                    except MALFORMED as error:  # NaN, or parts that contradict each other
                        reason = f"the answer cannot be kept: {error}"
                    else:
                        answered.write(line)
                        answered.flush()
                        seen.unreadable += answer.value is None
                        progress.update()
                if reason:
                    seen.failed += 1
                    failed.append(reason)
                    failures.write(json.dumps({"id": key, "reason": reason}).encode() + b"\n")
                    failures.flush()
        if waiting:
            raise ModelError(f"{self.specialist.name} left {len(waiting)} of {len(left)} questions without an answer")
        return failed

    def _answers(self) -> dict[str, Answer]:
        """The answers so far, by question."""
        found = {}
        for text in lines(self.answered_path):
            try:
                kept = parse_answer(text)
            except MALFORMED:
                log.warning("%s has a damaged line; its question is asked again", self.answered_path)
                continue
            if kept.id in self.todo:
                found[kept.id] = kept.answer
        return found

    def _failures(self) -> dict[str, list[str]]:
        """The reasons of each question that failed, one for each try."""
        found: dict[str, list[str]] = {}
        for text in lines(self.failed_path):
            try:
                entry = json.loads(text)
                found.setdefault(entry["id"], []).append(entry["reason"])
            except MALFORMED:
                continue  # a try is not counted
        return found

    def _row(self, asked: Asked, answer: Answer | None, failures: Sequence[str]) -> Row:
        question = asked.question
        return {
            "image": asked.image.sha256,
            "question": asked.key,
            "kind": question.kind,
            "text": question.text,
            "region": None if question.region is None else list(map(float, question.region)),
            "origin": self.origin,
            "raw": [] if answer is None else [text.encode("utf-8", "replace").decode() for text in answer.raw],
            "readable": answer is not None and answer.value is not None,
            "failure": failures[-1] if answer is None else "",
            "tries": len(failures) + (answer is not None),
        }

    def _count(self, counts: Asking, row: Row) -> None:
        if row["failure"]:
            counts.failed += 1
            counts.reasons[row["failure"]] += 1
        elif not row["readable"]:
            counts.unreadable += 1


def _line(kept: Kept) -> bytes:
    """The line of an answer; one of `MALFORMED` if it could not be read back."""
    buffer = BytesIO()
    Appender(buffer).write(kept)
    parse_answer(buffer.getvalue().decode())
    return buffer.getvalue()
