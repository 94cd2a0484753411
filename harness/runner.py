"""Ask, keep, mark, reduce.

Questions already answered (under the same digest of what was asked) are not asked again; answers are kept as they
come; marking reads only what was kept.  A failed question (a corrupt image, say) leaves the run incomplete, with no
headline, and is asked again next time.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import math
import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from harness import store
from harness.core import Answer, Estimate, Failure, Model, Question, Row, Run, RunSpec, Sample, Score, Task, Ticket
from harness.errors import DataError, ModelError, UsageError
from harness.images import MissingImage, read_bytes
from harness.migrations import former_fingerprint, is_of_unknown_code
from harness.statistics import estimate
from harness.store import Appender, Kept, RunFolder
from harness.timings import Clock, latency

MISSING = "missing"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking: how many were asked anew, why some failed, and how long answers took."""

    asked: int
    failures: Mapping[str, str]
    timings: Mapping[str, Any]


def choose(samples: Sequence[Sample[Any]], limit: int | None, seed: int) -> list[Sample[Any]]:
    """All samples, or those of `limit` images drawn with the seed, in their own order."""
    if limit is None:
        return list(samples)
    if limit < 1:
        raise UsageError(f"--limit {limit}: a run asks about at least one image")
    clusters = sorted({sample.cluster for sample in samples})
    chosen = set(random.Random(seed).sample(clusters, min(limit, len(clusters))))
    return [sample for sample in samples if sample.cluster in chosen]


def question_digest(question: Question, fingerprint: str, image: str) -> str:
    """Digests of the question with the model's fingerprint, and of the image's pixels (`image`), 12 letters each.

    A region is part of the question.  A question without one has the digest that it had before there were regions, so
    answers that were kept then stay valid.
    """
    asked: tuple[object, ...] = (question.kind, question.text, question.phrases, question.image_name, fingerprint)
    if question.region is not None:
        asked = (*asked, tuple(map(float, question.region)))
    return f"{hashlib.sha256(repr(asked).encode()).hexdigest()[:12]}:{image[:12]}"


def digests(question: Question, fingerprint: str, image: str) -> tuple[str, ...]:
    """The digests of a question: the current one, then that under which an earlier version kept the same answer."""
    fingerprints = dict.fromkeys((fingerprint, former_fingerprint(fingerprint)))
    return tuple(question_digest(question, one, image) for one in fingerprints)


def is_answer_to(kept: Kept | None, asked: Sequence[str]) -> bool:
    """Whether a kept answer is to this very question (its `digests`).

    Where the image is gone, the same words about an image of that name are enough.
    """
    if kept is None or kept.asked in asked:
        return kept is not None
    words = kept.asked.partition(":")[0]
    return any(image in ("", MISSING) and words == question for question, _, image in (d.partition(":") for d in asked))


def image_digests(root: Path, samples: Sequence[Sample[Any]]) -> dict[str, str]:
    """sha256 of the bytes of every image asked about (MISSING where it is not there: asking will say so)."""
    digests: dict[str, str] = {}
    for sample in tqdm(samples, "hashing images", disable=None, leave=False):
        image = sample.question.image_name
        if image not in digests:
            try:
                digests[image] = hashlib.sha256(read_bytes(root, image)).hexdigest()
            except MissingImage:
                digests[image] = MISSING
    return digests


def digests_of(samples: Sequence[Sample[Any]], fingerprint: str, root: Path) -> dict[str, tuple[str, ...]]:
    """The `digests` of every sample's question, by sample id."""
    images = image_digests(root, samples)
    return {s.id: digests(s.question, fingerprint, images[s.question.image_name]) for s in samples}


