"""The images of an engine: where they come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from harness.data_engine.recipes import Recipe
from harness.errors import DataError
from harness.evaluation.engine_data import benchmark_images_of, engine_of, root_of
from harness.evaluation.plan import DATA_VARIABLE
from tests.harness.evaluation.engine_scenes import benchmark


def photos(folder: Path, *names: str) -> Path:
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40 + place, 40)).save(path)
    return folder


def test_images_of_all_folders_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", "b/2.png", "a.jpg", "b/1.PNG")
    (root / "notes.txt").write_text("no image")
    (root / "c.png").write_bytes(b"broken")
    engine = engine_of(tmp_path / "e", root, "p", Recipe(name="r"), None, "web", "CC0")
    rows = list(engine.images())
    assert [row.reference for row in rows] == ["a.jpg", "b/1.PNG", "b/2.png", "c.png"]
    assert [row.stage for row in rows] == ["", "", "", "images.undecodable"]
    assert {(row.source, row.licence) for row in rows} == {("web", "CC0")}
    assert rows[0].size == (41, 40)


def test_limit_is_the_first_images_by_name(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", "3.png", "1.png", "2.png")
    engine = engine_of(tmp_path / "e", root, "p", Recipe(name="r"), 2, "", "")
    assert [row.reference for row in engine.images()] == ["1.png", "2.png"]


def test_name_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    root = photos(tmp_path / "p", "1.png")
    os.rename(root / "1.png", os.fsencode(root) + b"/\xff.png")
    with pytest.raises(DataError, match="1 images of p have names that are not UTF-8; rename"):
        engine_of(tmp_path / "e", root, "p", Recipe(name="r"), None, "", "")


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no image to annotate"):
        engine_of(tmp_path / "e", photos(tmp_path), "p", Recipe(name="r"), None, "", "")


def test_root_is_a_folder_or_the_embedded_scenes(tmp_path: Path) -> None:
    assert root_of(tmp_path) == tmp_path
    with pytest.raises(DataError, match="is no folder"):
        root_of(tmp_path / "none")


def test_benchmarks_are_those_of_the_data_root_and_of_the_folder_itself(
    tmp_path: Path, miniature: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = benchmark(miniature, tmp_path / "data")
    assert benchmark_images_of(photos(tmp_path / "p", "1.png"), None, tmp_path).references == ()
    of_folder = benchmark_images_of(root, None, tmp_path)
    images = {path.name for path in (root / "coco/val2017").iterdir()}
    assert {Path(reference).name for reference in of_folder.references} == images
    monkeypatch.setenv(DATA_VARIABLE, str(root))
    assert benchmark_images_of(tmp_path / "p", None, tmp_path).references == of_folder.references
    kept = (tmp_path / "benchmarks.jsonl").read_text().splitlines()
    assert len(kept) == len(images)  # each file was read once
