"""Query, store, score, reduce: nothing is queried twice, left incomplete, or left out."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import images, runner
from harness.core import (
    Answer,
    Box,
    Estimate,
    Mask,
    Phrase,
    Question,
    Row,
    Run,
    RunSpec,
    Sample,
    Score,
    Size,
    Source,
    Text,
)
from harness.data import pack
from harness.errors import DataError, ResourceError, UsageError
from harness.metrics.reduce import mean
from harness.store import Kept, RunFolder
from tests import toy
from tests.packed import FOLDER, write_images

ROOT = Path(__file__).parents[2]
KILLS = 20


def start(folder: Path, pause: float) -> subprocess.Popen[str]:
    """The toy run in a process of its own, with `pause` seconds for each question."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.toy", str(folder), str(pause)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def lines_of(log: Path) -> int:
    """The number of complete lines of a log, 0 if it does not exist."""
    return log.read_text().count("\n") if log.exists() else 0


def test_run_killed_twenty_times_queries_again_only_what_was_in_flight(tmp_path: Path) -> None:
    """The model answers one question at a time, so a kill costs at most one question.

    A kill comes after the first question of a process, and up to 0.12 s later: on average after 2.2 of the 60 questions
    of 0.05 s each.  So most kills come before the end, also if the machine is slower than its clock.
    """
    log = tmp_path / "asked.log"
    random_ = random.Random(0)
    killed_in_progress = 0
    for _ in range(KILLS):
        before = lines_of(log)
        with start(tmp_path, 0.05) as process:
            deadline = time.monotonic() + 120
            while process.poll() is None and time.monotonic() < deadline and lines_of(log) <= before:
                time.sleep(0.005)
            time.sleep(random_.uniform(0, 0.12))
            killed_in_progress += process.poll() is None
            process.send_signal(signal.SIGKILL)
    with start(tmp_path, 0.0) as process:
        output, _ = process.communicate(timeout=120)
    assert output.strip() == "complete"
    assert killed_in_progress >= KILLS / 2

    queried = Counter(log.read_text().split())
    assert set(queried) == {str(number) for number in range(60)}
    assert queried.total() <= 60 + KILLS
    folder = toy.folder(tmp_path / "results", toy.spec(toy.task()))
    lines = [json.loads(line) for line in (folder.path / "answers.jsonl").read_text().splitlines()]
    assert Counter(line["id"] for line in lines) == Counter(str(number) for number in range(60))
    record = folder.read_run()
    assert record is not None
    assert record.metrics == toy.go(tmp_path / "uninterrupted", toy.Counting()).metrics


def test_finished_run_queries_nothing_and_returns_its_record(tmp_path: Path) -> None:
    first, second = toy.Counting(wrong=(3,)), toy.Counting()
    record = toy.go(tmp_path, first)
    assert record.status == "complete"
    assert record.metrics["accuracy"].value == pytest.approx(100 * 59 / 60)
    assert toy.go(tmp_path, second) == record
    assert (len(first.asked), second.asked) == (60, [])
    assert record.counts == {
        "samples": 60, "images": 20, "answered": 60, "asked now": 60, "unreadable": 0, "truncated": 0, "failed": 0,
    }  # fmt: skip


def test_fresh_run_queries_everything_again(tmp_path: Path) -> None:
    toy.go(tmp_path, toy.Counting(wrong=range(60)))
    again = toy.Counting()
    assert toy.go(tmp_path, again, fresh=True).metrics["accuracy"].value == 100
    assert len(again.asked) == 60


def test_failed_question_leaves_no_headline_and_is_queried_again(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting(bad="4.png"))
    assert record.status == "incomplete"
    assert not record.metrics
    assert record.counts["failed"] == 3
    assert record.counts["answered"] == 57
    assert set(record.provenance["failures"]) == {"12", "13", "14"}
    mended = toy.Counting()
    assert toy.go(tmp_path, mended).metrics["accuracy"].n == 60
    assert mended.asked == ["12", "13", "14"]


def test_answers_of_limited_run_are_reused_by_the_whole_run(tmp_path: Path) -> None:
    limited = toy.Counting()
    record = toy.go(tmp_path, limited, limit=5)
    assert (record.status, record.counts["images"], len(limited.asked)) == ("partial", 5, 15)
    rest = toy.Counting()
    assert toy.go(tmp_path, rest).status == "complete"
    assert sorted(limited.asked + rest.asked, key=int) == [str(number) for number in range(60)]  # each once


def test_new_version_of_task_queries_nothing(tmp_path: Path) -> None:
    toy.go(tmp_path, toy.Counting())
    later = toy.Counting()
    record = toy.go(tmp_path, later, task_=toy.task(version=2))
    assert (record.spec.version, record.metrics["accuracy"].value, later.asked) == (2, 100, [])


