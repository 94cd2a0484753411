"""A user's own annotations and images, for every task: the answers and the numbers of the same files in a data root."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import harness
from harness import store
from harness.cli import main
from harness.data import manifest
from harness.errors import DataError, UsageError
from harness.evaluation import scoring
from harness.evaluation.evaluate import evaluate_each
from harness.evaluation.request import Request
from tasks import TASKS
from tests.embedded import EMBEDDED

FOLDERS = {  # the tasks whose annotations are several files, in a folder of their own under the data root
    "vqav2": "vqav2",
    "refcoco": "refer/refcoco",
    "refcoco_res": "refer/refcoco",
    "refcoco_plus": "refer/refcoco+",
    "refcoco_plus_res": "refer/refcoco+",
    "refcocog": "refer/refcocog",
    "refcocog_res": "refer/refcocog",
    "refcocog_caption": "refer/refcocog",
    "icdar2015": "icdar2015/Challenge4_Test_Task4_GT",
    "flickr30k": "flickr30k",
    "odinw_miniature": "odinw_miniature",
    "rf100_vl_miniature": "rf100_vl_miniature",
}


def _own(task: str, root: Path, to: Path) -> tuple[Path, Path]:
    """A copy of a task's annotations in a place of no data root, and the folder of its images."""
    split = TASKS[task].splits[0]
    needs = manifest.needs(TASKS[task], [split])
    annotations = [need for need in needs if manifest.is_of_annotations(need)]
    images = [need for need in needs if not manifest.is_of_annotations(need)]
    if task in FOLDERS:
        given = to / "mine"
        shutil.copytree(root / FOLDERS[task], given, ignore=shutil.ignore_patterns("*.jpg"))
    else:
        found = manifest.found(annotations[-1], root)
        assert found is not None
        given = to / "mine.json"
        shutil.copy(found, given)
    return given, root / (images[0].path if len(images) == 1 else FOLDERS[task])  # several are below one


@pytest.mark.parametrize("task", sorted(task.name for task in EMBEDDED))
def test_own_files_give_the_numbers_of_the_data_root(task: str, miniature: Path, tmp_path: Path) -> None:
    annotations, images = _own(task, miniature, tmp_path)
    model = "clip-nano" if task.endswith("_retrieval") else "oracle" if task == "icdar2015" else "whole-image"
    root = harness.evaluate(task, model, data=miniature, limit=12, out=tmp_path / "a")
    own = harness.evaluate(task, model, annotations=annotations, images=images, limit=12, out=tmp_path / "b")
    assert own.spec.data == "mine"
    assert {name: one.value for name, one in own.metrics.items()} == {
        name: one.value for name, one in root.metrics.items()
    }
    assert own.counts["samples"] == root.counts["samples"]
    again, _ = scoring.score_again(own.id, out=tmp_path / "b")  # the record says where its data lies
    assert again.metrics == own.metrics


def test_images_are_opened_below_the_given_folder(miniature: Path, tmp_path: Path) -> None:
    """The model opens every image; without the folder of images, all of its questions would fail."""
    annotations, images = _own("coco_detection", miniature, tmp_path)
    run = harness.evaluate(
        "coco_detection", "florence2-nano", annotations=annotations, images=images, limit=2, beams=1, out=tmp_path / "r"
    )  # fmt: skip
    assert run.status == "partial" and run.counts["asked now"] == 2


def test_data_check_of_own_files(miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, images = _own("coco_detection", miniature, tmp_path)
    check = ["data", "check", "--task", "coco_detection", "--annotations", str(annotations), "--images", str(images)]
    assert main([*check, "--decode"]) == 0
    told = capsys.readouterr().out
    assert f"there    {annotations}" in told and "differs" in told and "published: 5,000" in told
    images = Path(shutil.copytree(images, tmp_path / "photos"))
    first = json.loads(annotations.read_text())["images"][0]["file_name"]
    (images / first).unlink()
    assert main([*check[:-1], str(images)]) == 3
    assert f"missing  1 images, such as {first}" in capsys.readouterr().out


def test_own_files_that_are_not_there_or_too_many(miniature: Path, tmp_path: Path) -> None:
    annotations, images = _own("coco_detection", miniature, tmp_path)
    for wrong in ({"annotations": tmp_path / "none.json"}, {"annotations": annotations, "images": annotations}):
        with pytest.raises(DataError, match="there is no such"):
            harness.evaluate("coco_detection", "oracle", out=tmp_path / "r", **wrong)
    with pytest.raises(UsageError, match="of one task and one split, but 2 are named"):
        request = Request(task="coco_detection,vizwiz", model="oracle", annotations=annotations, images=images)
        list(evaluate_each(request))
    with pytest.raises(DataError, match=r"needs .*coco/val2017, which is not there"):  # no images, and no data root
        harness.evaluate("coco_detection", "oracle", annotations=annotations, out=tmp_path / "r")


def test_record_whose_own_files_changed(miniature: Path, tmp_path: Path) -> None:
    annotations, images = _own("vizwiz", miniature, tmp_path)
    run = harness.evaluate("vizwiz", "oracle", annotations=annotations, images=images, out=tmp_path / "r")
    annotations.write_text(annotations.read_text() + "\n")
    with pytest.raises(DataError, match="is of other annotations of mine than those in"):
        scoring.score_again(run.id, out=tmp_path / "r")
    annotations.unlink()
    with pytest.raises(DataError, match=r"mine\.json, which is not there"):
        scoring.score_again(run.id, out=tmp_path / "r")
    assert [record.id for _, record in store.runs(tmp_path / "r")] == [run.id]


@pytest.mark.parametrize("name", ["{outside}/secret.jpg", "../secret.jpg", "evil/secret.jpg"])
def test_image_outside_the_given_folder_is_refused_by_name(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file name of an annotation file: absolute, with `..`, and through a link in the folder of images."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images/evil").symlink_to(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.jpg")
    image = {"id": 1, "file_name": name.format(outside=tmp_path), "width": 4, "height": 4}
    truth = {"images": [image], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "mine.json").write_text(json.dumps(truth))
    own = ["--annotations", str(tmp_path / "mine.json"), "--images", str(tmp_path / "images")]
    for command in (["data", "check"], ["run", "--model", "whole-image", "--out", str(tmp_path / "out")]):
        assert main([*command, "--task", "coco_detection", *own]) == 3
        told = "".join(capsys.readouterr())
        assert "is not a path below the data root" in told or "images/evil is a link out of" in told
