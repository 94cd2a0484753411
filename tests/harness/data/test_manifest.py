"""What a task needs on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.data import manifest
from harness.errors import DataError
from tasks import TASKS
from tests import refer_files


def test_missing_and_required(tmp_path: Path) -> None:
    task = TASKS["refcoco"]
    assert [need.path for need in manifest.missing(task, tmp_path)] == [need.path for need in task.files]
    refer_files.write(tmp_path)
    (tmp_path / "coco/train2014").mkdir(parents=True)
    assert [need.path for need in manifest.missing(task, tmp_path)] == [
        "coco/train2014"
    ]  # an empty folder is not there
    with pytest.raises(DataError, match=r"coco/train2014, which is not there; it comes from COCO"):
        manifest.require(task, tmp_path, "val")
    (tmp_path / "coco/train2014/a.jpg").touch()
    assert manifest.missing(task, tmp_path) == ()
    manifest.require(task, tmp_path, "val")


def test_a_digest_is_of_names_and_contents_not_of_places(tmp_path: Path) -> None:
    task = TASKS["refcoco"]
    for name in "ab":
        refer_files.write(tmp_path / name)
    one, same = (manifest.digest(manifest.annotation_files(task, tmp_path / name, "val")) for name in "ab")
    assert one == same
    file = tmp_path / "b/refer/refcoco/instances.json"
    file.write_bytes(file.read_bytes().replace(b"thing", b"other"))
    assert manifest.digest(manifest.annotation_files(task, tmp_path / "b", "val")) != one
    shutil.move(file, file.with_name("renamed.json"))
    assert manifest.digest([file.with_name("renamed.json")]) != manifest.digest(
        [tmp_path / "a/refer/refcoco/instances.json"]
    )
    with pytest.raises(DataError, match="cannot be read"):
        manifest.digest([file])


def test_how_much_more_is_missing_is_counted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refs\(unc\)\.p, which is not there; .* \(2 more missing\)"):
        manifest.require(TASKS["refcoco"], tmp_path, "val")


def test_only_files_are_annotations(tmp_path: Path) -> None:
    folder = refer_files.write(tmp_path)
    (tmp_path / "coco/train2014").mkdir(parents=True)
    (tmp_path / "coco/train2014/a.jpg").touch()
    files = manifest.annotation_files(TASKS["refcoco"], tmp_path, "val")
    assert files == (folder / "refs(unc).p", folder / "instances.json")


def test_a_digest_of_a_folder_is_of_the_files_directly_in_it(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    (tmp_path / "below").mkdir()
    (tmp_path / "below/c").write_text("c")
    assert manifest.digest([tmp_path]) == manifest.digest([a, b]) != manifest.digest([b, a])
    before = manifest.digest([tmp_path])
    a.write_text("b")
    b.write_text("a")  # the same names and the same contents, the other way round
    assert manifest.digest([tmp_path]) != before
    before = manifest.digest([a])
    assert manifest.digest([a.rename(tmp_path / "z")]) != before  # another name, the same contents


def test_a_file_that_does_as_well(tmp_path: Path) -> None:
    """Karpathy's list with COCO's captions, or BLIP's file alone; and only what a split needs."""
    task = TASKS["coco_caption"]
    (tmp_path / "coco/val2014").mkdir(parents=True)
    (tmp_path / "coco/val2014/a.jpg").touch()
    assert [need.path for need in manifest.missing(task, tmp_path, ["test"])] == [
        "coco/dataset_coco.json",
        "coco/annotations/captions_val2014.json",
    ]
    blip = tmp_path / "coco/coco_karpathy_test_gt.json"
    blip.touch()
    assert manifest.missing(task, tmp_path, ["test"]) == ()
    assert manifest.annotation_files(task, tmp_path, "test") == (blip,)
    assert len(manifest.missing(task, tmp_path, ["val"])) == 2


def test_a_packed_folder_is_there(tmp_path: Path) -> None:
    refer_files.write(tmp_path)
    (tmp_path / "coco/train2014.lmdb").mkdir(parents=True)
    assert manifest.missing(TASKS["refcoco"], tmp_path) == ()