def ask(
    samples: Sequence[Sample[Any]],
    model: Model,
    folder: RunFolder,
    digests: Mapping[str, Sequence[str]],
    *,
    fresh: bool = False,
) -> Asked:
    """Asks whatever has no kept answer, keeping each answer as it comes; may be killed at any moment.

    An answer that another run of this folder's model keeps to the very same question (another limit, or another
    version of the task) is taken over, unless `fresh`.  ResourceError where the disk is full.
    """
    with folder.appending() as appender:
        kept = folder.answers()
        todo = [s for s in samples if not is_answer_to(kept.get(s.id), digests[s.id])]
        if todo and not fresh:
            todo = _take_over(todo, digests, folder, appender)
        failures: dict[str, str] = {}
        clock = Clock()
        progress = tqdm(
            total=len(samples), initial=len(samples) - len(todo), desc="asking", unit="answer", disable=None
        )
        with progress:
            for ticket, answer in _contracted(model.answer(enumerate(s.question for s in todo)), len(todo)):
                sample = todo[ticket]
                if isinstance(answer, Failure):
                    failures[sample.id] = answer.reason
                    progress.write(f"{sample.id}: {answer.reason}", file=sys.stderr)
                else:
                    appender.write(Kept(sample.id, digests[sample.id][0], answer))
                    clock.answered(answer)
                progress.update()
    asked = Asked(len(todo), failures, clock.timings(len({s.question.image_name for s in todo})))
    _give_back_memory()
    return asked


def _contracted(
    answers: Iterable[tuple[Ticket, Answer | Failure]], questions: int
) -> Iterator[tuple[Ticket, Answer | Failure]]:
    """A model's answers to tickets 0, 1, ...: one for each; ModelError where it gives anything else."""
    unanswered = set(range(questions))
    for ticket, answer in answers:
        if ticket not in unanswered:
            raise ModelError(f"the model answered ticket {ticket!r}, which was never given to it, or twice")
        if not isinstance(answer, Answer | Failure):
            raise ModelError(f"the model answered ticket {ticket} by {type(answer).__name__}: an Answer or a Failure")
        unanswered.remove(ticket)
        yield ticket, answer
    if unanswered:
        raise ModelError(f"the model left {len(unanswered)} of {questions} questions without an answer or a Failure")


