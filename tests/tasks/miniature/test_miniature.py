"""The embedded benchmark: the same everywhere, exact by construction, and fair."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.core import Boxes, Polygons, Source
from harness.errors import DataError
from harness.geometry.boxes import iou
from harness.geometry.masks import area, overlap, pixels, rasterise
from tasks import TASKS, miniature
from tasks.miniature.render import rendered_scene
from tasks.miniature.shapes import HELD_OUT, SEEN
from tasks.miniature.training import FIRST_TRAINING_SEED, FIRST_VALIDATION_SEED, training_scene
from tests.embedded import EMBEDDED

LOCATION_WORDS = {
    "left", "right", "top", "bottom", "upper", "lower", "above", "below", "middle", "center", "leftmost", "rightmost",
    "front", "behind", "corner", "side", "up", "down", "highest", "lowest",
}  # fmt: skip


def refs_of(root: Path, name: str, by: str) -> list[dict[str, Any]]:
    refs: list[dict[str, Any]] = pickle.loads((root / f"refer/{name}/refs({by}).p").read_bytes())
    return refs


def test_every_file_is_the_manifests(miniature: Path) -> None:
    from tasks.miniature import verify

    assert verify(miniature) == []


def test_a_changed_drawing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = json.loads(miniature.MANIFEST.read_text())
    first = next(iter(expected))
    other = tmp_path / "manifest.json"
    other.write_text(json.dumps({**expected, first: "0" * 64}))
    monkeypatch.setattr(miniature, "MANIFEST", other)
    with pytest.raises(DataError, match=f"1 files differ, first {first}"):
        miniature.ensure(tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").glob("*") if (path / "complete").exists()]


@pytest.mark.parametrize(("task", "split"), [(task.name, split) for task in EMBEDDED for split in task.splits])
def test_every_split_loads(miniature: Path, task: str, split: str) -> None:
    samples = list(TASKS[task].load(Source(miniature, split)))
    assert len(samples) >= (300 if task.startswith("refcoco") else 40)
    assert len({sample.id for sample in samples}) == len(samples)
    for sample in samples[:20]:
        with Image.open(miniature / sample.question.image) as image:
            assert sample.question.size in (image.size, None)


def test_an_expression_means_one_thing(miniature: Path) -> None:
    """No image has one sentence for two objects."""
    for task in ("refcoco", "refcoco_plus", "refcocog"):
        said: dict[tuple[str, str], set[object]] = {}
        for split in TASKS[task].splits:
            for sample in TASKS[task].load(Source(miniature, split)):
                said.setdefault((sample.question.image, sample.question.text), set()).add(sample.target.boxes)
        assert all(len(boxes) == 1 for boxes in said.values())


def test_refcoco_plus_has_no_location_words(miniature: Path) -> None:
    words = {
        word
        for split in TASKS["refcoco_plus"].splits
        for sample in TASKS["refcoco_plus"].load(Source(miniature, split))
        for word in sample.question.text.split()
    }
    assert not words & LOCATION_WORDS
    other = {
        word for sample in TASKS["refcoco"].load(Source(miniature, "val")) for word in sample.question.text.split()
    }
    assert len(other & LOCATION_WORDS) >= 4


def test_files_are_as_the_refer_toolkit_has_them(miniature: Path) -> None:
    for name, by, splits in (
        ("refcoco", "unc", {"train", "val", "testA", "testB"}),
        ("refcocog", "umd", {"train", "val", "test"}),
    ):
        refs = refs_of(miniature, name, by)
        assert {ref["split"] for ref in refs} == splits
        keys = {"ref_id", "ann_id", "image_id", "category_id", "split", "file_name", "sent_ids", "sentences"}
        assert all(keys <= ref.keys() for ref in refs)
        assert all(
            {"sent_id", "sent", "raw", "tokens"} <= sentence.keys() for ref in refs for sentence in ref["sentences"]
        )
        instances = json.loads((miniature / f"refer/{name}/instances.json").read_text())
        assert {"images", "annotations", "categories"} <= instances.keys()
        assert all((miniature / "coco/train2014" / image["file_name"]).is_file() for image in instances["images"])


def test_categories_enough_and_some_never_trained_on() -> None:
    assert len(SEEN) + len(HELD_OUT) >= 12
    assert len(HELD_OUT) >= 2
    assert not set(SEEN) & set(HELD_OUT)
    trained = Counter(
        thing.category for seed in range(60) for thing in rendered_scene(FIRST_TRAINING_SEED + seed).scene.things
    )
    assert trained.keys() <= set(SEEN)
    assert len(trained) == len(SEEN)


def test_polygons_are_the_masks_that_were_drawn(miniature: Path) -> None:
    """Filled by pycocotools they give back the pixels of the drawing, hidden parts left out."""
    checked = 0
    for seed in range(12):
        rendered = rendered_scene(seed)
        size = rendered.scene.size
        for place, rings in enumerate(rendered.rings):
            filled = rasterise(Polygons(rings), size)
            shown = rendered.masks[place]
            both = np.logical_and(pixels(filled), shown).sum()
            assert both / np.logical_or(pixels(filled), shown).sum() > 0.98
            left, top, right, bottom = rendered.boxes[place]
            rows, columns = np.nonzero(shown)
            assert iou((left, top, right, bottom), (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)) > 0.9
            checked += area(filled) > 0
    assert checked > 20


def test_training_scenes_are_other_scenes_and_say_the_truth() -> None:
    assert FIRST_TRAINING_SEED < FIRST_VALIDATION_SEED
    scene = training_scene(FIRST_TRAINING_SEED + 3)
    again = training_scene(FIRST_TRAINING_SEED + 3)
    assert np.array_equal(scene.image, again.image)
    assert scene.samples == again.samples
    assert {sample.question.kind for sample in scene.samples} == {"caption", "detect", "ground", "refer", "segment"}
    boxes = [box for box, _ in scene.things]
    for sample in scene.samples:
        if sample.question.kind == "refer" and isinstance(sample.target, Boxes):
            assert sample.target.boxes[0] in boxes


def test_outlines_to_learn_are_close_to_the_masks() -> None:
    rendered, scene = rendered_scene(FIRST_TRAINING_SEED), training_scene(FIRST_TRAINING_SEED)
    size = rendered.scene.size
    exact = {rasterise(Polygons(rings), size) for rings in rendered.rings}
    for sample in scene.samples:
        if isinstance(sample.target, Polygons):
            simple = rasterise(sample.target, size)
            best = max(both / either for both, either in (overlap(simple, mask) for mask in exact))
            assert best > 0.8  # sixteen points at most
