"""Rounds from names: a real, tiny teaching without its own fold, and what is refused before anything is taught."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from baselines.florence2 import WEIGHTS
from harness.data_engine.cross_fitting import fold_of
from harness.data_engine.recipes import stage
from harness.data_engine.tables import rows_digest
from harness.errors import CheckpointError, UsageError
from harness.florence2 import weights
from harness.training.history import history_of
from tests.harness.data_engine.test_annotate import Scripted
from tests.harness.evaluation.engine_scenes import recipe, scenes

STAGES = tuple(stage(name, {}) for name in ("sources", "boxes", "combine", "parents"))
RECIPE = replace(
    recipe(), stages=STAGES, start="florence2-nano", specialists={"detect": ("simulated-detector",)},
)  # fmt: skip
FEW = {"steps": "2", "batch": "2", "rate": "1e-6", "average": "0", "optimiser": "muon"}
GIVEN: Mapping[str, Any] = {"changes": FEW, "folds": 2, "device": "cpu", "taught": ["detect"]}


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = scenes(tmp_path_factory.mktemp("scenes"), 8)
    return harness.engine.annotate(root, root.parent / "engine", recipe=RECIPE).engine.path


@pytest.fixture(scope="module")
def refined(annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refined") / "engine"
    shutil.copytree(annotated, folder)
    harness.engine.refine(folder, **GIVEN)
    return folder


def test_each_fold_is_taught_the_other_images_and_asked_about_its_own(refined: Path) -> None:
    engine = harness.engine.open(refined)
    digests = {image.reference: image.sha256 for image in engine.images()}
    for fold in range(2):
        models = refined / "round1" / "models" / f"fold{fold}"
        [store] = models.glob("data/*/store.json")
        images = set(json.loads(store.read_text())["references"])
        assert images == {name for name, sha in digests.items() if fold_of(sha, 2) != fold}
        run = (history_of(models / "checkpoint") or [])[-1]
        assert run["from"] == weights.load(WEIGHTS / "florence2-nano").sha256  # the start, and not another fold
        about = run["tasks"]["fld"]["engine"]
        assert (about["round"], about["kinds"], about["left out"]) == (0, ["detect"], f"fold {fold} of 2")
    assert {row["image"] for row in engine.answers(1)} == set(digests.values())
    [origin] = [each for each in engine.origins.values() if each.kind == "model"]
    for fold in range(2):
        sha = weights.load(refined / f"round1/models/fold{fold}/checkpoint").sha256
        assert sha[:16] in origin.fingerprint


def test_second_call_changes_no_file_of_the_round(refined: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in refined.rglob("*") if path.is_file() and path.name != "lock"}
    [state] = harness.engine.refine(refined, **GIVEN)
    assert state.outcome is not None and state.outcome.images == 4  # half of those with truth
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_folder_with_a_round_is_still_taught_exported_and_reported(refined: Path, tmp_path: Path) -> None:
    """Whether the round was promoted or not: everything is read from the last promoted one."""
    engine = harness.engine.open(refined)
    kept = [each.id for record in engine.records() for each in record.kept()]
    assert kept == [each.id for record in engine.records(engine.current) for each in record.kept()]
    done = harness.engine.export(refined, "jsonl", tmp_path / "out.jsonl", licences=["any"])
    assert done.annotations == len(kept)
    assert harness.engine.filter(refined).made == 0


def moved(annotated: Path, tmp_path: Path) -> Path:
    shutil.copytree(annotated, tmp_path / "engine")
    return tmp_path / "engine"


def start_taught(tmp_path: Path, tasks: Mapping[str, Any]) -> str:
    """The folder of florence2-nano with one more run in its history."""
    folder = tmp_path / "start"
    shutil.copytree(WEIGHTS / "florence2-nano", folder)
    history = json.loads((folder / "training.json").read_text())
    history["runs"].append({"identity": "x", "tasks": tasks})
    (folder / "training.json").write_text(json.dumps(history))
    return str(folder)


def test_start_that_was_taught_these_images_is_refused(annotated: Path, tmp_path: Path) -> None:
    images = harness.engine.open(annotated).images_digest
    start = start_taught(tmp_path, {"fld": {"splits": ["train"], "engine": {"images": images}}})
    with pytest.raises(UsageError, match=r"start was taught the images of .*engine, and would confirm what it was"):
        harness.engine.refine(annotated, weights=start, **GIVEN)


def test_start_that_was_taught_evaluation_images_is_refused(annotated: Path, tmp_path: Path) -> None:
    start = start_taught(tmp_path, {"refcoco": {"splits": ["train", "val"]}})
    with pytest.raises(
        UsageError, match=r"start was taught refcoco val, which is evaluated: give a start that was not"
    ):
        harness.engine.refine(annotated, weights=start, **GIVEN)


def coco_root(miniature: Path, root: Path) -> Path:
    """A data root with three images as COCO's training split."""
    content = json.loads((miniature / "coco/annotations/instances_val2017.json").read_text())
    content["images"] = content["images"][:3]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in ids]
    (root / "coco/annotations").mkdir(parents=True)
    (root / "coco/annotations/instances_train2017.json").write_text(json.dumps(content))
    (root / "coco/train2017").mkdir()
    for image in content["images"]:
        shutil.copy(miniature / "coco/val2017" / image["file_name"], root / "coco/train2017")
    return root


