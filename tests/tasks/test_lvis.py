"""LVIS from files to metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness import runner
from harness.core import Answer, Boxes, Sample, Source
from harness.errors import DataError
from tasks import TASKS

TASK = TASKS["lvis_minival"]
BOX = (0.0, 0.0, 10.0, 10.0)


def write(folder: Path) -> list[Sample[Any]]:
    """Two images with an axe each; the second is known to show no bus, and nobody looked for buses in the first."""
    path = folder / "lvis/lvis_v1_minival_inserted_image_name.json"
    path.parent.mkdir()
    path.write_text(json.dumps({
        "images": [
            {"id": n, "width": 40, "height": 40, "coco_url": f"http://images.cocodataset.org/val2017/{n:012d}.jpg",
             "neg_category_ids": [2] * (n == 2), "not_exhaustive_category_ids": []}
            for n in (1, 2)
        ],
        "categories": [
            {"id": 2, "name": "bus_(vehicle)", "synonyms": ["bus_(vehicle)", "motorbus"], "frequency": "f"},
            {"id": 1, "name": "ax", "synonyms": ["ax", "axe"], "frequency": "r"},
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 100} for n in (1, 2)
        ],
    }))  # fmt: skip
    return list(TASK.load(Source(folder, "minival")))


def test_question_is_to_detect_all_categories_in_coco_images(tmp_path: Path) -> None:
    first, _ = write(tmp_path)
    assert (first.id, first.cluster) == ("1", "coco/val2017/000000000001.jpg")
    assert first.question.kind == "detect"
    assert first.question.image == "coco/val2017/000000000001.jpg"
    assert [phrase.text for phrase in first.question.phrases] == ["bus", "ax"]


def test_label_that_is_a_synonym_names_its_category(tmp_path: Path) -> None:
    """The second image has a wrong bus, which has no truths and so no AP; the axes are found in both."""
    samples = write(tmp_path)
    answers = {s.id: Answer(("x",), Boxes((BOX, BOX), ("Axe", "motorbus"), (0.9, 0.8))) for s in samples}
    rows = runner.mark(TASK, samples, answers)
    metrics = runner.reduce(TASK, rows, seed=0)
    assert metrics["AP"].value == metrics["APr"].value == pytest.approx(100)
    assert metrics["APf"].value is None
    assert metrics["precision"].value == pytest.approx(100 * 2 / 3)
    assert [row.score.values["unmapped labels"] for row in rows] == [0, 0]


def test_predictions_have_the_ids_of_the_annotations(tmp_path: Path) -> None:
    samples = write(tmp_path)
    answers = {s.id: Answer(("x",), Boxes((BOX, BOX), ("axe", "dog"), (0.75, 0.5))) for s in samples}
    rows = runner.mark(TASK, samples, answers)
    TASK.predictions.write(tmp_path / "p.json", rows)
    assert json.loads((tmp_path / "p.json").read_bytes()) == [
        {"image_id": n, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.75} for n in (1, 2)
    ]  # "dog" is no category here
    again = runner.mark(TASK, samples, TASK.predictions.read(tmp_path / "p.json", samples))
    assert [row.score.values["F1"] for row in again] == [row.score.values["F1"] for row in rows]


def test_masks_of_a_result_file_are_ignored(tmp_path: Path) -> None:
    """LVIS's result files may have a segmentation too."""
    samples = write(tmp_path)
    entry = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 1, "segmentation": {"counts": "x"}}
    (tmp_path / "p.json").write_text(json.dumps([entry]))
    rows = runner.mark(TASK, samples, TASK.predictions.read(tmp_path / "p.json", samples))
    assert [row.score.values["F1"] for row in rows] == [1, 0]


def test_annotations_of_coco_are_refused(tmp_path: Path) -> None:
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "categories": [], "annotations": []}
    (tmp_path / "mine.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"mine\.json is not as expected: .*`neg_category_ids`"):
        list(TASK.load(Source(tmp_path, "minival", tmp_path / "mine.json")))


def test_val_and_minival_differ_in_files_only() -> None:
    val = TASKS["lvis_val"]
    assert val.splits == ("val",) and val.files[0].path == "lvis/lvis_v1_val.json"
    assert val.metrics.keys() == TASK.metrics.keys()
    assert {need.path for need in val.files} - {need.path for need in TASK.files} == {
        "lvis/lvis_v1_val.json", "coco/train2017",
    }  # fmt: skip
