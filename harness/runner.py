"""Runs a model on the samples of a task: query, store, score, reduce.

A question with a stored answer under the same digest is not queried again.  Answers are stored when they arrive, and
scoring reads only stored answers.  If a question fails, such as one with a corrupt image, the run is incomplete and has
no headline.  The same command queries failed questions again.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import math
import random
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import progress, store, tracking
from harness.core import (
    Answer,
    Estimate,
    Failure,
    Mask,
    Model,
    Question,
    Row,
    Run,
    RunSpec,
    Sample,
    Score,
    Size,
    Task,
    Ticket,
    Value,
)  # fmt: skip
from harness.errors import DataError, ModelError, UsageError
from harness.geometry.masks import from_coco, to_coco
from harness.images import MissingImage, read_bytes
from harness.memo import of_latest
from harness.migrations import former_fingerprint, is_of_unknown_code
from harness.statistics import estimate
from harness.store import Appender, Kept, RunFolder
from harness.tally import Tally
from harness.timings import Clock, latency

METHODS = "percentiles; for AP and CIDEr, whose resamples are biased, the basic bootstrap"  # see `statistics`
MISSING = "missing"  # the digest of an image that does not exist
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Queried:
    """The result of querying: the number of questions sent, the failures by sample id, and the timings."""

    count: int
    failures: Mapping[str, str]
    timings: Mapping[str, Any]


def choose(samples: Sequence[Sample[Any]], limit: int | None, seed: int) -> list[Sample[Any]]:
    """All samples, or the samples of `limit` images drawn with `seed`, in their original order.

    All images, if there are fewer than `limit`.  UsageError if `limit` is below 1.
    """
    if limit is None:
        return list(samples)
    if limit < 1:
        raise UsageError(f"--limit {limit}: a run needs at least one image")
    clusters = sorted({sample.cluster for sample in samples})
    chosen = set(random.Random(seed).sample(clusters, min(limit, len(clusters))))
    return [sample for sample in samples if sample.cluster in chosen]


def question_digest(question: Question, fingerprint: str, image: str) -> str:
    """The key of a stored answer, "QUESTION:IMAGE", of 12 letters each.

    QUESTION is a digest of the question and the model's fingerprint; IMAGE is the beginning of `image`, the digest of
    the image's file.  A region is part of the question.  A question without a region has the digest that it had before
    regions existed, so older answers stay valid.
    """
    phrases = _written(question.phrases)
    parts = [repr(question.kind), repr(question.text), phrases, repr(question.image_name), repr(fingerprint)]
    if question.region is not None:
        parts.append(repr(tuple(map(float, question.region))))
    written = f"({', '.join(parts)})"  # as `repr` writes the tuple of the parts
    return f"{hashlib.sha256(written.encode()).hexdigest()[:12]}:{image[:12]}"


_written = of_latest(repr)


def digests(question: Question, fingerprint: str, image: str) -> tuple[str, ...]:
    """The keys under which an answer to a question may be stored: the current one, then that of version 0.13.1."""
    fingerprints = dict.fromkeys((fingerprint, former_fingerprint(fingerprint)))
    return tuple(question_digest(question, known, image) for known in fingerprints)


def is_answer_to(kept: Kept | None, keys: Sequence[str]) -> bool:
    """Whether a stored answer belongs to the question with these `digests`.

    If the image does not exist, or its digest is "" (not computed), only the part before the colon has to agree.
    """
    if kept is None or kept.asked in keys:
        return kept is not None
    stored = kept.asked.partition(":")[0]
    pairs = (key.partition(":")[::2] for key in keys)
    return any(image in ("", MISSING) and stored == question for question, image in pairs)


def image_digests(root: Path, samples: Sequence[Sample[Any]]) -> dict[str, str]:
    """The sha256 of the file of every image, by name; MISSING for an image that does not exist.

    A missing image becomes a Failure when the model is queried.  The digest of no image is "".
    """
    digests: dict[str, str] = {}
    for sample in progress.over(samples, "hashing images", unit="questions"):
        image = sample.question.image_name
        if not image:  # a question about a text alone
            digests[image] = ""
        if image not in digests:
            try:
                digests[image] = hashlib.sha256(read_bytes(root, image)).hexdigest()
            except MissingImage:
                digests[image] = MISSING
    return digests


def digests_of(samples: Sequence[Sample[Any]], fingerprint: str, root: Path) -> dict[str, tuple[str, ...]]:
    """The `digests` of every sample's question, by sample id."""
    images = image_digests(root, samples)
    return {sample.id: digests(sample.question, fingerprint, images[sample.question.image_name]) for sample in samples}


