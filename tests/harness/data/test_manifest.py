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
        manifest.require(task, tmp_path)
    (tmp_path / "coco/train2014/a.jpg").touch()
    assert manifest.missing(task, tmp_path) == ()
    manifest.require(task, tmp_path)


def test_a_digest_is_of_names_and_contents_not_of_places(tmp_path: Path) -> None:
    task = TASKS["refcoco"]
    for name in "ab":
        refer_files.write(tmp_path / name)
    one, same = (manifest.digest(manifest.annotation_files(task, tmp_path / name)) for name in "ab")
    assert one == same
    file = tmp_path / "b/refer/refcoco/instances.json"
    file.write_bytes(file.read_bytes().replace(b"thing", b"other"))
    assert manifest.digest(manifest.annotation_files(task, tmp_path / "b")) != one
    shutil.move(file, file.with_name("renamed.json"))
    assert manifest.digest([file.with_name("renamed.json")]) != manifest.digest(
        [tmp_path / "a/refer/refcoco/instances.json"]
    )
    with pytest.raises(DataError, match="cannot be read"):
        manifest.digest([file])