def test_start_that_was_taught_the_calibration_set_is_refused(miniature: Path, tmp_path: Path) -> None:
    """florence2-nano-ft was taught coco_detection train2017."""
    root = coco_root(miniature, tmp_path / "root")
    bare = replace(RECIPE, specialists={})
    harness.engine.annotate(root, tmp_path / "e", recipe=bare, specialists={"detect": Scripted()})
    given = {**GIVEN, "model": "florence2-nano-ft", "truth": "coco_detection:train2017"}
    with pytest.raises(UsageError, match="nano-ft was taught coco_detection:train2017, which a round is judged on"):
        harness.engine.refine(tmp_path / "e", **given)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"weights": "nowhere"}, CheckpointError, "--weights nowhere: no such folder, and not a hub repository"),
        ({"truth": "coco_detection:val2017"}, UsageError, "val2017 is evaluated; thresholds are chosen on splits"),
        ({"model": "owlv2-b"}, UsageError, r"owlv2-b cannot be taught here; there are .*florence2-nano"),
        ({"model": "florence2-nona"}, UsageError, "florence2-nona"),
        ({"teaching": "nano"}, UsageError, "recipe 'nano' draws scenes of its own"),
        ({"teaching": "detector"}, UsageError, "--teaching detector is not for florence2-nano; its own is nano-unif"),
        ({"kinds": ["name"]}, UsageError, "--kind name: florence2-nano can be given caption, detailed_caption, detect"),
        ({"taught": ["match"]}, UsageError, "--taught match: florence2-nano can be given"),
        ({"folds": 0}, UsageError, "--folds 0: at least 1"),
    ],
)
def test_mistake_is_one_line_and_nothing_is_begun(
    annotated: Path, tmp_path: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    folder = moved(annotated, tmp_path)
    with pytest.raises(error, match=message) as raised:
        harness.engine.refine(folder, **{**GIVEN, **given})
    assert "\n" not in str(raised.value)
    assert not (folder / "round1").exists()


def test_recipe_without_a_start_or_without_regions_says_what_to_give(annotated: Path, tmp_path: Path) -> None:
    engine = harness.engine.open(moved(annotated, tmp_path))
    engine.with_recipe(replace(RECIPE, start=""))
    with pytest.raises(UsageError, match="the recipe simulated names no start: give --model, such as florence2-b"):
        harness.engine.refine(engine.path, **GIVEN)
    engine.with_recipe(replace(RECIPE, specialists={"caption": ("florence2-nano",)}))
    with pytest.raises(UsageError, match=r"asks no kind of regions, and florence2-nano answers .*or name a --kind"):
        harness.engine.refine(engine.path, **GIVEN)


def test_calibration_set_that_the_folder_has_no_image_of_is_refused(
    annotated: Path, miniature: Path, tmp_path: Path
) -> None:
    data = coco_root(miniature, tmp_path / "root")
    with pytest.raises(UsageError, match=r"has 0 images with truth, and a round is judged on them: give --truth"):
        harness.engine.refine(annotated, truth="coco_detection:train2017", data=data, **GIVEN)


def test_digest_of_the_raw_answers_of_round_0_never_changes(annotated: Path, refined: Path) -> None:
    digests = [rows_digest(harness.engine.open(path).answers(0)) for path in (annotated, refined)]
    assert digests[0] == digests[1]
