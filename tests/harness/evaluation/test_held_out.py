"""Scores of a model on held-out scenes, versus pycocotools as COCO's code is called."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.core import Boxes, Size
from harness.data_engine.records import Annotation, ImageRow, Record
from harness.evaluation.held_out import detailed, detection, entry, mean_average_precision
from tasks.miniature.study_scenes import HELD_OUT, write

LABELS = ("cat", "dog", "car")


def world() -> tuple[dict[str, Record], dict[str, list[tuple[str, tuple[float, float, float, float]]]]]:
    """Ten images with moved, missing, repeated and invented boxes."""
    draw = random.Random(4)
    records, truth = {}, {}
    for number in range(10):
        name = f"{number}.png"
        objects, regions = [], []
        for _ in range(3):
            x, y = draw.uniform(0, 60), draw.uniform(0, 60)
            box = (x, y, x + draw.uniform(20, 60), y + draw.uniform(20, 60))
            label = draw.choice(LABELS)
            objects.append((label, box))
            for _ in range(draw.choice((0, 1, 1, 2))):
                moved = tuple(side + draw.uniform(-6, 6) for side in box)
                said = label if draw.random() < 0.8 else draw.choice(LABELS)
                regions.append(
                    Annotation(
                        image=name, kind="region", value=Boxes((moved,), (said,)), origin="m", score=draw.random(),  # type: ignore[arg-type]
                    )
                )  # fmt: skip
        truth[name] = objects
        image = ImageRow(reference=name, sha256=name, size=Size(128, 128))
        records[name] = Record(image=image, annotations=tuple(regions))
    return records, truth


def official(records: dict[str, Record], truth: dict[str, Any]) -> float:
    ids = {name: place + 1 for place, name in enumerate(records)}

    def sides(box: Any) -> list[float]:
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    true = [(ids[name], LABELS.index(label), sides(box)) for name, of in truth.items() for label, box in of]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": each} for each in ids.values()],
        "categories": [{"id": place} for place in range(len(LABELS))],
        "annotations": [
            {"id": number, "image_id": image, "category_id": kind, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for number, (image, kind, box) in enumerate(true, start=1)
        ],
    }  # fmt: skip
    coco.createIndex()
    said = [
        {
            "image_id": ids[name], "category_id": LABELS.index(each.value.labels[0]),  # type: ignore[union-attr]
            "bbox": sides(each.value.boxes[0]), "score": each.score,  # type: ignore[union-attr]
        }
        for name, record in records.items()
        for each in record.annotations
    ]  # fmt: skip
    run = COCOeval(coco, coco.loadRes(said), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    return 100 * float(run.stats[0])


def test_map_is_that_of_pycocotools() -> None:
    records, truth = world()
    ours = mean_average_precision(records, truth)
    assert 5 < ours < 95
    assert ours == pytest.approx(official(records, truth), abs=1e-9)


def test_model_without_a_box_has_zero() -> None:
    records, truth = world()
    empty = {name: Record(image=record.image) for name, record in records.items()}
    assert mean_average_precision(empty, truth) == 0.0


def test_model_is_asked_about_every_held_out_scene(tmp_path: Path) -> None:
    """florence2-nano finds things in scenes that it never saw, and writes texts of another kind than the truth."""
    write(tmp_path, HELD_OUT, 3)
    checkpoint = Path(entry().at_hand())
    scores = detection(checkpoint, tmp_path, "cpu")
    assert scores.keys() == {"F1", "mAP"}
    assert 10 < scores["F1"] <= 100
    assert 0 <= detailed(checkpoint, tmp_path, "cpu")["CIDEr"] < 1000
