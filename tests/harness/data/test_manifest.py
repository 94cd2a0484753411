"""The files that a task needs on disk, and digests of its annotations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.core import Question, Sample
from harness.data import manifest
from harness.errors import DataError
from tasks import TASKS
from tests import refer_files


def test_missing_and_require_agree_as_files_are_added(tmp_path: Path) -> None:
    task = TASKS["refcoco"]
    assert [need.path for need in manifest.missing(task, tmp_path)] == [need.path for need in task.files]
    refer_files.write(tmp_path)
    (tmp_path / "coco/train2014").mkdir(parents=True)
    assert [need.path for need in manifest.missing(task, tmp_path)] == ["coco/train2014"]  # the folder is empty
    with pytest.raises(DataError, match=r"coco/train2014, which is not there; it comes from COCO"):
        manifest.require(task, tmp_path, "val")
    (tmp_path / "coco/train2014/a.jpg").touch()
    assert manifest.missing(task, tmp_path) == ()
    manifest.require(task, tmp_path, "val")


def test_digest_depends_on_names_and_contents_not_on_folders(tmp_path: Path) -> None:
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


def test_require_counts_further_missing_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refs\(unc\)\.p, which is not there; .* \(2 more missing\)"):
        manifest.require(TASKS["refcoco"], tmp_path, "val")


def test_annotation_files_leave_out_image_folders(tmp_path: Path) -> None:
    folder = refer_files.write(tmp_path)
    (tmp_path / "coco/train2014").mkdir(parents=True)
    (tmp_path / "coco/train2014/a.jpg").touch()
    files = manifest.annotation_files(TASKS["refcoco"], tmp_path, "val")
    assert files == (folder / "refs(unc).p", folder / "instances.json")


def test_digest_of_folder_covers_the_files_directly_in_it(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    a, b = tmp_path / "a", tmp_path / "b"
    (tmp_path / "below").mkdir()
    (tmp_path / "below/c").write_text("c")
    assert manifest.digest([tmp_path]) == manifest.digest([a, b]) != manifest.digest([b, a])
    before = manifest.digest([tmp_path])
    a.write_text("b")
    b.write_text("a")  # the contents are exchanged
    assert manifest.digest([tmp_path]) != before
    before = manifest.digest([a])
    assert manifest.digest([a.rename(tmp_path / "z")]) != before  # another name


def test_alternative_file_satisfies_the_need_of_its_split(tmp_path: Path) -> None:
    """The test split needs Karpathy's list and COCO's captions, or BLIP's file alone."""
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


def test_store_satisfies_the_need_of_its_folder(tmp_path: Path) -> None:
    refer_files.write(tmp_path)
    (tmp_path / "coco/train2014.lmdb").mkdir(parents=True)
    assert manifest.missing(TASKS["refcoco"], tmp_path) == ()


def test_given_lists_a_file_or_all_annotation_files_below_a_folder(tmp_path: Path) -> None:
    folder = refer_files.write(tmp_path)
    (folder / "notes.md").touch()
    (folder / "below").mkdir()
    (folder / "below/x.xml").touch()
    assert manifest.given(folder / "instances.json") == (folder / "instances.json",)
    assert manifest.given(folder) == (folder / "below/x.xml", folder / "instances.json", folder / "refs(unc).p")


def test_within_refuses_images_that_the_data_set_places_outside_the_root(tmp_path: Path) -> None:
    """A folder that the task names may be a link to anywhere; one within it may not."""
    needs = TASKS["refcoco"].files  # coco/train2014 holds the images
    (tmp_path / "disk/sub").mkdir(parents=True)
    (tmp_path / "root/coco").mkdir(parents=True)
    (tmp_path / "root/coco/train2014").symlink_to(tmp_path / "disk")

    def load(name: str) -> list[str]:
        sample = Sample("1", Question(f"coco/train2014/{name}", None, "caption"), None, "")
        return [kept.question.image_name for kept in manifest.within(tmp_path / "root", [sample], needs)]

    assert load("x.jpg") == ["coco/train2014/x.jpg"]
    assert load("sub/x.jpg") == ["coco/train2014/sub/x.jpg"]
    with pytest.raises(DataError, match=r"'coco/train2014/../../../x.jpg' is not a path below the data root"):
        load("../../../x.jpg")
    (tmp_path / "disk/evil").symlink_to("/etc")
    with pytest.raises(DataError, match=r"coco/train2014/evil is a link out of .*coco/train2014, to /etc"):
        load("evil/x.jpg")
