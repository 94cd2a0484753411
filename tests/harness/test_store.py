"""Results on disk: whole or not at all."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import store
from harness.core import Answer, Boxes, Estimate, Mask, Polygons, Quads, Run, RunSpec, Score, Size, Text, Trail, Value
from harness.errors import DataError, UsageError
from harness.store import Kept, RunFolder
from tests import toy

RUN = Run(
    schema=store.SCHEMA,
    id="0",
    spec=RunSpec(data="d", data_hash="h", task="t", version=1, split="val", model="m", fingerprint="f"),
    status="complete",
    headline="R@1",
    metrics={"R@1": Estimate(50.0, 40.0, 60.0, 9)},
)
VALUES: list[Value | None] = [
    None,
    Text(("a dog", "ein Hund äöü\n")),
    Boxes(((0.5, 1.25, 3.0, 1e-9),), ("dog",), (0.25,), (0.5,)),
    Boxes((), ()),
    Quads((((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),), ("EXIT",)),
    Polygons((((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), ((5.0, 5.0), (6.0, 5.0), (6.0, 6.0)))),
    Mask(Size(20, 10), b"PPYo0"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_answers_come_back_as_they_were(tmp_path: Path, value: Value | None) -> None:
    folder = RunFolder(tmp_path)
    answer = Answer(("<loc_1>", "x"), value, tokens=5, truncated=True, seconds=0.25, batch=3)
    kept = Kept("7", "digest", replace(answer, trail=Trail("a", "b", "c", "d") if value else None))
    with folder.locked(), folder.appending() as appender:
        appender.write(kept)
    assert folder.answers() == {"7": kept}


def test_answers_have_the_documented_fields(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), folder.appending() as appender:
        appender.write(Kept("7", "digest", Answer(("a<loc_1>",), Text(("a",)))))
    [line] = (tmp_path / "answers.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert {"id": "7", "raw": ["a<loc_1>"], "value": {"kind": "text", "texts": ["a"]}}.items() <= record.items()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_not_written_as_nothing(tmp_path: Path, number: float) -> None:
    folder = RunFolder(tmp_path)
    with folder.locked(), folder.appending() as appender, pytest.raises(ValueError, match="not JSON compliant"):
        appender.write(Kept("7", "digest", Answer(("x",), Boxes(((0.0, 1.0, 2.0, number),)))))
    assert folder.answers() == {}


def test_scores_come_back_as_they_were(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_scores([("7", Score({"iou": np.float64(0.1), "R@1": math.nan}, readable=True))])
    assert (tmp_path / "scores.jsonl").read_text() == '{"id": "7", "readable": true, "iou": 0.1, "R@1": null}\n'
    [score] = folder.scores().values()
    assert score.readable is True
    assert score.values["iou"] == 0.1
    assert math.isnan(score.values["R@1"])
    folder.write_scores(
        [
            ("8", Score({"hits": np.int64(3)}, readable=np.bool_(True))),  # type: ignore[arg-type]
            ("9", Score({"iou": np.float32(0.5), "R@1": math.nan}, readable=False)),  # type: ignore[dict-item]
        ]
    )
    assert (tmp_path / "scores.jsonl").read_text().splitlines() == [
        '{"id":"8","readable":true,"hits":3}', '{"id": "9", "readable": false, "iou": 0.5, "R@1": null}'
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_scores([("7", Score({"iou": math.inf}, readable=True))])


@pytest.mark.parametrize("torn", ['{"id": "9", "raw": ["x"', '{"id": "9"}', "\x00\x00", "[]", "null"])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: str) -> None:
    folder = RunFolder(tmp_path)
    first, second = (Kept(name, "d", Answer((name,), Text((name,)))) for name in "12")
    with folder.locked(), folder.appending() as appender:
        appender.write(first)
    with (tmp_path / "answers.jsonl").open("a") as stream:
        stream.write(torn)
    assert folder.answers() == {"1": first}
    with folder.locked(), folder.appending() as appender:
        appender.write(second)
    assert folder.answers() == {"1": first, "2": second}
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2


def test_packed_answers_are_read_and_marked(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    answers, scores = folder.answers(), folder.scores()
    store.pack(folder)
    assert not (folder.path / "answers.jsonl").exists()
    assert (folder.answers(), folder.scores()) == (answers, scores)
    silent = toy.Counting()
    assert toy.go(tmp_path, silent) == record
    assert silent.asked == []


def test_packed_answers_are_not_lost_when_more_are_asked(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting(bad="4.png"))
    store.pack(toy.folder(tmp_path, record.spec))
    rest = toy.Counting()
    assert toy.go(tmp_path, rest).metrics["accuracy"].n == 60
    assert rest.asked == ["12", "13", "14"]


def test_find_by_beginning_folder_or_file(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    for name in (record.id, record.id[:5], str(folder.path), str(folder.path / "run.json")):
        found, again = store.find(tmp_path, name)
        assert (found.path, again) == (folder.path, record)
    toy.go(tmp_path, toy.Counting(), limit=3)
    with pytest.raises(UsageError, match="2 runs begin with ''"):
        store.find(tmp_path, "")
    with pytest.raises(UsageError, match="`python -m harness ls` lists them"):
        store.find(tmp_path, "nothing")


def test_the_id_is_of_what_was_asked_alone() -> None:
    asked = toy.spec(toy.task())
    assert store.run_id(asked) == store.run_id(toy.spec(toy.task()))
    different = [toy.spec(toy.task(version=2)), toy.spec(toy.task(), limit=3), toy.spec(toy.task(), limit=3, seed=1)]
    assert len({store.run_id(one) for one in [asked, *different]}) == 4


@pytest.mark.parametrize("data", [b"{", b'{"schema": 1}', b"[]", b'{"schema": "1"'])
def test_a_torn_record_is_said(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(DataError, match="is no run record"):
        RunFolder(tmp_path).read_run()


def test_a_record_of_a_later_schema_is_refused(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    path = toy.folder(tmp_path, record.spec).path / "run.json"
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 3', 1))
    with pytest.raises(DataError, match="has schema 3; this version reads 1 to 2"):
        RunFolder(path.parent).read_run()


def test_names_cannot_leave_the_results(tmp_path: Path) -> None:
    hostile = toy.spec(toy.task())
    object.__setattr__(hostile, "model", "../../outside")
    object.__setattr__(hostile, "data", "..")
    assert tmp_path in store.run_folder(tmp_path, hostile).resolve().parents


def test_removing_leaves_no_empty_folders(tmp_path: Path) -> None:
    record = toy.go(tmp_path / "results", toy.Counting())
    toy.folder(tmp_path / "results", record.spec).remove()
    assert list(tmp_path.rglob("*.json*")) == []
    assert tmp_path.exists()


def test_record_of_earlier_schema_is_read_and_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.write_run(replace(RUN, schema=1))
    path = tmp_path / "run.json"
    old = json.loads(path.read_text())
    old["name_of_headline"] = old.pop("headline")  # as if schema 1 had called it so
    path.write_text(json.dumps(old))

    def renamed(record: dict[str, Any]) -> dict[str, Any]:
        return {("headline" if name == "name_of_headline" else name): value for name, value in record.items()}

    monkeypatch.setattr(store, "SCHEMA", 2)
    monkeypatch.setattr(store, "MIGRATIONS", {1: renamed})
    assert folder.read_run() == replace(RUN, schema=2, id=store.run_id(RUN.spec))
    assert json.loads(path.read_text()) == old
    monkeypatch.setattr(store, "MIGRATIONS", {})
    with pytest.raises(DataError, match="has schema 1; this version reads 1 to 2"):
        folder.read_run()


def test_busy_while_it_is_locked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not folder.busy
    with folder.locked():
        assert folder.busy
    assert not folder.busy