def test_remark_under_new_version_writes_a_new_folder_with_equal_metrics(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting(wrong=(0, 1)))
    task = toy.task(version=2)
    samples = list(task.load(Source(tmp_path, "val")))
    folder = toy.folder(tmp_path, record.spec)
    again, where = runner.remark(task, samples, record, folder, {"date": "today"})
    assert again.metrics == record.metrics
    assert (again.spec.version, where.path.parent) == (2, folder.path.parent)
    assert where.path != folder.path
    assert again.provenance["marked again"] == {"date": "today"}


def test_changed_question_or_image_is_queried_again(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "7.png").write_bytes(b"some pixels")
    toy.go(results, toy.Counting())
    (results / "7.png").write_bytes(b"other pixels")
    again = toy.Counting()
    assert toy.go(results, again).status == "complete"  # although it was complete before
    assert again.asked == ["21", "22", "23"]
    (results / "7.png").unlink()  # answers about a missing image stay valid
    later = toy.Counting()
    assert (toy.go(results, later).status, later.asked) == ("complete", [])

    def reworded(source: Source) -> Iterator[Sample[Text]]:
        for sample in toy.load(source):
            yield replace(sample, question=replace(sample.question, text=f"{sample.question.text} please"))

    last = toy.Counting()
    record = toy.go(results, last, task_=replace(toy.task(), load=reworded))
    assert (record.status, len(last.asked)) == ("complete", 60)
    folder = toy.folder(results, record.spec)
    with pytest.raises(DataError, match="60 of 60 samples have no answer to their current question"):
        runner.remark(toy.task(), list(toy.load(Source(results, "val"))), record, folder, {})


def test_finished_run_is_scored_again_for_a_new_variant_only(tmp_path: Path) -> None:
    first = toy.go(tmp_path, toy.Counting(wrong=(0, 1)))
    extended = replace(toy.task(), metrics={"accuracy": toy.task().metrics["accuracy"], "second": mean("right")})
    assert toy.go(tmp_path, toy.Counting(), task_=extended) == first  # `marking` is unchanged
    silent = toy.Counting()
    again = toy.go(tmp_path, silent, task_=replace(extended, marking=("variant",)))
    assert (silent.asked, set(again.metrics) - set(first.metrics)) == ([], {"second"})
    assert again.provenance["marking"] == ["variant"]
    assert again.timings == first.timings
    assert toy.go(tmp_path, silent, task_=toy.task()) == again  # the record has every variant of this task


def test_mark_with_missing_answer_raises() -> None:
    samples = list(toy.load(Source(Path(), "val"), count=3))
    with pytest.raises(DataError, match="1 of 3 samples have no answer"):
        runner.mark(toy.task(), samples, {"0": Answer(("0",), Text(("0",))), "2": Answer(("2",), None)})


def test_run_in_progress_refuses_a_second_process(tmp_path: Path) -> None:
    with start(tmp_path, 0.2) as process:
        while process.poll() is None and not lines_of(tmp_path / "asked.log"):
            time.sleep(0.01)
        with pytest.raises(UsageError, match="another process is running this very run"):
            toy.go(tmp_path / "results", toy.Counting())
        process.kill()


