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
def test_score_of_exported_predictions_equals_the_run(here: Call, tmp_path: Path, task: str, name: str) -> None:
    record = evaluated(here, task, "--export", tmp_path / "outcome")
    predictions = ("--predictions", tmp_path / "outcome" / name)
    status, out, err = here("score", "--task", task, *predictions, "--data", "miniature", "--json")
    assert status == 0, err
    assert json.loads(out)["metrics"] == record["metrics"]


def test_predictions_without_a_sentence_are_refused(here: Call, root: Path, tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text("[]")
    outcome = here(
        "score", "--task", "refcoco", "--predictions", tmp_path / "p.json", "--data", root, "--out", tmp_path
    )
    assert (outcome.status, "have no answer" in outcome.complaint) == (3, True)


def test_marking_and_reporting_without_torch(root: Path, tmp_path: Path) -> None:
    """`torch` is made unimportable; only what asks a network may miss it."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text("raise ImportError('torch is not installed here')")
    settings = {"PYTHONPATH": str(tmp_path), "FLORENCE2_HARNESS_DATA": str(root)}
    out = ("--out", tmp_path / "results")
    assert (
        process("run", "--task", "refcoco_res,refcocog_res", "--model", "whole-image", *out, **settings).status == 3
    )  # only one is there
    outcome = process("run", "--task", "refcoco", "--model", "oracle", *out, "--json", **settings)
    assert outcome.status == 0, outcome.err
    name = json.loads(outcome.out)["id"]
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


def test_annotation_folders_with_other_content_have_other_digests(here: Call, miniature: Path, tmp_path: Path) -> None:
    evaluated(here, "odinw_miniature", "--export", tmp_path / "outcome")
    predictions = ("--task", "odinw_miniature", "--predictions", tmp_path / "outcome/odinw_miniature_val", "--json")
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
    record = evaluated(here, "vizwiz", "--export", tmp_path / "outcome")
    (tmp_path / "root/vizwiz").mkdir(parents=True)
    shutil.copytree(miniature / "vizwiz/Annotations", tmp_path / "root/vizwiz/Annotations")
    given = ("--data", tmp_path / "root", "--json")
    outcome = here("score", "--task", "vizwiz", "--predictions", tmp_path / "outcome/vizwiz_val.json", *given)
    assert outcome.status == 0, outcome.err
    assert json.loads(outcome.out)["metrics"] == record["metrics"]
    assert json.loads(here("score", record["id"], *given).out)["metrics"] == record["metrics"]


def test_score_warns_of_predictions_in_other_units(here: Call, miniature: Path, tmp_path: Path) -> None:
    record = evaluated(here, "refcoco", "--export", tmp_path / "outcome")
    predictions = json.loads((tmp_path / "outcome/refcoco_val.json").read_text())
    given = ("--task", "refcoco", "--data", "miniature", "--out", tmp_path / "results", "--predictions")
    fine = json.loads(here("score", *given, tmp_path / "outcome/refcoco_val.json", "--json").out)
    assert fine["metrics"]["Acc@0.5"]["value"] == record["metrics"]["Acc@0.5"]["value"] > 90
    assert fine["provenance"]["sanity"].keys() == {"boxes", "tiny", "outside", "past", "inverted", "without"}
    for entry in predictions:
        left, top, width, height = entry["bbox"]
        entry["bbox"] = [left, top, left + width, top + height]
    corners = tmp_path / "corners.json"
    corners.write_text(json.dumps(predictions))
    outcome = here("score", *given, corners)
    assert outcome.status == 0
    likely = "likely [x0, y0, x1, y1]; the format is [x, y, width, height]"
    assert likely in outcome.out and "suspect predictions: " in outcome.out
    assert likely in here("show", outcome.out.split("id ")[-1].split(",")[0], "--out", tmp_path / "results").out
    here("report", "--results", tmp_path / "results", "--to", tmp_path / "page", "--pictures", "0")
    assert likely in (tmp_path / "page/index.html").read_text()
