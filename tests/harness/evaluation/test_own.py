"""A user's own data set in every command that takes --data."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import harness
from harness import store
from harness.cli import main
from harness.errors import DataError, UsageError
from harness.evaluation import making
from harness.evaluation.comparing import side_of
from harness.evaluation.own import BASES, Own, is_own, open_own, tasks_of
from harness.published.names import figures
from tasks import TASKS
from tests import own_files


@pytest.fixture(scope="module")
def shop(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Roboflow export with a training split, and its dataset.toml."""
    folder = tmp_path_factory.mktemp("shop")
    own_files.as_roboflow(miniature, own_files.instances(miniature), folder / "export")
    making.new("coco", folder / "export", None, to=folder / "shop.toml", name="shop")
    return folder / "shop.toml"


def _names(own: Own, names: str) -> list[str]:
    return [task.name for task in own.select(names)]


def test_tasks_are_named_by_short_and_full_names_and_globs(shop: Path) -> None:
    own = open_own(shop)
    assert _names(own, "detect") == _names(own, "shop-detect") == ["shop-detect"]
    assert sorted(_names(own, "all")) == sorted(_names(own, "shop-*")) == ["shop-detect", "shop-find"]
    assert own.full("detect, all,find*") == "shop-detect,all,find*"
    for names in ("caption", "coco_detection", "os:path", ""):
        with pytest.raises(UsageError, match=r"has no task .*; it has detect, find"):
            own.select(names)
    with pytest.raises(DataError, match="has no task shop-caption; it has shop-detect, shop-find"):
        own.task("shop-caption")


def test_own_task_is_the_official_one_without_anything_published() -> None:
    own = tasks_of("shop", {kind: ["val", "night", "train"] for kind in BASES})
    assert len(own) == len(BASES)
    for task in own.values():
        base = BASES[task.name.removeprefix("shop-")]
        assert task.kind == task.name.removeprefix("shop-")
        assert (task.metrics, task.headline, task.version) == (base.metrics, base.headline, base.version)
        assert (task.splits, task.train_splits, task.hidden_splits) == (("val", "night"), ("train",), ())
        assert not task.published and not task.seen_in_training
        assert not any(figures(task.name, split, metric) for split in ("val", "test") for metric in task.metrics)
    assert not any("-" in name for name in TASKS)  # so no name of an own task can be official


@pytest.mark.parametrize(("data", "own"), [(None, False), ("a.toml", True), ("data", False), ("miniature", False)])
def test_dataset_is_known_by_its_ending(data: str | None, own: bool) -> None:
    assert is_own(data) is own


def test_run_score_compare_export_and_report(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--task", "*", "--data", str(shop), "--model", "whole-image", "--export", "p"]) == 0
    records = {run.spec.task: run for _, run in store.runs(Path("results"))}
    assert set(records) == {"shop-detect", "shop-find"}
    run = records["shop-detect"]
    assert (run.spec.data, run.spec.split, run.counts["samples"]) == ("shop", "val", 4)
    assert run.provenance["own data"] == {"dataset": str(shop)} and "task from" not in run.provenance
    scored = harness.score("detect", "p/shop-detect_val.json", data=shop, out=tmp_path / "scored")
    assert scored.metrics["AP50"].value == run.metrics["AP50"].value
    assert main(["score", run.id]) == 0  # the record says where its data is
    task, side, images = side_of(store.find(Path("results"), run.id), None)  # of `compare`
    assert (task.name, len(side.samples), images) == ("shop-detect", 4, shop.with_suffix(".files"))
    assert main(["report"]) == 0
    assert "shop-detect" in next(Path().glob("report*/runs.md")).read_text()


def test_environment_may_name_the_data_set(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLORENCE2_HARNESS_DATA", str(shop))
    run = harness.evaluate("find", "whole-image", limit=2, out=tmp_path)
    assert (run.spec.task, run.spec.data) == ("shop-find", "shop")


def test_check_and_pack(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(shop.parent, tmp_path / "copy", symlinks=True)
    copy = tmp_path / "copy/shop.toml"  # the link is relative, so the folder may move
    assert main(["data", "check", "--data", str(copy), "--task", "detect", "--decode"]) == 0
    out = capsys.readouterr().out
    assert "shop-detect val:" in out and "4 samples, 4 images" in out and "published" not in out
    assert main(["data", "pack", "--data", str(copy), "--task", "all", "--split", "val,test"]) == 0
    assert "8 images packed" in capsys.readouterr().out
    (tmp_path / "copy/export").rename(tmp_path / "copy/moved")
    assert main(["data", "check", "--data", str(copy)]) == 3
    assert "is not a link to the images" in capsys.readouterr().err


def test_gate_judges_a_promise_about_own_data(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    promise = f'[promise.floor]\ntask = "detect"\nmodel = "oracle"\ndata = "{shop}"\nat_least = 99.0\n'
    (tmp_path / "gates.toml").write_text(promise)
    assert main(["gate", "--promises", str(tmp_path / "gates.toml"), "--json"]) == 0
    [verdict] = json.loads(capsys.readouterr().out)
    assert verdict["state"] == "kept" and "shop-detect" in str(verdict)


def test_changed_source_is_said_and_the_run_goes_on(
    shop: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(shop.parent, tmp_path / "copy", symlinks=True)
    made = tmp_path / "copy/shop.toml"
    harness.evaluate("detect", "whole-image", data=made, limit=2, out=tmp_path / "a")
    assert "has changed" not in caplog.text
    file = tmp_path / "copy/export/valid/_annotations.coco.json"
    file.write_text(file.read_text() + "\n")
    harness.evaluate("detect", "whole-image", data=made, limit=2, out=tmp_path / "b")
    assert f"{tmp_path}/copy/export, the source of {made}, has changed" in caplog.text


def test_annotations_beside_a_data_set_are_refused(shop: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"names its annotations and images; leave --annotations and --images out"):
        harness.evaluate("detect", "whole-image", data=shop, images=tmp_path, out=tmp_path)


@pytest.mark.slow
def test_fine_tuning_trains_on_train_and_the_run_says_so(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("--set", "steps=2", "--set", "batch=2", "--set", "warmup=1")
    tuned = ("finetune", "--model", "florence2-nano", "--data", str(shop), *few, "--to", "tuned")
    assert main([*tuned, "--task", "detect"]) == 0
    [history] = json.loads(Path("tuned/checkpoint/training.json").read_text())["runs"][-1:]
    assert history["tasks"]["shop-detect"]["splits"] == ["train"]
    assert history["tasks"]["shop-detect"]["samples"] == 4 and history["kept_out"] == 8  # images of val and test
    run = harness.evaluate(
        "detect", "florence2-nano", weights="tuned/checkpoint", data=shop, limit=1, beams=1, out=tmp_path / "r"
    )
    assert run.spec.protocol == "fine_tuned" and run.provenance["seen"].startswith("trained on this task's train")
    assert main(["finetune", "--model", "florence2-nano", "--data", str(shop), "--task", "caption"]) == 2


def test_data_set_without_training_cannot_be_trained_on(miniature: Path, tmp_path: Path) -> None:
    exported = own_files.as_yolo(miniature, own_files.instances(miniature, 2), tmp_path / "mine")
    own = open_own(making.new("yolo", exported, None, to=tmp_path / "mine.toml").path)
    with pytest.raises(UsageError, match="has no split train, so nothing can be fine-tuned on it"):
        own.trainable(None)
