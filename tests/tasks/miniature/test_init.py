"""The embedded benchmark as a whole: its manifest, its splits, and how it is drawn once."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from harness.core import Source
from harness.errors import DataError, ResourceError
from tasks import TASKS, miniature
from tasks.miniature import MANIFEST, engine_world, manifest, small_world, train_files
from tasks.miniature.train_files import Images
from tests.embedded import EMBEDDED


def test_drawn_files_equal_the_manifest(miniature: Path) -> None:
    assert manifest(miniature) == json.loads(MANIFEST.read_text())


def test_drawing_that_differs_from_the_manifest_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = miniature.ensure()
    expected = json.loads(miniature.MANIFEST.read_text())
    first = next(iter(expected))
    other = tmp_path / "manifest.json"
    other.write_text(json.dumps({**expected, first: "0" * 64}))
    monkeypatch.setattr(miniature, "MANIFEST", other)
    monkeypatch.setattr(miniature, "write", lambda root: shutil.copytree(drawn, root, dirs_exist_ok=True))
    with pytest.raises(DataError, match=f"differs from its manifest in 1 files, first {first}"):
        miniature.ensure(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(("task", "split"), [(task.name, split) for task in EMBEDDED for split in task.splits])
def test_every_split_loads_with_its_images(miniature: Path, task: str, split: str) -> None:
    samples = list(TASKS[task].load(Source(miniature, split)))
    assert len(samples) >= (300 if task.startswith("refcoco") else 20 if task == "flickr30k_caption" else 40)
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples[:20]:
        with Image.open(miniature / sample.question.image) as image:
            assert sample.question.size in (image.size, None)


def test_manifest_has_the_sha256_of_each_file_but_the_mark_of_completion(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("b.json", "folder/a.jpg", "complete"):
        (tmp_path / name).write_text(name)
    sha256 = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("b.json", "folder/a.jpg")}
    assert miniature.manifest(tmp_path) == sha256
    assert list(miniature.manifest(tmp_path)) == sorted(sha256)
    assert miniature.manifest(tmp_path, images=False) == {"b.json": sha256["b.json"]}


def test_differences_are_changed_missing_and_unknown_paths() -> None:
    assert miniature.differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "0", "d": "4"}) == ["b", "c", "d"]


def test_cache_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert miniature.cache_folder() == tmp_path / "florence2-harness"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert miniature.cache_folder() == tmp_path / ".cache/florence2-harness"


def test_training_root_is_drawn_once_and_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Images(coco=3, signs=1, vizwiz=1, flickr30k=1)
    monkeypatch.setattr(train_files, "FULL", few)
    root = miniature.ensure_training(tmp_path / "cache")
    train_files.write(tmp_path / "again", few)
    files = miniature.manifest(root)
    assert files == miniature.manifest(tmp_path / "again")
    annotations = {path: sha for path, sha in files.items() if not path.endswith(".jpg")}
    assert (root / "complete").read_text() == miniature.digest(annotations)
    monkeypatch.setattr(train_files, "write", None)  # a second call draws nothing
    assert miniature.ensure_training(tmp_path / "cache") == root
    monkeypatch.setattr(train_files, "FULL", Images(coco=8))
    with pytest.raises(TypeError):  # other content is another folder
        miniature.ensure_training(tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == [root]  # and a failed drawing leaves nothing


def test_small_world_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_world, "EVALUATED", 2)
    root = miniature.ensure_small(tmp_path)
    assert len(list((root / "coco/val2014").iterdir())) == 2
    monkeypatch.setattr(small_world, "write", None)
    assert miniature.ensure_small(tmp_path) == root


def test_scenes_for_the_data_engine_are_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_world, "SCENES", 2)
    root = miniature.ensure_engine(tmp_path)
    assert len(list((root / "scenes").iterdir())) == 2
    monkeypatch.setattr(engine_world, "write", None)
    assert miniature.ensure_engine(tmp_path) == root


def test_cache_that_cannot_be_written_is_a_resource_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot draw the miniature into .*; set XDG_CACHE_HOME"):
        miniature.ensure(tmp_path / "file")