def query(
    samples: Sequence[Sample[Any]],
    model: Model,
    folder: RunFolder,
    digests: Mapping[str, Sequence[str]],
    *,
    fresh: bool = False,
    task: Task[Any] | None = None,
) -> Queried:
    """Queries every question without a stored answer, and stores each answer when it arrives.

    The process may be killed at any moment.  `digests` are the keys of each question by sample id.  Unless `fresh`, an
    answer that another run of the same model stores to the same question is reused.  `task` is for the headline of the
    progress; None: progress has no headline.

    ResourceError if the disk is full; ModelError if the model breaks its contract.
    """
    with folder.appending() as appender:
        kept = folder.answers()
        todo = [sample for sample in samples if not is_answer_to(kept.get(sample.id), digests[sample.id])]
        if todo and not fresh:
            todo = _reuse_answers(todo, digests, folder, appender)
        failures: dict[str, str] = {}
        clock = Clock()
        tally = Tally(task, samples)
        before = {sample.id for sample in samples} - {sample.id for sample in todo}
        if before:
            kept = folder.answers()
            for sample in samples:
                if sample.id in before:
                    tally.answered(sample, kept[sample.id].answer)
        shown = progress.Progress(
            "querying", len(samples), done=len(before), unit="answers", numbers=tally.numbers, tracked=True
        )
        with shown:
            questions = enumerate(sample.question for sample in todo)
            for ticket, answer in _checked(model.answer(questions), len(todo)):
                sample = todo[ticket]
                if isinstance(answer, Failure):
                    failures[sample.id] = answer.reason
                    tally.failed += 1
                    shown.write(f"{sample.id}: {answer.reason}")
                else:
                    appender.write(Kept(sample.id, digests[sample.id][0], answer))
                    clock.answered(answer)
                    tally.answered(sample, answer)
                shown.update()
    queried = Queried(len(todo), failures, clock.timings(len({sample.question.image_name for sample in todo} - {""})))
    _return_freed_memory()
    return queried


def _checked(
    answers: Iterable[tuple[Ticket, Answer | Failure]], questions: int
) -> Iterator[tuple[Ticket, Answer | Failure]]:
    """The model's answers unchanged; ModelError unless there is one Answer or Failure for each ticket from 0 on."""
    unanswered = set(range(questions))
    for ticket, answer in answers:
        if ticket not in unanswered:
            raise ModelError(f"the model answered ticket {ticket!r}, which was never given to it, or twice")
        if not isinstance(answer, Answer | Failure):
            raise ModelError(
                f"the model answered ticket {ticket} with {type(answer).__name__} instead of an Answer or a Failure"
            )
        unanswered.remove(ticket)
        yield ticket, answer
    if unanswered:
        raise ModelError(f"the model left {len(unanswered)} of {questions} questions without an answer or a Failure")


def _return_freed_memory() -> None:
    """Makes glibc return freed memory to the system, so that the memory of scoring is not added to that of querying."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _reuse_answers(
    todo: Sequence[Sample[Any]], digests: Mapping[str, Sequence[str]], folder: RunFolder, appender: Appender
) -> list[Sample[Any]]:
    """Copies answers to these questions from the model's other runs; returns the samples that remain to be queried."""
    remaining = list(todo)
    for sibling, record in folder.siblings():
        stored = sibling.answers()
        if stored and is_of_unknown_code(record.spec.fingerprint):
            log.warning(
                "the answers in %s are of harness %s, whose answers have no version: they are not reused",
                sibling.path, record.provenance.get("harness", "(unknown)"),
            )  # fmt: skip
        reusable = {sample.id for sample in remaining if is_answer_to(stored.get(sample.id), digests[sample.id])}
        for name in reusable:
            appender.write(replace(stored[name], asked=digests[name][0]))
        remaining = [sample for sample in remaining if sample.id not in reusable]
    return remaining


