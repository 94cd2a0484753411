"""The command `score`: predictions made elsewhere, and kept answers again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.harness.cli.calling import Call, evaluated, process


@pytest.mark.parametrize(("task", "name"), [
    ("vqav2", "vqav2_val.json"), ("flickr30k", "flickr30k_test.json"), ("odinw_miniature", "odinw_miniature_val"),
])  # fmt: skip
def test_what_run_exports_score_marks_the_same(here: Call, tmp_path: Path, task: str, name: str) -> None:
    record = evaluated(here, task, "--export", tmp_path / "told")
    predictions = ("--predictions", tmp_path / "told" / name)
    status, out, err = here("score", "--task", task, *predictions, "--data", "miniature", "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"] == record["metrics"]


def test_predictions_that_lack_a_sentence(here: Call, root: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[]")
    told = here("score", "--task", "refcoco", "--predictions", tmp_path / "p.json", "--data", root, "--out", tmp_path)
    assert (told.status, "have no answer" in told.complaint) == (3, True)


def test_marking_and_reporting_without_torch(root: Path, tmp_path: Path) -> None:
    """`torch` is made unimportable; only what asks a network may miss it."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise ImportError('torch is not installed here')")
    settings = {"PYTHONPATH": str(tmp_path), "FLORENCE2_HARNESS_DATA": str(root)}
    out = ("--out", tmp_path / "results")
    assert (
        process("run", "--task", "refcoco_res,refcocog_res", "--model", "whole-image", *out, **settings).status == 3
    )  # only one is there
    told = process("run", "--task", "refcoco", "--model", "oracle", *out, "--json", **settings)
    assert told.status == 0, told.err
    name = json.loads(told.out)["id"]
    predictions = tmp_path / "p.json"
    for arguments in (
        ("score", name, *out),
        ("export", name, predictions, *out),
        ("score", "--task", "refcoco", "--predictions", predictions, *out),
        ("report", "--results", tmp_path / "results", "--to", tmp_path / "page"),
        ("ls", *out),
        ("show", name, *out),
        ("tasks",),
        ("models",),
        ("data", "list"),
        ("data", "check", "--task", "refcoco", "--data", "miniature"),
        ("--help",),
    ):
        done = process(*arguments, **settings)
        assert done.status == 0, (arguments, done.err)


def test_annotations_in_a_folder_are_told_apart(here: Call, miniature: Path, tmp_path: Path) -> None:
    evaluated(here, "odinw_miniature", "--export", tmp_path / "told")
    predictions = ("--task", "odinw_miniature", "--predictions", tmp_path / "told/odinw_miniature_val", "--json")
    folder = tmp_path / "given"
    shutil.copytree(miniature / "odinw_miniature", folder, ignore=shutil.ignore_patterns("*.jpg"))
    hashes = []
    for _ in range(2):
        status, out, err = here("score", *predictions, "--annotations", folder)
        assert status == 0, err
        hashes.append(json.loads(out)["spec"]["data_hash"])
        [file] = (folder / "Balloons").rglob("*.json")
        file.write_text(file.read_text() + "\n")
    assert hashes[0] != hashes[1]


def test_scoring_needs_no_images(here: Call, miniature: Path, tmp_path: Path) -> None:
    record = evaluated(here, "vizwiz", "--export", tmp_path / "told")
    (tmp_path / "root/vizwiz").mkdir(parents=True)
    shutil.copytree(miniature / "vizwiz/Annotations", tmp_path / "root/vizwiz/Annotations")
    given = ("--data", tmp_path / "root", "--json")
    told = here("score", "--task", "vizwiz", "--predictions", tmp_path / "told/vizwiz_val.json", *given)
    assert told.status == 0, told.err
    assert json.loads(told.out)["metrics"] == record["metrics"]
    assert json.loads(here("score", record["id"], *given).out)["metrics"] == record["metrics"]


def test_predictions_in_other_units_are_said_beside_the_number(here: Call, miniature: Path, tmp_path: Path) -> None:
    record = evaluated(here, "refcoco", "--export", tmp_path / "told")
    predictions = json.loads((tmp_path / "told/refcoco_val.json").read_text())
    given = ("--task", "refcoco", "--data", "miniature", "--out", tmp_path / "results", "--predictions")
    fine = json.loads(here("score", *given, tmp_path / "told/refcoco_val.json", "--json").out)
    assert fine["metrics"]["Acc@0.5"]["value"] == record["metrics"]["Acc@0.5"]["value"] > 90
    assert fine["provenance"]["sanity"].keys() == {"boxes", "tiny", "outside", "past", "inverted", "without"}
    for entry in predictions:
        left, top, width, height = entry["bbox"]
        entry["bbox"] = [left, top, left + width, top + height]
    corners = tmp_path / "corners.json"
    corners.write_text(json.dumps(predictions))
    told = here("score", *given, corners)
    assert told.status == 0
    likely = "likely [x0, y0, x1, y1]; the format is [x, y, width, height]"
    assert likely in told.out and "suspect predictions: " in told.out
    assert likely in here("show", told.out.split("id ")[-1].split(",")[0], "--out", tmp_path / "results").out
    here("report", "--results", tmp_path / "results", "--to", tmp_path / "page", "--pictures", "0")
    assert likely in (tmp_path / "page/index.html").read_text()
