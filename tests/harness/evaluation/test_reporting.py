"""The report of a results folder with damaged, foreign or duplicate content: one warning each, nothing is changed."""

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
from harness.store import RunFolder

Call = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[3]


def evaluated(call: Call, *options: str) -> Path:
    """Evaluates two images of RefCOCO with the model `whole-image`; the folder of the run."""
    arguments = ("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--limit", "2", "--json")
    status, out, complaint = call(*arguments, *options)
    assert status == 0, complaint
    [record] = Path("results").rglob(f"{json.loads(out)['id']}/run.json")
    return record.parent


def test_report_torn_foreign_later_and_duplicate_records_are_warned_about(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = evaluated(call)
    parent = good.parent
    for name, text in (
        ("torn", (good / "run.json").read_text()[:200]),
        ("foreign", '{"name": "somebody else\'s"}'),
        ("later", (good / "run.json").read_text().replace(f'"schema": {store.SCHEMA}', '"schema": 99', 1)),
    ):
        (parent / name).mkdir()
        (parent / name / "run.json").write_text(text)
    for name in ("00-copy", "zz-copy"):  # three folders have the same id; the folder named after the id is shown
        shutil.copytree(good, parent / name)
    older = json.loads((good / "run.json").read_text()) | {"headline": "mIoU"}
    (parent / "00-copy/run.json").write_text(json.dumps(older))
    before = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file() and path.name != "lock"}
    status, _, complaint = call("report", "--pictures", "2")
    assert status == 0, complaint
    warnings = complaint + caplog.text
    assert re.search(r"torn/run\.json is not a run record", warnings)
    assert re.search(r"foreign/run\.json is not a run record", warnings)
    assert re.search(rf"later/run\.json has schema 99; this version reads 1 to {store.SCHEMA}", warnings)
    for name in ("00-copy", "zz-copy"):
        assert re.search(rf"{name} is a copy of run {good.name} in \S+{good.name}", warnings)
    assert "mIoU" not in Path("reports/runs.md").read_text()  # the headline of the copy
    page = Path("reports/index.html").read_text()
    assert page.count(f'<section class="run" id="{good.name}"') == 1
    assert before == {path: path.read_bytes() for path in before}


def test_report_two_task_versions_have_a_row_each(call: Call) -> None:
    good = evaluated(call)
    record = RunFolder(good).read_run()
    assert record is not None
    older = replace(record, id="older", spec=replace(record.spec, version=record.spec.version - 1))
    RunFolder(good.parent / "older").write_run(older)
    assert call("report", "--pictures", "0")[0] == 0
    lines = list(csv.DictReader(Path("reports/runs.csv").read_text().splitlines()))
    headline = [(line["version"], line["id"]) for line in lines if line["metric"] == record.headline]
    assert sorted(headline) == sorted([(str(record.spec.version - 1), "older"), (str(record.spec.version), record.id)])


def test_report_captions_of_one_image_and_compare_with_a_torn_score_report_the_problem(call: Call) -> None:
    """CIDEr of one image is undefined.  `compare` reads kept scores only for captions."""
    arguments = ("run", "--task", "coco_caption", "--model", "whole-image", "--data", "miniature", "--limit", "1")
    assert call(*arguments)[0] == 0
    assert call("report", "--pictures", "1")[0] == 0
    [scores] = Path("results").rglob("scores.jsonl")
    scores.write_text(scores.read_text()[:20])
    status, _, complaint = call("compare", str(scores.parent), str(scores.parent))
    assert status == 3 and "has a line that is not a score" in complaint and "scores again" in complaint


def test_report_gallery_of_a_deleted_run_is_warned_about_and_kept(call: Call, caplog: pytest.LogCaptureFixture) -> None:
    first, _ = evaluated(call), evaluated(call, "--seed", "1")
    assert call("report", "--pictures", "1")[0] == 0 and "galleries" not in caplog.text
    shutil.rmtree(first)
    assert call("report", "--pictures", "1")[0] == 0
    assert f"reports/gallery: 1 galleries are of runs that are not in results: {first.name} ..." in caplog.text
    assert (Path("reports/gallery") / first.name).is_dir()


def test_report_missing_images_are_named_in_their_place(
    call: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Images were deleted after the run: the numbers stay, and each sample names the missing file."""
    from tasks import miniature

    root = tmp_path / "data"
    shutil.copytree(miniature.ensure(), root)
    arguments = ("run", "--task", "refcoco", "--model", "whole-image", "--data", str(root), "--limit", "2")
    assert call(*arguments)[0] == 0
    for image in (root / "coco/train2014").iterdir():
        image.unlink()
    (root / "coco/train2014/another.jpg").write_bytes(b"")  # an empty folder would be an error of the data root
    status, _, complaint = call("report", "--data", str(root), "--pictures", "2")
    assert status == 0, complaint
    assert "2 images cannot be drawn" in caplog.text
    page = Path("reports/index.html").read_text()
    assert page.count("no image: ") == 2 and "is not there" in page
    assert not list(Path("reports/gallery").rglob("*.jpg"))


def test_report_without_display_and_latex_writes_figures_and_tables(call: Call, tmp_path: Path) -> None:
    """The environment asks matplotlib for a window, and has neither a display nor LaTeX."""
    evaluated(call)
    rest = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    environment = {**rest, "MPLBACKEND": "tkagg", "PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "harness", "report", "--pictures", "0"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "reports/figures").glob("*.svg")) and (tmp_path / "reports/tables/tables.tex").is_file()


def test_show_id_of_a_copied_folder_finds_the_folder_with_the_name_of_the_run(call: Call) -> None:
    good = evaluated(call)
    shutil.copytree(good, good.parent / "copy")
    status, out, _ = call("show", good.name)
    assert status == 0 and str(good) in out
    assert call("show", str(good))[0] == 0
    assert len(list(store.runs(Path("results")))) == 2


def test_show_id_of_two_copies_is_a_usage_error(call: Call) -> None:
    good = evaluated(call)
    for name in ("copy", "other"):
        shutil.copytree(good, good.parent / name)
    shutil.rmtree(good)
    status, _, complaint = call("show", good.name)
    assert status == 2 and "2 runs begin with" in complaint


def test_report_of_a_folder_without_runs_is_a_usage_error(call: Call, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    status, _, complaint = call("report")
    assert status == 2 and "there are no runs in results" in complaint