def kept_answers(samples: Sequence[Sample[Any]], folder: RunFolder, fingerprint: str) -> dict[str, Answer]:
    """The stored answers to the current questions of these samples, by sample id.

    Images are not compared: an answer counts although the image's file has changed since.  A damaged mask does not.
    """
    kept = folder.answers()
    return {
        sample.id: stored.answer
        for sample in samples
        if (stored := kept.pop(sample.id, None))  # so that memory holds an answer once
        and _is_current(stored, sample.question, fingerprint)
        and _is_whole(stored.answer.value, sample.question.size)
    }


def _is_current(kept: Kept, question: Question, fingerprint: str) -> bool:
    """Whether a stored answer belongs to the question, whatever its image's file is now."""
    return is_answer_to(kept, (question_digest(question, fingerprint, ""),)) or is_answer_to(
        kept, digests(question, fingerprint, "")
    )


def _is_whole(value: Value | None, size: Size | None) -> bool:
    """Whether a stored value can be scored: a mask must be valid, and of the size of its image."""
    if not isinstance(value, Mask):
        return True
    try:
        from_coco(to_coco(value), size or value.size)
    except ValueError:
        return False
    return True


def answered(samples: Sequence[Sample[Any]], answers: Mapping[str, Answer]) -> list[Row[Any]]:
    """A row without scores for every sample; DataError if an answer is missing.

    A missing answer is never left out, because that would make the denominator smaller.
    """
    missing = [sample.id for sample in samples if sample.id not in answers]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(samples)} samples have no answer to their current question "
            f"({', '.join(missing[:3])}, ...); the same `run` command queries them"
        )
    return [Row(sample, answers[sample.id], Score({}, answers[sample.id].value is not None)) for sample in samples]


def mark(task: Task[Any], samples: Sequence[Sample[Any]], answers: Mapping[str, Answer]) -> list[Row[Any]]:
    """A row with scores for every sample; DataError if an answer is missing.

    ValueError if the task returns a score that is NaN or infinite, which is a bug of the task.
    """
    rows = []
    for row in progress.over(answered(samples, answers), "scoring", unit="answers"):
        sample, answer = row.sample, row.answer
        score = task.score(sample, answer)
        if not all(math.isfinite(value) for value in score.values.values()):
            raise ValueError(f"{task.name} returned the score {dict(score.values)} for sample {sample.id}")
        rows.append(Row(sample, answer, score))
    if task.corpus is None or not rows:
        return rows
    corpus_scores = task.corpus.scores(rows)
    return [
        Row(row.sample, row.answer, Score({**values, **row.score.values}, row.score.readable))
        for row, values in zip(rows, corpus_scores, strict=True)
    ]


def reduce(task: Task[Any], rows: Sequence[Row[Any]], seed: int) -> dict[str, Estimate]:
    """Every metric of the task with its interval, by name.

    The metrics of `by_group` follow for each group of samples, as "metric group".  Then follow the shares of
    `unreadable` and `truncated` answers, in percent and without intervals.
    """
    resamples = task.intervals.resamples
    metrics = {
        name: estimate(metric, rows, seed, stratified=task.intervals.stratified, resamples=resamples)
        for name, metric in task.metrics.items()
    }
    for group in groups_of(rows) if task.by_group else ():
        members = [row for row in rows if group in row.sample.groups]
        for name, metric in task.by_group.items():
            metrics[f"{name} {group}"] = estimate(metric, members, seed, resamples=resamples)
    for name, share in (
        ("unreadable", [not row.score.readable for row in rows]),
        ("truncated", [row.answer.truncated for row in rows]),
    ):
        metrics[name] = Estimate(100 * float(np.mean(share)), None, None, len(rows))
    return metrics


def so_far(task: Task[Any], record: Run, rows: Sequence[Row[Any]], samples: int) -> Run:
    """The record of a run in progress, with its headline over the answered rows, without an interval.

    `samples` is the number of samples of the whole run.
    """
    value = task.metrics[task.headline].prepare(rows)(np.ones(len({row.sample.cluster for row in rows})))
    headline = Estimate(float(value) if math.isfinite(value) else None, None, None, len(rows))
    counted = {**_counts(rows, 0, len(rows)), "samples": samples}
    return replace(record, metrics={task.headline: headline}, counts=counted)


