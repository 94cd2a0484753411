"""A results folder with what should not be in it: a line for each, the rest told, nothing overwritten."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import store
from harness.core import Estimate, Run, RunSpec
from harness.report import miniature
from harness.store import RunFolder

Call = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[3]


def asked(call: Call, *more: str) -> Path:
    """A small real run; its folder."""
    given = ("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--limit", "2", "--json")
    status, out, said = call(*given, *more)
    assert status == 0, said
    [found] = Path("results").rglob(f"{json.loads(out)['id']}/run.json")
    return found.parent


def test_torn_foreign_later_and_conflicting_records(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = asked(call)
    beside = good.parent
    for name, text in (
        ("torn", (good / "run.json").read_text()[:200]),
        ("foreign", '{"name": "somebody else\'s"}'),
        ("later", (good / "run.json").read_text().replace('"schema": 1', '"schema": 99', 1)),
    ):
        (beside / name).mkdir()
        (beside / name / "run.json").write_text(text)
    for name in ("00-copy", "zz-copy"):  # the same id three times; that in its own folder counts
        shutil.copytree(good, beside / name)
    older = json.loads((good / "run.json").read_text()) | {"headline": "mIoU"}
    (beside / "00-copy/run.json").write_text(json.dumps(older))
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file() and path.name != "lock"}
    status, _, said = call("report", "--pictures", "2")
    assert status == 0, said
    told = said + caplog.text
    assert re.search(r"torn/run\.json is no run record", told)
    assert re.search(r"foreign/run\.json is no run record", told)
    assert re.search(r"later/run\.json has schema 99; this version reads 1", told)
    for name in ("00-copy", "zz-copy"):
        assert re.search(rf"{name} is another record of run {good.name}, which \S+{good.name} is", told)
    assert "mIoU" not in Path("reports/runs.md").read_text()  # the copy's headline
    page = Path("reports/index.html").read_text()
    assert page.count(f'<section class="run" id="{good.name}"') == 1
    assert before == {path: path.read_bytes() for path in before}


def test_two_versions_stand_apart(call: Call) -> None:
    """Of two versions of a task both are rows."""
    good = asked(call)
    record = RunFolder(good).read_run()
    assert record is not None
    older = replace(record, id="older", spec=replace(record.spec, version=record.spec.version - 1))
    RunFolder(good.parent / "older").write_run(older)
    assert call("report", "--pictures", "0")[0] == 0
    lines = list(csv.DictReader(Path("reports/runs.csv").read_text().splitlines()))
    headline = [(line["version"], line["id"]) for line in lines if line["metric"] == record.headline]
    assert sorted(headline) == sorted([(str(record.spec.version - 1), "older"), (str(record.spec.version), record.id)])


def a_run(name: str, version: int, date: str, value: float) -> Run:
    spec = RunSpec(
        data="miniature", data_hash="0", task="refcoco", version=version, split="val", model="m", fingerprint=name,
    )  # fmt: skip
    return Run(
        schema=1, id=name, spec=spec, status="complete", headline="Acc@0.5", provenance={"date": date},
        metrics={"Acc@0.5": Estimate(value, None, None, 5)},
    )  # fmt: skip


def test_which_of_several_stands_for_them() -> None:
    runs = [
        a_run("a", 1, "2027-01-01", 10.0), a_run("b", 2, "2026-01-01", 20.0), a_run("c", 2, "2026-02-01", 30.0),
    ]  # fmt: skip
    [table] = miniature.tables(runs)
    assert table.rows == [["refcoco val, Acc@0.5", "30.0"]]
    [note] = [note for note in table.notes if "is shown" in note]
    assert note == ("m refcoco val: Run c is shown, the newest of version 2; other runs: a (version 1), b (version 2).")


def test_a_torn_score_is_said_and_captions_of_one_image_stop_nothing(call: Call) -> None:
    """CIDEr of one image is not defined; of kept scores, `compare` reads captions' alone."""
    given = ("run", "--task", "coco_caption", "--model", "whole-image", "--data", "miniature", "--limit", "1")
    assert call(*given)[0] == 0
    assert call("report", "--pictures", "1")[0] == 0
    [scores] = Path("results").rglob("scores.jsonl")
    scores.write_text(scores.read_text()[:20])
    status, _, said = call("compare", str(scores.parent), str(scores.parent))
    assert status == 3 and "has a line that is no score" in said and "marks again" in said


def test_galleries_of_runs_that_are_gone_are_said(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = asked(call), asked(call, "--seed", "1")
    assert call("report", "--pictures", "1")[0] == 0 and "galleries" not in caplog.text
    shutil.rmtree(first)
    assert call("report", "--pictures", "1")[0] == 0
    assert f"reports/gallery: 1 galleries are of runs that are not here, such as {first.name}" in caplog.text
    assert (Path("reports/gallery") / first.name).is_dir()  # said, and nothing is deleted


def test_pictures_that_are_missing_are_said_in_their_place(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The data's pictures are gone since: the numbers stand, and each sample says what is not there."""
    from tasks import miniature

    root = tmp_path / "data"
    shutil.copytree(miniature.ensure(), root)
    given = ("run", "--task", "refcoco", "--model", "whole-image", "--data", str(root), "--limit", "2")
    assert call(*given)[0] == 0
    for picture in (root / "coco/train2014").iterdir():
        picture.unlink()
    (root / "coco/train2014/another.jpg").write_bytes(b"")  # a folder that is empty is the data's lack, said elsewhere
    status, _, said = call("report", "--data", str(root), "--pictures", "2")
    assert status == 0, said
    assert "2 pictures are not drawn" in caplog.text
    page = Path("reports/index.html").read_text()
    assert page.count("no picture: ") == 2 and "is not there" in page
    assert not list(Path("reports/gallery").rglob("*.jpg"))


def test_no_display_and_no_latex(call: Call, tmp_path: Path) -> None:
    """A process with neither, and a matplotlib told to use a window: the figures and the .tex files are written."""
    asked(call)
    rest = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    there = {**rest, "MPLBACKEND": "tkagg", "PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "harness", "report", "--pictures", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "reports/figures").glob("*.svg")) and (tmp_path / "reports/tables/tables.tex").is_file()


def test_an_id_that_two_folders_have_is_not_guessed(call: Call) -> None:
    good = asked(call)
    shutil.copytree(good, good.parent / "copy")
    status, _, said = call("show", good.name)
    assert status == 2 and "2 runs begin with" in said
    assert call("show", str(good))[0] == 0
    assert len(list(store.runs(Path("results")))) == 2