def test_full_disk_keeps_earlier_answers(tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: a write fails in the middle of a line."""
    toy.go(tmp_path / "whole", toy.Counting())
    size = (toy.folder(tmp_path / "whole", toy.spec(toy.task())).path / "answers.jsonl").stat().st_size
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size * 2 // 3, limits[1]))
    try:
        with pytest.raises(ResourceError, match="earlier answers are kept"):
            toy.go(tmp_path / "full", toy.Counting())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    rest = toy.Counting()
    record: Run = toy.go(tmp_path / "full", rest)
    assert record.metrics["accuracy"].value == 100
    assert 0 < len(rest.asked) <= 22  # a third of 60, and the answers of incomplete lines


@pytest.mark.parametrize("limit", [0, -3])
def test_choose_of_less_than_one_image_raises(limit: int) -> None:
    with pytest.raises(UsageError, match="at least one image"):
        runner.choose(list(toy.load(Source(Path(), "val"))), limit, 0)


def test_choose_depends_on_the_seed_and_keeps_whole_images() -> None:
    samples = list(toy.load(Source(Path(), "val")))
    first, same, other = (runner.choose(samples, 5, seed) for seed in (1, 1, 2))
    assert first == same != other
    assert len({sample.cluster for sample in first}) == 5
    assert len(runner.choose(samples, 999, 0)) == 60


def test_question_digest_differs_for_other_kind_text_fingerprint_or_image() -> None:
    question = Question("1.png", None, "refer", "a dog")
    same = runner.question_digest(question, "model", "pixels")
    others = [
        runner.question_digest(Question("1.png", None, "segment", "a dog"), "model", "pixels"),
        runner.question_digest(Question("1.png", None, "refer", "a cat"), "model", "pixels"),
        runner.question_digest(question, "another", "pixels"),
        runner.question_digest(question, "model", "others"),
    ]
    assert runner.question_digest(question, "model", "pixels") == same
    assert same not in others


def test_question_digest_without_region_is_that_of_older_versions() -> None:
    """Otherwise stored answers would be queried again."""
    phrases = (Phrase("a dog", 0, 5), Phrase("cats", said="cats of all kinds"))
    question = Question("1.png", Size(640, 480), "find", text="a dog", phrases=phrases)
    hashed = (
        "('find', 'a dog', (Phrase(text='a dog', start=0, end=5, said=''), "
        "Phrase(text='cats', start=0, end=0, said='cats of all kinds')), '1.png', 'model')"
    )
    expected = f"{hashlib.sha256(hashed.encode()).hexdigest()[:12]}:0123456789ab"
    assert runner.question_digest(question, "model", "0123456789abcdef") == expected


def test_question_digest_differs_for_other_region() -> None:
    def digest(region: Box | None) -> str:
        return runner.question_digest(Question("1.png", None, "name", region=region), "model", "pixels")

    regions: list[Box | None] = [None, (1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.5), (2.0, 1.0, 3.0, 4.0)]
    assert len({digest(region) for region in regions}) == len(regions)
    same = digest((1.0, 2.0, 3.0, 4.0))
    assert digest((1, 2, 3, 4)) == same  # integers, as a file may contain
    assert digest(tuple(np.array([1.0, 2.0, 3.0, 4.0]))) == same


def test_image_digests_are_equal_from_folder_and_from_store(tmp_path: Path) -> None:
    """A corrupt store stops a run; a missing image does not."""
    files = write_images(tmp_path)
    gone = f"{FOLDER}/gone.jpg"
    samples: list[Sample[Text]] = [Sample(name, Question(name, None, "caption"), None, name) for name in (*files, gone)]
    expected = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} | {gone: "missing"}
    assert runner.image_digests(tmp_path, samples) == expected
    data = pack.pack(tmp_path, files, folder=FOLDER).path / "data.mdb"
    shutil.rmtree(tmp_path / FOLDER)
    assert runner.image_digests(tmp_path, samples) == expected
    images.release(data.parent)
    os.truncate(data, 9000)
    with pytest.raises(DataError, match="is truncated"):
        runner.image_digests(tmp_path, samples)


def test_contradiction_names_both_numbers_and_the_remedy() -> None:
    """Of two samples with the scores 1 and 0, the mean is 50 percent."""
    task = replace(toy.task(), metrics={"hit": mean("hit")}, headline="hit")
    samples = [
        Sample(str(place), Question(f"{place}.png", Size(9, 9), "vqa"), Text(("a",)), f"{place}") for place in range(2)
    ]
    rows = [
        Row(sample, Answer(("a",), Text(("a",))), Score({"hit": float(place)})) for place, sample in enumerate(samples)
    ]
    spec = RunSpec(data="d", data_hash="h", task="t", version=task.version, split="val", model="m", fingerprint="f")
    run = Run(schema=2, id="7", spec=spec, status="complete", headline="hit")
    for value, expected in (
        (50.0, ""),
        (50.0000001, ""),
        (51.0, "says hit 51, "),
        (None, "says hit an undefined value, "),
    ):
        record = replace(run, metrics={"hit": Estimate(value, None, None, 2)})
        problem = runner.contradiction(task, record, rows)
        assert expected in problem and bool(problem) == bool(expected)
        if problem:
            assert problem.endswith("but its kept answers give 50; `score 7` writes the record again")
    assert runner.contradiction(task, replace(run, metrics={}), rows) == ""
    other = replace(run, spec=replace(spec, version=99), metrics={"hit": Estimate(1.0, None, None, 2)})
    assert runner.contradiction(task, other, rows) == ""  # scored by another version of the task


@pytest.mark.parametrize(("mask", "kept"), [
    (Mask(Size(2, 2), b"04"), True),  # COCO's code of no empty pixel and four filled ones
    (Mask(Size(4, 4), b"04"), False),  # of another image
    (Mask(Size(2, 2), b"0T4"), False),  # more pixels than the image has
    (Mask(Size(2, 2), b"~"), False),
])  # fmt: skip
def test_damaged_mask_is_not_an_answer(tmp_path: Path, mask: Mask, kept: bool) -> None:
    """pycocotools decodes such a code unchecked, so it must not reach scoring."""
    sample = Sample("1", Question("x.png", Size(2, 2), "segment", text="it"), None, "x")
    folder = RunFolder(tmp_path)
    with folder.locked(), folder.appending() as appender:
        appender.write(Kept("1", runner.question_digest(sample.question, "f", ""), Answer(("x",), mask)))
    assert list(runner.kept_answers([sample], folder, "f")) == (["1"] if kept else [])


def test_image_digest_of_a_question_about_a_text_is_empty_and_its_answer_is_kept(tmp_path: Path) -> None:
    question = Question("", None, "embed", text="a dog")
    assert runner.image_digests(tmp_path, [Sample("1", question, None, "a.png")]) == {"": ""}
    keys = runner.digests(question, "m", "")
    assert keys[0].endswith(":") and runner.is_answer_to(Kept("1", keys[0], Answer(("",), None)), keys)
    others = runner.digests(replace(question, text="a cat"), "m", "")
    assert not runner.is_answer_to(Kept("1", keys[0], Answer(("",), None)), others)