def contradiction(task: Task[Any], record: Run, rows: Sequence[Row[Any]]) -> str:
    """How the headline of a record differs from that of its scored rows, as a sentence; "" where they agree.

    The rows are of all samples of the run.  A record of another version of the task is not compared.
    """
    if not record.finished or not rows or record.spec.version != task.version or record.headline not in task.metrics:
        return ""
    return disagreement(
        record, float(task.metrics[record.headline].prepare(rows)(np.ones(len({row.sample.cluster for row in rows}))))
    )


def disagreement(record: Run, value: float) -> str:
    """How the headline of a finished record differs from the `value` that its kept answers give; "" where it agrees.

    `value` is NaN where the headline is not defined.
    """
    recorded = record.metrics.get(record.headline)
    if recorded is None:
        return ""
    says = math.nan if recorded.value is None else recorded.value
    if math.isclose(says, value, rel_tol=1e-6, abs_tol=1e-6) or (math.isnan(says) and math.isnan(value)):
        return ""
    words = ["an undefined value" if math.isnan(number) else f"{number:.6g}" for number in (says, value)]
    return (
        f"the record of {record.id} says {record.headline} {words[0]}, but its kept answers give {words[1]}; "
        f"`score {record.id}` writes the record again"
    )


def groups_of(rows: Sequence[Row[Any]]) -> list[str]:
    """The groups of the rows' samples, in order of first appearance."""
    return list(dict.fromkeys(group for row in rows for group in row.sample.groups))


def counts(task: Task[Any], rows: Sequence[Row[Any]], failed: int, queried: int) -> dict[str, int]:
    """The counts of a record, with the sums of the scores that the task counts."""
    counted = task.corpus.counted if task.corpus is not None else ()
    sums = {name: round(sum(row.score.values[name] for row in rows)) for name in counted}
    return _counts(rows, failed, queried) | sums


def _counts(rows: Sequence[Row[Any]], failed: int, queried: int) -> dict[str, int]:
    return {
        "samples": len(rows) + failed,
        "images": len({row.sample.cluster for row in rows}),
        "answered": len(rows),
        "asked now": queried,
        "unreadable": sum(not row.score.readable for row in rows),
        "truncated": sum(row.answer.truncated for row in rows),
        "failed": failed,
    }


def run(
    task: Task[Any],
    samples: Sequence[Sample[Any]],
    model: Model,
    spec: RunSpec,
    folder: RunFolder,
    root: Path,
    provenance: Mapping[str, Any],
    *,
    fresh: bool = False,
) -> Run:
    """The record of a run: queries questions without a stored answer, scores all answers, and computes the metrics.

    The record is written before querying and after scoring.  A finished run is returned unchanged if all answers are
    stored under the current questions and images.  It is scored again if the task has a variant in `marking` that the
    record lacks.  `fresh` discards stored answers.  `root` is the data root.

    UsageError if another process is running the same run; ResourceError if the disk is full.
    """
    with folder.locked():
        if fresh:
            folder.forget()
        before = folder.read_run()
        digests = digests_of(samples, model.fingerprint, root)
        if before is not None and before.finished and _all_answered(digests, folder):
            if set(task.marking) <= set(before.provenance.get("marking", ())):
                return before
            finished = conclude(task, samples, before, folder, _queried_before(before))
            folder.write_run(finished)
            return finished
        base = Run(
            schema=store.SCHEMA,
            id=store.run_id(spec),
            spec=spec,
            status="running",
            headline=task.headline,
            provenance=provenance,
        )
        folder.write_run(base)
        with tracking.run(f"{spec.task} {spec.split} {spec.model}", _facts(base)):
            queried = query(samples, model, folder, digests, fresh=fresh, task=task)
            base = store.with_status(base, provenance={**provenance, "model": model.provenance})
            finished = conclude(task, samples, base, folder, queried)
            folder.write_run(finished)
            tracking.log(_tracked(finished), len(samples))
            tracking.artifact(folder.path / "run.json")
    return finished


