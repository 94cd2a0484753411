"""ODinW's files of the miniature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tasks.miniature import odinw
from tasks.miniature.render import rendered_scene
from tasks.miniature.shapes import HELD_OUT
from tasks.miniature.training import FIRST_TRAINING_SEED
from tests.tasks.miniature.scenes import coco, samples_of


def test_categories_are_in_no_training_scene(miniature: Path) -> None:
    names = {phrase.text for s in samples_of(miniature, "odinw_miniature") for phrase in s.question.phrases}
    assert names == set(HELD_OUT)
    trained = {t.category for seed in range(200) for t in rendered_scene(FIRST_TRAINING_SEED + seed).scene.things}
    assert not names & trained
    assert all(sample.target.boxes for sample in samples_of(miniature, "odinw_miniature"))


def test_colour_belongs_to_the_categories_to_find_alone() -> None:
    for data in odinw.DATA_SETS:
        for seed in range(5):
            for thing in odinw._rendered(odinw.FIRST_SEED + seed, data).scene.things:
                if thing.category in data.colours:
                    assert thing.colour == data.colours[thing.category]
                else:
                    assert thing.colour not in data.colours.values()


def test_files_agree_with_pycocotools_masks(miniature: Path) -> None:
    for data in odinw.DATA_SETS:
        path = miniature / f"odinw_miniature/{data.name}/valid/annotations_without_background.json"
        truth = coco(path)
        assert [category["name"] for category in json.loads(path.read_text())["categories"]] == list(data.colours)
        assert len(truth.dataset["images"]) == odinw.IMAGES
        for annotation in truth.dataset["annotations"]:
            rows, columns = np.nonzero(truth.annToMask(annotation))
            left, top, width, height = annotation["bbox"]
            assert (columns.min(), rows.min()) == (left, top)
            assert (columns.max() + 1 - left, rows.max() + 1 - top) == (width, height)
