"""Asking: what is kept, what is asked again and what never, and models that fail or break their contract."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from harness import progress, tracking
from harness.core import Answer, Boxes, Failure, Match, Question, Text, Ticket
from harness.data_engine import tables
from harness.data_engine.annotate import TRIES, Specialist, annotate
from harness.data_engine.costs import costs
from harness.data_engine.filtering import filter_annotations
from harness.data_engine.images import read_row
from harness.data_engine.recipes import Recipe, fld, stage
from harness.data_engine.shards import Engine
from harness.errors import DataError, ModelError
from tests.harness.data_engine.engines import drawn
from tests.tracked import sent


class Scripted:
    """Answers each question by a function, and lists what it was asked."""

    def __init__(self, reply: Any = None, fingerprint: str = "scripted") -> None:
        self.reply = reply or (lambda question: Answer(("cat",), Boxes(((1.0, 2.0, 30.0, 40.0),), ("cat",), (0.9,))))
        self.fingerprint = fingerprint
        self.provenance: dict[str, Any] = {}
        self.asked: list[str] = []

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            self.asked.append(question.image_name)
            yield ticket, self.reply(question)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    list(drawn(tmp_path / "photos", 5))
    return tmp_path / "photos"


def made(root: Path, recipe: Recipe | None = None) -> Engine:
    images = [read_row(root, path.name) for path in sorted(root.iterdir())]
    return Engine.create(root.parent / "engine", images, recipe or Recipe(name="test"), str(root), shard=2)


def specialist(model: Scripted, kind: Any = "detect", name: str = "one") -> Specialist:
    return Specialist(kind, name, model)


def digest_of(engine: Engine, part: str = "raw") -> str:
    """A digest over the rows of all raw or told files, whatever pyarrow wrote."""
    form: tables.Form = "annotations" if part == "raw" else "told"
    paths = sorted(engine.path.glob(f"round*/{part}/*.parquet"))
    return tables.rows_digest(row for path in paths for row in tables.read(path, form))


def test_answers_become_raw_annotations_of_their_origin(root: Path) -> None:
    engine, model = made(root), Scripted()
    counts = annotate(engine, specialist(model), root)
    assert (counts.questions, counts.asked, counts.annotations, counts.failed, counts.unreadable) == (5, 5, 5, 0, 0)
    (origin,) = engine.origins.values()
    assert (origin.kind, origin.name, origin.fingerprint, origin.round) == ("specialist", "one", "scripted", 0)
    for record in engine.records():
        (region,) = record.annotations
        assert (region.image, region.origin, region.score) == (record.image.sha256, origin.id, 0.9)
    assert [row["raw"] for row in engine.answers(0)] == [["cat"]] * 5
    assert list((engine.path / "round0/asking").iterdir()) == []


def test_same_command_asks_nothing_again_and_rewrites_nothing(root: Path) -> None:
    engine = made(root)
    annotate(engine, specialist(Scripted()), root)
    before = {path: path.stat().st_mtime_ns for path in engine.path.rglob("*.parquet")}
    again = Scripted()
    counts = annotate(engine, specialist(again), root)
    assert (again.asked, counts.questions, counts.asked) == ([], 5, 0)
    assert {path: path.stat().st_mtime_ns for path in engine.path.rglob("*.parquet")} == before


def test_other_model_and_other_categories_are_asked_beside_what_is_there(root: Path) -> None:
    engine = made(root)
    annotate(engine, specialist(Scripted()), root)
    other = Scripted(fingerprint="other")
    annotate(engine, specialist(other, name="other"), root)
    assert len(other.asked) == 5
    assert [len(record.annotations) for record in engine.records()] == [2] * 5
    named = made(root, Recipe(name="test", categories=("cat",)))
    third = Scripted()
    annotate(named, specialist(third), root)
    assert len(third.asked) == 5  # the question is another one
    assert [len(record.annotations) for record in named.records()] == [2] * 5  # and its answer the same assertion


def test_licence_that_is_established_later_asks_nothing_again(root: Path) -> None:
    engine = made(root)
    annotate(engine, specialist(Scripted()), root)
    again = Scripted()
    counts = annotate(engine, Specialist("detect", "one", again, licence="MIT"), root)
    assert (again.asked, counts.questions, len(engine.origins)) == ([], 5, 1)
    other = Scripted(fingerprint="other")
    annotate(engine, Specialist("detect", "other", other, licence="MIT"), root)
    assert [origin.licence for origin in engine.origins.values()] == ["", "MIT"]


def test_similarity_that_is_no_number_is_a_failure_and_the_region_keeps_its_texts(root: Path) -> None:
    """The similarity of each label is not a number, that of each brief text is 0.5."""
    recipe = Recipe(name="test", stages=(stage("boxes", {}), stage("choice", {})))
    engine = made(root, recipe)
    annotate(engine, specialist(Scripted()), root)
    annotate(engine, specialist(Scripted(lambda _: Answer(("",), Text(("a cat",))), "d"), "describe"), root)

    def reply(question: Question) -> Answer:
        return Answer(("",), Match(float("nan") if question.text == "cat" else 0.5))

    counts = annotate(engine, specialist(Scripted(reply, "m"), "match"), root)
    assert (counts.questions, counts.failed) == (10, 5)
    assert all("cannot be kept" in reason for reason in counts.reasons)
    filter_annotations(engine)
    for record in engine.records():
        assert [each.value for each in record.kept("text")] == [Text(("a cat",))]
        assert [numbers.get("similarity") for numbers in record.measures.values()] == [None, 0.5]


def test_failure_is_asked_three_times_and_then_final(root: Path) -> None:
    def reply(question: Question) -> Answer | Failure:
        return Failure("too dark") if question.image_name == "001.png" else Answer(("",), Boxes(()))

    engine, model = made(root), Scripted(reply)
    counts = annotate(engine, specialist(model), root)
    assert model.asked.count("001.png") == TRIES
    assert (counts.failed, counts.reasons) == (1, {"too dark": 1})
    (row,) = (row for row in engine.answers(0) if row["failure"])
    assert (row["failure"], row["tries"], row["readable"]) == ("too dark", 3, False)
    again = Scripted(reply)
    assert annotate(engine, specialist(again), root).failed == 1
    assert again.asked == []


def test_time_of_asking_is_kept_and_changes_no_digest(root: Path) -> None:
    """Five images in shards of two; one image fails three times, so three lines are of its shard."""

    def reply(question: Question) -> Answer | Failure:
        return Failure("too dark") if question.image_name == "001.png" else Answer(("",), Boxes(()))

    engine = made(root)
    annotate(engine, specialist(Scripted(reply)), root)
    lines = [json.loads(line) for line in (engine.path / "costs.jsonl").read_text().splitlines()]
    assert [(line["shard"], line["images"], line["questions"]) for line in lines] == [
        (0, 2, 2), (0, 0, 1), (0, 0, 1), (1, 2, 2), (2, 1, 1),
    ]  # fmt: skip
    (cost,) = costs(engine.path, engine.origins)
    assert (cost.kind, cost.origin, cost.images, cost.questions) == ("detect", "one", 5, 7)
    before = digest_of(engine)
    (engine.path / "costs.jsonl").write_text("damaged\n")
    assert annotate(engine, specialist(Scripted(reply)), root).asked == 0
    assert digest_of(engine) == before and costs(engine.path, engine.origins) == ()


def test_failure_that_passes_has_an_answer_and_its_tries(root: Path) -> None:
    tries: list[str] = []

    def reply(question: Question) -> Answer | Failure:
        tries.append(question.image_name)
        return Failure("busy") if tries.count(question.image_name) == 1 else Answer(("",), Boxes(()))

    engine = made(root)
    counts = annotate(engine, specialist(Scripted(reply)), root)
    assert counts.failed == 0
    assert {row["tries"] for row in engine.answers(0)} == {2}


def test_specialist_that_fails_on_every_image_is_an_error_and_nothing_is_final(root: Path) -> None:
    list(drawn(root, 9))
    images = [read_row(root, path.name) for path in sorted(root.iterdir())]
    engine = Engine.create(root.parent / "e", images, Recipe(name="test"), str(root))
    with pytest.raises(ModelError, match="one failed on all 9 questions of shard 0: no key; nothing of it is final"):
        annotate(engine, specialist(Scripted(lambda question: Failure("no key"))), root)
    assert list(engine.answers(0)) == []
    assert annotate(engine, specialist(Scripted()), root).asked == 9


def test_unreadable_and_not_finite_answers_are_counted_and_give_no_annotation(root: Path) -> None:
    contradictory = Answer(("?",), Boxes(((0.0, 0.0, 1.0, 1.0),), ("cat", "dog")))
    nan = Answer(("?",), Boxes(((float("nan"), 0.0, 1.0, 1.0),), ("cat",)))

    def reply(question: Question) -> Answer:
        odd = {"000.png": Answer(("???",), None), "001.png": nan, "002.png": contradictory}
        return odd.get(question.image_name, Answer(("",), Boxes(())))

    engine = made(root)
    counts = annotate(engine, specialist(Scripted(reply)), root)
    assert (counts.unreadable, counts.failed, counts.annotations) == (1, 2, 0)
    assert all(reason.startswith("the answer cannot be kept: ") for reason in counts.reasons)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ([], "left 2 of 2 questions without an answer"),
        ([(7, Failure("x"))], "answered ticket 7, which it was not given"),
        ([(0, None)], "answered with NoneType instead of an Answer or a Failure"),
        ([(0, Failure("x")), (0, Failure("x"))], "answered ticket 0, which it was not given"),
    ],
)
def test_model_that_breaks_its_contract_is_one_line(root: Path, stream: list[Any], message: str) -> None:
    model = Scripted()
    model.answer = lambda questions: (list(questions), iter(stream))[1]  # type: ignore[method-assign]
    with pytest.raises(ModelError, match=message):
        annotate(made(root), specialist(model), root)


def test_image_that_changed_since_is_refused_before_it_is_asked_about(root: Path) -> None:
    engine, model = made(root), Scripted()
    (root / "004.png").write_bytes((root / "003.png").read_bytes())
    with pytest.raises(DataError, match=r"004.png has changed since"):
        annotate(engine, specialist(model), root)
    assert len(model.asked) == 4


def test_equal_files_are_asked_about_once_and_undecodable_ones_never(root: Path) -> None:
    (root / "004.png").write_bytes((root / "003.png").read_bytes())
    (root / "005.png").write_bytes((root / "003.png").read_bytes())
    (root / "006.png").write_bytes(b"no image")
    engine, model = made(root), Scripted()
    annotate(engine, specialist(model), root)
    assert model.asked == ["000.png", "001.png", "002.png", "003.png", "004.png"]  # 003 and 004 are of two shards


def test_regions_are_described_as_the_filters_leave_them(root: Path) -> None:
    def reply(question: Question) -> Answer:
        boxes = Boxes(((1.0, 2.0, 30.0, 40.0), (50.0, 2.0, 90.0, 40.0)), ("cat", "dog"), (0.9, 0.1))
        return Answer(("",), boxes)

    engine = made(root, fld())
    annotate(engine, specialist(Scripted(reply)), root)
    describer = Scripted(lambda question: Answer(("grey",), Text((f"grey at {question.region[0]:.0f}",))))
    annotate(engine, specialist(describer, "describe", "two"), root)
    assert len(describer.asked) == 5  # of ten regions, those above the threshold
    texts = [each for record in engine.records() for each in record.annotations if each.kind == "text"]
    assert {each.value for each in texts} == {Text(("grey at 1",))}
    lower = engine.with_recipe(engine.recipe.with_settings(["boxes.score=0.05"]))
    annotate(lower, specialist(describer, "describe", "two"), root)
    assert len(describer.asked) == 10  # the other five, and no region twice


def by_name(question: Question) -> Answer:
    """An answer that depends on the image alone."""
    width = float(int(question.image_name[:3]) + 20)
    return Answer(("cat",), Boxes(((1.0, 2.0, width, 40.0),), ("cat",), (0.5,)))


WORKER = """
    import os, signal, sys
    from pathlib import Path
    from harness.data_engine.annotate import Specialist, annotate
    from harness.data_engine.shards import Engine
    from tests.harness.data_engine.test_annotate import Scripted, by_name

    root, path, die_at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    log = (path.parent / "asked.log").open("a")

    def reply(question):
        if len(model.asked) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        log.write(question.image_name + "\\n")
        log.flush()
        return by_name(question)

    model = Scripted(reply)
    annotate(Engine.open(path), Specialist("detect", "one", model), root)
