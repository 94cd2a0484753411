"""COCO detection from files to metrics, against pycocotools on the same two files."""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness import runner
from harness.core import Source
from harness.metrics.coco_eval import NAMES
from tasks import TASKS
from tasks.detection import SYNONYMS


def write(folder: Path, seed: int) -> tuple[Path, Path]:
    """Writes truths and detections: images in random order, boxes of all sizes, crowds, and many equal scores."""
    draw = random.Random(seed)
    images = draw.sample(range(1, 1000), 30)

    def box() -> list[float]:
        sides = [draw.uniform(0, 300) for _ in range(2)] + [draw.uniform(4, 200) for _ in range(2)]
        if draw.random() < 0.5:
            return [round(side, 2) for side in sides]
        return [float(np.float32(side)) for side in sides]

    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image in images:
        for _ in range(draw.randint(0, 5)):
            x, y, width, height = sides = box()
            kind = {"image_id": image, "category_id": draw.choice((3, 7, 90))}
            crowd = int(draw.random() < 0.1)
            area = 0.7 * width * height
            annotations.append({"id": len(annotations) + 1, "bbox": sides, "area": area, "iscrowd": crowd, **kind})
            if draw.random() < 0.8:
                moved = [x + draw.gauss(0, width / 20), y + draw.gauss(0, height / 20), width, height]
                if draw.random() < 0.4:
                    moved = [x, y, width / 2, height]  # an IoU of exactly 0.5
                detections.append({"bbox": moved, "score": draw.choice((0.25, 0.5, 0.75)), **kind})
        detections.append({"image_id": image, "category_id": 7, "bbox": box(), "score": draw.choice((0.25, 0.5))})
    draw.shuffle(detections)
    truths = {
        "images": [{"id": image, "file_name": f"{image}.jpg", "width": 500, "height": 500} for image in images],
        "categories": [{"id": number, "name": f"thing {number}"} for number in (3, 7, 90)],
        "annotations": annotations,
    }
    (folder / "truth.json").write_text(json.dumps(truths))
    (folder / "found.json").write_text(json.dumps(detections))
    return folder / "truth.json", folder / "found.json"


@pytest.mark.parametrize("scorer", ["pycocotools", "hotcoco"])
@pytest.mark.parametrize("seed", range(5))
def test_twelve_metrics_equal_cocoeval_by_the_published_steps(tmp_path: Path, seed: int, scorer: str) -> None:
    truth, found = write(tmp_path, seed)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()

    task = TASKS["coco_detection"]
    task = task.variants[scorer].apply(task) if scorer in task.variants else task
    samples = list(task.load(Source(tmp_path, "val2017", truth)))
    rows = runner.mark(task, samples, task.predictions.read(found, samples))
    ones = np.ones(len(rows))
    ours = [task.metrics[name].prepare(rows)(ones) / 100 for name in NAMES]
    # Means of at most 10 thresholds x 101 recalls x 3 categories of shares: 3030 x 2.2e-16 = 6.7e-13.
    np.testing.assert_allclose(ours, evaluation.stats, rtol=0, atol=1e-12)


def test_synonyms_map_to_category_names_of_coco() -> None:
    """The 80 names of COCO's annotation file."""
    names = (
        "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign "
        "parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella "
        "handbag tie suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard "
        "surfboard tennis_racket bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange "
        "broccoli carrot hot_dog pizza donut cake chair couch potted_plant bed dining_table toilet tv laptop "
        "mouse remote keyboard cell_phone microwave oven toaster sink refrigerator book clock vase scissors "
        "teddy_bear hair_drier toothbrush "
    )
    known = {name.replace("_", " ") for name in names.split()}
    assert len(known) == 80
    assert set(SYNONYMS.values()) <= known
    assert not known & set(SYNONYMS)  # no category name is a synonym of another
    assert all(label == " ".join(label.lower().split()) for label in SYNONYMS)