def _facts(record: Run) -> dict[str, Any]:
    """The identity of a run, for trackers."""
    return {"run": record.id, "harness": record.provenance.get("harness"), **asdict(record.spec)}


def _tracked(record: Run) -> dict[str, float]:
    """The numbers of a record, for trackers: metrics with the bounds of their intervals, counts and rates."""
    numbers: dict[str, float] = {}
    for name, each in record.metrics.items():
        bounds = {name: each.value, f"{name} low": each.low, f"{name} high": each.high}
        numbers |= {key: value for key, value in bounds.items() if value is not None}
    numbers |= {f"count/{name}": count for name, count in record.counts.items()}
    return numbers | {f"speed/{name}": value for name, value in record.timings.items() if isinstance(value, float)}


def ask(
    samples: Sequence[Sample[Any]],
    model: Model,
    spec: RunSpec,
    folder: RunFolder,
    root: Path,
    provenance: Mapping[str, Any],
    headline: str,
    *,
    fresh: bool = False,
) -> Run:
    """The record of a shard of a run: as `run`, but without scoring, which needs the other shards.

    `samples` are the shard's, and `spec` is that of the whole run.
    """
    with folder.locked():
        if fresh:
            folder.forget()
        before = folder.read_run()
        digests = digests_of(samples, model.fingerprint, root)
        if before is not None and before.finished and _all_answered(digests, folder):
            return before
        base = Run(
            schema=store.SCHEMA, id=store.run_id(spec), spec=spec, status="running", headline=headline,
            provenance=provenance,
        )  # fmt: skip
        folder.write_run(base)
        queried = query(samples, model, folder, digests, fresh=fresh)
        answers = kept_answers(samples, folder, spec.fingerprint)
        rows = answered([sample for sample in samples if sample.id in answers], answers)
        failures = {"failures": dict(list(queried.failures.items())[:100])} if queried.failures else {}
        finished = store.with_status(
            base,
            status="incomplete" if failures else "partial",
            counts=_counts(rows, len(queried.failures), queried.count),
            timings={**queried.timings, **latency(answers.values())},
            provenance={**provenance, "model": model.provenance, **failures},
        )
        folder.write_run(finished)
    return finished


def gather(samples: Sequence[Sample[Any]], fingerprint: str, folder: RunFolder, parts: Sequence[RunFolder]) -> int:
    """Copies the answers to these samples from other folders into a run's; returns how many were there already.

    The first answer to a question counts.  The caller holds the lock of `folder`.  Images are not compared.
    """
    keys = {sample.id: digests(sample.question, fingerprint, "") for sample in samples}
    kept = {name for name, answer in folder.answers().items() if is_answer_to(answer, keys.get(name, ()))}
    twice = 0
    with folder.appending() as appender:
        for part in parts:
            for name, answer in part.answers().items():
                if name not in keys or not is_answer_to(answer, keys[name]):
                    continue
                if name in kept:
                    twice += 1
                    continue
                appender.write(answer)
                kept.add(name)
    return twice


def _all_answered(digests: Mapping[str, Sequence[str]], folder: RunFolder) -> bool:
    kept = folder.answers()
    return all(is_answer_to(kept.get(name), keys) for name, keys in digests.items())


def _queried_before(record: Run) -> Queried:
    """The counts and timings of a record, for scoring its answers again."""
    return Queried(record.counts.get("asked now", 0), {}, record.timings)


def adopt(
    task: Task[Any],
    samples: Sequence[Sample[Any]],
    answers: MutableMapping[str, Answer],
    spec: RunSpec,
    folder: RunFolder,
    provenance: Mapping[str, Any],
) -> Run:
    """The record of answers from another program: stores them, scores them, and replaces the folder's earlier run.

    An answer leaves `answers` when it is stored: scoring reads it from the folder, and memory holds it once.

    DataError if a sample has no answer.
    """
    base = Run(schema=store.SCHEMA, id=store.run_id(spec), spec=spec, status="running", headline=task.headline)
    base = store.with_status(base, provenance=provenance)
    with folder.locked():
        folder.forget()
        with folder.appending() as appender:
            appender.write_all(
                Kept(sample.id, question_digest(sample.question, spec.fingerprint, ""), answers.pop(sample.id))
                for sample in samples
                if sample.id in answers
            )
        finished = conclude(task, samples, base, folder, Queried(0, {}, {}))
        folder.write_run(finished)
    return finished