"""


def test_killed_process_resumes_asks_nothing_twice_and_ends_with_the_same_rows(root: Path) -> None:
    engine, undisturbed = made(root), root.parent / "undisturbed"
    command = [sys.executable, "-c", dedent(WORKER), root, engine.path, "3"]
    for _ in range(2):  # the third question of each process has no answer
        assert subprocess.run(command, cwd=Path.cwd()).returncode == -signal.SIGKILL
    asked = (root.parent / "asked.log").read_text().split()
    model = Scripted(by_name)
    annotate(engine, specialist(model), root)
    assert sorted(asked + model.asked) == sorted(path.name for path in root.iterdir())
    other = Engine.create(undisturbed, engine.images(), engine.recipe, str(root), shard=2)
    annotate(other, specialist(Scripted(by_name)), root)
    assert digest_of(other) == digest_of(engine)


def test_full_disk_is_one_line_and_the_same_command_goes_on(root: Path) -> None:
    engine = made(root)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300)); import signal; signal.signal({int(signal.SIGXFSZ)}, signal.SIG_IGN)"  # noqa: E501
    code = f"{limit}\n{dedent(WORKER)}"
    told = subprocess.run(
        [sys.executable, "-c", code, root, engine.path, "0"], cwd=Path.cwd(), capture_output=True, text=True
    )
    assert "ResourceError: cannot write" in told.stderr
    assert annotate(engine, specialist(Scripted()), root).questions == 5
    assert [len(record.annotations) >= 1 for record in engine.records()] == [True] * 5
    assert not list(engine.path.rglob("*.partial"))


def test_worker_that_is_alive_keeps_others_from_its_shard(root: Path) -> None:
    from harness.errors import UsageError

    engine = made(root)
    inner: list[Exception] = []

    def reply(question: Question) -> Answer:
        if not inner:
            try:
                annotate(Engine.open(engine.path), specialist(Scripted()), root, shards=[0])
            except UsageError as error:
                inner.append(error)
        return Answer(("",), Boxes(()))

    annotate(engine, specialist(Scripted(reply)), root)
    assert "another process is working on 00000" in str(inner[0])


def test_questions_are_sent_to_the_trackers_and_their_progress_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 5 questions in shards of 2, 2 and 1, the first is unreadable.  A second call asks and sends nothing."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "FIRST", 0.0)
    first = min(path.name for path in root.iterdir())

    def reply(question: Question) -> Answer:
        return Answer(("",), None if question.image_name == first else Boxes(()))

    engine = made(root)
    with tracking.to(["tensorboard"], tmp_path / "tracking"):
        annotate(engine, specialist(Scripted(reply)), root)
        annotate(engine, specialist(Scripted(reply)), root)
    [run] = sent(tmp_path / "tracking/tensorboard")
    assert run.name == "detect__one" and "fingerprint: scripted" in run.texts["facts"]
    counts = {name: values[-1] for name, values in run.numbers.items() if name.startswith("count/")}
    assert counts == {
        "count/questions": (5, 5.0), "count/asked": (5, 5.0), "count/unreadable": (5, 1.0),
        "count/failed": (5, 0.0), "count/annotations": (5, 0.0),
    }  # fmt: skip
    assert any(message.startswith("detect: one: 5 questions, in ") for message in caplog.messages)
    assert any("questions, " in message and "3 shards left" in message for message in caplog.messages)
