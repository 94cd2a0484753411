"""Commands on records and predictions, and their files, with hostile text in records, annotations and predictions.

`test_hostile_commands.py` drives the other commands.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from harness import published
from harness.report import claims, tables
from harness.report.tables import Table
from tests.harness.cli.calling import Call, evaluated
from tests.harness.cli.hostile import HOSTILE, NAME, assert_files_are_safe, assert_safe, hostile


@pytest.fixture
def two_hostile_runs(here: Call, tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Two runs whose records name their model, protocol, device, policy and date with hostile text."""
    out = tmp_path / "results"
    ids = []
    for task, model in (("refcoco", "oracle"), ("refcoco", "whole-image")):
        record = evaluated(here, task, "--out", out, "--limit", "4", model=model)
        [path] = out.rglob(f"{record['id']}/run.json")
        record["spec"] |= {"model": HOSTILE + model, "protocol": HOSTILE}
        record["provenance"] = {**record["provenance"], "date": HOSTILE, "policy": HOSTILE, "command": HOSTILE}
        record["provenance"]["model"] = hostile(record["provenance"]["model"])
        record["metrics"] |= {HOSTILE: record["metrics"][record["headline"]]}
        path.write_text(json.dumps(record))
        ids.append(record["id"])
    yield out, ids


def test_commands_on_hostile_records_show_no_control_character(
    here: Call, two_hostile_runs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, (first, second) = two_hostile_runs
    for arguments in (
        ("ls",), ("ls", "--json"), ("show", first), ("show", first, "--json"), ("score", first),
        ("compare", first, second), ("compare", first, second, "--to", tmp_path / "page/compared"),
        ("compare", first, second, "--json"), ("export", first, tmp_path / "page/e.json"),
        ("export", "--jsonl", tmp_path / "page/all.jsonl"), ("rm", second),
    ):  # fmt: skip
        (tmp_path / "page").mkdir(exist_ok=True)
        outcome = here(*arguments, "--out", out)
        assert_safe(outcome)
        assert outcome.status in (0, 2, 3), (arguments, outcome)
    assert_files_are_safe(tmp_path / "page")


def test_report_of_hostile_records_writes_safe_files(
    here: Call, two_hostile_runs: tuple[Path, list[str]], tmp_path: Path
) -> None:
    out, _ = two_hostile_runs
    for number, path in enumerate(sorted(out.rglob("run.json"))):  # one of them as of a real data set, not limited
        record = json.loads(path.read_text())
        record["status"] = "complete"
        if number:
            record["spec"] |= {"data": HOSTILE, "limit": None}
        path.write_text(json.dumps(record))
    outcome = here("report", "--results", out, "--to", tmp_path / "page", "--pictures", "2")
    assert_safe(outcome)
    assert outcome.status == 0, outcome
    assert_files_are_safe(tmp_path / "page")
    pages = {path.relative_to(tmp_path) for path in tmp_path.iterdir()}
    assert pages <= {Path("results"), Path("page")}  # a protocol that is a path is no path


def hostile_detection(folder: Path) -> tuple[Path, Path, Path]:
    """COCO annotations, images and predictions with a hostile category, and file names as hostile as they can be."""
    images = folder / "images"
    images.mkdir()
    entries = []
    for number in (1, 2):
        name = f"{NAME}{number}.png"
        Image.new("RGB", (40, 30), (9, 9, 9)).save(images / name)
        entries.append({"id": number, "file_name": name, "width": 40, "height": 30})
    entries.append({"id": 3, "file_name": f"{HOSTILE.replace('/', '')}.png", "width": 40, "height": 30})
    boxes = [
        {"id": number, "image_id": number, "category_id": 7, "bbox": [1, 1, 9, 9], "area": 81, "iscrowd": 0}
        for number in (1, 2, 3)
    ]
    categories = [{"id": 7, "name": HOSTILE}, {"id": 8, "name": "b"}]
    (folder / "gt.json").write_text(json.dumps({"images": entries, "annotations": boxes, "categories": categories}))
    found = [{"image_id": box["image_id"], "category_id": 7, "bbox": [1, 1, 8, 9], "score": 0.9} for box in boxes]
    (folder / "pred.json").write_text(json.dumps(found))
    return folder / "gt.json", images, folder / "pred.json"


def test_hostile_annotations_in_score_and_check_show_no_control_character(here: Call, tmp_path: Path) -> None:
    truth, images, predictions = hostile_detection(tmp_path)
    own = ("--task", "coco_detection", "--annotations", truth)
    checked = here("data", "check", *own, "--images", images, "--decode")
    assert_safe(checked)
    scored = here("score", *own, "--predictions", predictions, "--out", tmp_path / "results")
    assert_safe(scored)
    assert scored.status == 0, scored
    # A box of 8 of 9 columns has an IoU of 72 / 81 = 0.89, above 8 of COCO's 10 thresholds.
    outcome = here("report", "--results", tmp_path / "results", "--to", tmp_path / "page", "--pictures", "3")
    assert_safe(outcome)
    assert_files_are_safe(tmp_path / "page")
    predictions.write_text(json.dumps([{"image_id": HOSTILE, "category_id": 7, "bbox": [1, 1, 8, 9], "score": 0.9}]))
    refused = here("score", *own, "--predictions", predictions, "--out", tmp_path / "results")
    assert_safe(refused)
    assert refused.status == 3


def test_hostile_expressions_and_answers_show_no_control_character(here: Call, miniature: Path, tmp_path: Path) -> None:
    shutil.copytree(miniature / "vqav2", tmp_path / "root/vqav2")
    for path in (tmp_path / "root/vqav2").rglob("*questions*.json"):
        data = json.loads(path.read_text())
        for question in data["questions"]:
            question["question"] = HOSTILE + question["question"]
        path.write_text(json.dumps(data))
    for path in (tmp_path / "root/vqav2").rglob("*annotations*.json"):
        data = json.loads(path.read_text())
        for entry in data["annotations"]:
            entry["question_type"], entry["answer_type"] = HOSTILE, HOSTILE + "2"
            for answer in entry["answers"]:
                answer["answer"] = HOSTILE
        path.write_text(json.dumps(data))
    shutil.copytree(miniature / "coco", tmp_path / "root/coco", ignore=shutil.ignore_patterns("annotations"))
    source = ("--data", tmp_path / "root", "--out", tmp_path / "results")
    ids = []
    for model in ("oracle", "whole-image"):
        outcome = here("run", "--task", "vqav2", "--model", model, "--split", "val", "--limit", "6", *source, "--json")
        assert_safe(outcome)
        assert outcome.status == 0, outcome
        ids.append(json.loads(outcome.out)["id"])
    assert_safe(here("compare", ids[0], ids[-1], "--out", tmp_path / "results", "--data", tmp_path / "root"))
    outcome = here("report", "--results", tmp_path / "results", "--to", tmp_path / "page", "--data", tmp_path / "root")
    assert_safe(outcome)
    assert_files_are_safe(tmp_path / "page")


def test_gate_of_hostile_promises_writes_safe_commands_and_xml(here: Call, tmp_path: Path) -> None:
    promise = 'task = "refcoco"\nmodel = "whole-image"\ndata = "miniature"\nlimit = 4\nat_least = 99.0\n'
    (tmp_path / "gates.toml").write_text(f"[promise.{json.dumps(HOSTILE)}]\n{promise}")
    outcome = here("gate", "--promises", tmp_path / "gates.toml", "--junit", tmp_path / "gate.xml", "--github")
    assert_safe(outcome)
    assert outcome.status == 5, outcome  # the whole image is no box of an expression
    assert outcome.out.count("\n::error title=gate ") == 1
    [case] = ElementTree.fromstring((tmp_path / "gate.xml").read_bytes()).iter("testcase")
    assert "HYPERLINK" in str(case.get("name"))


def test_tables_with_hostile_cells_are_safe_in_every_format(tmp_path: Path) -> None:
    table = Table("t", HOSTILE, [HOSTILE, "x"], [[HOSTILE, "-1.0"]], 1, [HOSTILE])
    tables.write([table, claims.table(published.claims(), [])], tmp_path)
    assert_files_are_safe(tmp_path)