def remark(
    task: Task[Any], samples: Sequence[Sample[Any]], record: Run, folder: RunFolder, now: Mapping[str, Any]
) -> tuple[Run, RunFolder]:
    """Scores stored answers again; the new record and its folder.

    The folder is another one if the task's version has been raised since; the old record is kept.  `now` is the
    provenance of scoring; its date, command and commit are added to the record as "marked again".

    DataError if an answer is missing.
    """
    spec = replace(record.spec, version=task.version)
    target = RunFolder(folder.path.parent / store.run_id(spec))
    target.inherit(spec)
    folder = folder if folder.path.is_dir() else target
    scored = {key: now[key] for key in ("date", "command", "commit") if key in now}
    of_data = {key: now[key] for key in ("excluded", "notes") if key in now}
    provenance = {**record.provenance, **of_data, "marked again": scored}
    base = replace(record, spec=spec, id=store.run_id(spec), headline=task.headline, provenance=provenance)
    with target.locked():
        if target.path != folder.path:
            target.forget()
            with target.appending() as appender:
                appender.write_all(folder.answers().values())
        finished = conclude(task, samples, base, target, _queried_before(record))
        target.write_run(finished)
    return finished, target


def conclude(task: Task[Any], samples: Sequence[Sample[Any]], base: Run, folder: RunFolder, queried: Queried) -> Run:
    """The record after querying: scores the stored answers, writes the scores, and computes counts and metrics.

    With failures the record is incomplete: it has counts and up to 100 failures, but no metrics.  Without targets it
    has no metrics either.
    """
    answers = kept_answers(samples, folder, base.spec.fingerprint)
    if queried.failures:
        rows = mark(task, [sample for sample in samples if sample.id in answers], answers)
        failures = {"failures": dict(list(queried.failures.items())[:100])}
        return store.with_status(
            base,
            status="incomplete",
            counts=counts(task, rows, len(queried.failures), queried.count) | _excluded(base),
            timings=queried.timings,
            provenance={**base.provenance, **failures},
        )
    timings = {**queried.timings, **latency(answers.values())}
    if all(sample.target is None for sample in samples):
        return _without_targets(samples, base, queried, answers, timings)
    rows = mark(task, samples, answers)
    folder.write_scores((row.sample.id, row.score) for row in rows)
    scored = store.with_status(
        base,
        provenance={**base.provenance, **_method(task, rows, base.spec.seed)},
        status="complete" if base.spec.limit is None else "partial",
        metrics=reduce(task, rows, base.spec.seed),
        counts=counts(task, rows, 0, queried.count) | _excluded(base),
        timings=timings,
    )
    return store.sealed(scored)


def _without_targets(
    samples: Sequence[Sample[Any]],
    base: Run,
    queried: Queried,
    answers: Mapping[str, Answer],
    timings: Mapping[str, Any],
) -> Run:
    """The record on a split whose targets are not published: answers to submit, counts, and no metrics."""
    return store.with_status(
        base,
        status="complete" if base.spec.limit is None else "partial",
        counts=_counts(answered(samples, answers), 0, queried.count) | _excluded(base),
        timings=timings,
    )


def _excluded(base: Run) -> dict[str, int]:
    """The count of samples that are not evaluated, if there are any."""
    return {"excluded": base.provenance["excluded"]} if base.provenance.get("excluded") else {}


def _method(task: Task[Any], rows: Sequence[Row[Any]], seed: int) -> dict[str, Any]:
    """The part of the provenance that describes scoring, with the remarks on this result."""
    strata = ", separately for each data set" if task.intervals.stratified else ""
    intervals = f"bootstrap, {task.intervals.resamples} resamples of images{strata}, seed {seed}: {METHODS}"
    method: dict[str, Any] = {
        "intervals": intervals if task.intervals.resamples else "none",
        "marking": list(task.marking),
    }
    method |= {"policy": task.corpus.policy} if task.corpus is not None and task.corpus.policy else {}
    return method | {"remarks": list(task.remarks(rows))}