def _give_back_memory() -> None:
    """What was freed and glibc keeps, so that marking does not come on top of asking."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def _take_over(
    todo: Sequence[Sample[Any]], digests: Mapping[str, Sequence[str]], folder: RunFolder, appender: Appender
) -> list[Sample[Any]]:
    """Writes what other runs keep to the same questions; what is left to ask."""
    left = list(todo)
    for sibling in folder.siblings():
        theirs = sibling.answers()
        record = sibling.read_run() if theirs else None
        if record is not None and is_of_unknown_code(record.spec.fingerprint):
            log.warning(
                "the answers in %s are of harness %s, whose answers have no version: they are not reused",
                sibling.path, record.provenance.get("harness", "(unknown)"),
            )  # fmt: skip
        found = {s.id for s in left if is_answer_to(theirs.get(s.id), digests[s.id])}
        for name in found:
            appender.write(replace(theirs[name], asked=digests[name][0]))
        left = [s for s in left if s.id not in found]
    return left


def kept_answers(samples: Sequence[Sample[Any]], folder: RunFolder, fingerprint: str) -> dict[str, Answer]:
    """The kept answers to these samples, as they are asked now; whether an image has changed is not looked at."""
    kept = folder.answers()
    wanted = {sample.id: digests(sample.question, fingerprint, "") for sample in samples}
    return {name: kept[name].answer for name, asked in wanted.items() if is_answer_to(kept.get(name), asked)}


def answered(samples: Sequence[Sample[Any]], answers: Mapping[str, Answer]) -> list[Row[Any]]:
    """Every sample with its answer, not marked; DataError where an answer is missing."""
    missing = [sample.id for sample in samples if sample.id not in answers]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(samples)} samples have no answer, or one to another question "
            f"({', '.join(missing[:3])}, ...); a smaller denominator is not an option: run it again"
        )
    return [Row(sample, answers[sample.id], Score({}, answers[sample.id].value is not None)) for sample in samples]


def mark(task: Task[Any], samples: Sequence[Sample[Any]], answers: Mapping[str, Answer]) -> list[Row[Any]]:
    """Every sample with its answer and score; DataError where an answer is missing."""
    rows = []
    for row in tqdm(answered(samples, answers), "marking", disable=None, leave=False):
        sample, answer = row.sample, row.answer
        score = task.score(sample, answer)
        if not all(math.isfinite(value) for value in score.values.values()):
            raise ValueError(f"{task.name} gave sample {sample.id} the score {dict(score.values)}")
        rows.append(Row(sample, answer, score))
    if task.corpus is None or not rows:
        return rows
    more = task.corpus.scores(rows)
    return [
        replace(row, score=replace(row.score, values={**numbers, **row.score.values}))
        for row, numbers in zip(rows, more, strict=True)
    ]


def reduce(task: Task[Any], rows: Sequence[Row[Any]], seed: int) -> dict[str, Estimate]:
    """Every metric of the task with its interval, and the shares of unreadable and truncated answers, in percent.

    The metrics in `by_group` are reported for each group of samples, as "metric group".
    """
    resamples = task.intervals.resamples
    metrics = {
        name: estimate(metric, rows, seed, stratified=task.intervals.stratified, resamples=resamples)
        for name, metric in task.metrics.items()
    }
    for group in groups_of(rows) if task.by_group else ():
        theirs = [row for row in rows if group in row.sample.groups]
        for name, metric in task.by_group.items():
            metrics[f"{name} {group}"] = estimate(metric, theirs, seed, resamples=resamples)
    for name, share in (
        ("unreadable", [not row.score.readable for row in rows]),
        ("truncated", [row.answer.truncated for row in rows]),
    ):
        metrics[name] = Estimate(100 * float(np.mean(share)), None, None, len(rows))
    return metrics


def so_far(task: Task[Any], record: Run, rows: Sequence[Row[Any]], samples: int) -> Run:
    """The record of a run that is still being asked, with its headline over what is answered, without an interval."""
    value = task.metrics[task.headline].prepare(rows)(np.ones(len({row.sample.cluster for row in rows})))
    headline = Estimate(float(value) if math.isfinite(value) else None, None, None, len(rows))
    counted = {**_counts(rows, 0, len(rows)), "samples": samples}
    return replace(record, metrics={task.headline: headline}, counts=counted)


def groups_of(rows: Sequence[Row[Any]]) -> list[str]:
    """Every group of the samples, in order of first appearance."""
    return list(dict.fromkeys(group for row in rows for group in row.sample.groups))


def counts(task: Task[Any], rows: Sequence[Row[Any]], failed: int, asked: int) -> dict[str, int]:
    """How many of each, for the record."""
    counted = task.corpus.counted if task.corpus is not None else ()
    more = {name: round(sum(row.score.values[name] for row in rows)) for name in counted}
    return _counts(rows, failed, asked) | more


def _counts(rows: Sequence[Row[Any]], failed: int, asked: int) -> dict[str, int]:
    return {
        "samples": len(rows) + failed,
        "images": len({row.sample.cluster for row in rows}),
        "answered": len(rows),
        "asked now": asked,
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
    """Asks what has not been asked, marks and reduces; the record is written before and after.

    A finished run whose answers are all there, and to these very questions, is a no-op that gives its record, or is
    marked again where the task now marks something more; `fresh` asks everything again.
    UsageError where another process is running the same run.
    """
    with folder.locked():
        if fresh:
            folder.forget()
        before = folder.read_run()
        digests = digests_of(samples, model.fingerprint, root)
        if before is not None and before.finished and _all_answered(digests, folder):
            if set(task.marking) <= set(before.provenance.get("marking", ())):
                return before
            finished = conclude(task, samples, before, folder, _as_before(before))
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
        asked = ask(samples, model, folder, digests, fresh=fresh)
        base = store.with_status(base, provenance={**provenance, "model": model.provenance})
        finished = conclude(task, samples, base, folder, asked)
        folder.write_run(finished)
    return finished


def _all_answered(digests: Mapping[str, Sequence[str]], folder: RunFolder) -> bool:
    kept = folder.answers()
    return all(is_answer_to(kept.get(name), asked) for name, asked in digests.items())


def _as_before(record: Run) -> Asked:
    return Asked(record.counts.get("asked now", 0), {}, record.timings)


def adopt(
    task: Task[Any],
    samples: Sequence[Sample[Any]],
    answers: Mapping[str, Answer],
    spec: RunSpec,
    folder: RunFolder,
    provenance: Mapping[str, Any],
) -> Run:
    """Keeps and marks answers that were made elsewhere."""
    base = Run(schema=store.SCHEMA, id=store.run_id(spec), spec=spec, status="running", headline=task.headline)
    base = store.with_status(base, provenance=provenance)
    with folder.locked():
        folder.forget()
        with folder.appending() as appender:
            for sample in samples:
                if sample.id in answers:
                    appender.write(
                        Kept(sample.id, question_digest(sample.question, spec.fingerprint, ""), answers[sample.id])
                    )
        finished = conclude(task, samples, base, folder, Asked(0, {}, {}))
        folder.write_run(finished)
    return finished


def remark(
    task: Task[Any], samples: Sequence[Sample[Any]], record: Run, folder: RunFolder, now: Mapping[str, Any]
) -> tuple[Run, RunFolder]:
    """Marks kept answers again, and where: beside the old record if the task's version has been raised since.

    `now` is what marks: it is kept beside the provenance of the asking.  DataError where an answer is missing.
    """
    spec = replace(record.spec, version=task.version)
    target = RunFolder(folder.path.parent / store.run_id(spec))
    target.inherit(spec)
    folder = folder if folder.path.is_dir() else target
    told = {**record.provenance, "marked again": {key: now[key] for key in ("date", "command", "commit") if key in now}}
    base = replace(record, spec=spec, id=store.run_id(spec), headline=task.headline, provenance=told)
    with target.locked():
        if target.path != folder.path:
            target.forget()
            with target.appending() as appender:
                for kept in folder.answers().values():
                    appender.write(kept)
        finished = conclude(task, samples, base, target, _as_before(record))
        target.write_run(finished)
    return finished, target


def conclude(task: Task[Any], samples: Sequence[Sample[Any]], base: Run, folder: RunFolder, asked: Asked) -> Run:
    """Marks what is kept; with failures, the counts alone."""
    answers = kept_answers(samples, folder, base.spec.fingerprint)
    if asked.failures:
        left = [sample for sample in samples if sample.id in answers]
        rows = mark(task, left, answers)
        failures = {"failures": dict(list(asked.failures.items())[:100])}
        return store.with_status(
            base,
            status="incomplete",
            counts=counts(task, rows, len(asked.failures), asked.asked),
            timings=asked.timings,
            provenance={**base.provenance, **failures},
        )
    timings = {**asked.timings, **latency(answers.values())}
    if all(sample.target is None for sample in samples):
        return _unmarked(samples, base, asked, answers, timings)
    rows = mark(task, samples, answers)
    folder.write_scores((row.sample.id, row.score) for row in rows)
    return store.with_status(
        base,
        provenance={**base.provenance, **_method(task, base.spec.seed)},
        status="complete" if base.spec.limit is None else "partial",
        metrics=reduce(task, rows, base.spec.seed),
        counts=counts(task, rows, 0, asked.asked),
        timings=timings,
    )


def _unmarked(
    samples: Sequence[Sample[Any]], base: Run, asked: Asked, answers: Mapping[str, Answer], timings: Mapping[str, Any]
) -> Run:
    """A run on a split whose targets the benchmark keeps: answers to submit, and no numbers."""
    return store.with_status(
        base,
        status="complete" if base.spec.limit is None else "partial",
        counts=_counts(answered(samples, answers), 0, asked.asked),
        timings=timings,
    )


def _method(task: Task[Any], seed: int) -> dict[str, Any]:
    """How it was marked, for the record."""
    apart = ", each data set's apart" if task.intervals.stratified else ""
    intervals = f"percentile bootstrap, {task.intervals.resamples} resamples of images{apart}, seed {seed}"
    told: dict[str, Any] = {"intervals": intervals, "marking": list(task.marking)}
    return told | ({"policy": task.corpus.policy} if task.corpus is not None and task.corpus.policy else {})
