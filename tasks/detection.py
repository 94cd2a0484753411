"""COCO detection: an image in, boxes with category names out.

Scored by COCOeval itself (pycocotools, or hotcoco with `--detection-scorer hotcoco`, which is equal and quicker);
intervals sum one table of matches again under each resample.  `metrics/detection.py` defines the scores of boxes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from harness.core import FileNeed, Intervals, Objects, Question, Sample, Source, Task, Variant
from harness.data import detection as files
from harness.metrics.coco_eval import Engine
from harness.metrics.detection import Detector, Synonyms, found_in, score

COCO_ORIGIN = "https://cocodataset.org (annotations_trainval2017.zip)"
SYNONYMS: Synonyms = json.loads(Path(__file__).with_name("coco_synonyms.json").read_text())


def load(source: Source) -> Iterator[Sample[Objects]]:
    """COCO 2017: val2017, or train2017 to learn from."""
    path = source.annotations or source.root / f"coco/annotations/instances_{source.split}.json"
    for image in files.read(path, COCO_ORIGIN):
        where = f"coco/{source.split}/{image.file_name}"
        yield Sample(image.id, Question(where, image.size, "detect", "", image.phrases), image.objects, where)


def marked_by(synonyms: Synonyms, engine: Engine) -> Mapping[str, Any]:
    """The fields of the task that depend on how AP is computed."""
    detector = Detector(synonyms, engine)
    return {"metrics": detector.metrics(), "corpus": detector.corpus}


TASK: Task[Objects] = Task(
    name="coco_detection",
    version=1,
    about="COCO detection: boxes of everything that is of one of 80 categories",
    splits=("val2017",),
    train_splits=("train2017",),
    load=load,
    score=score,
    **marked_by(SYNONYMS, "pycocotools"),
    headline="mAP",
    predictions=files.results(partial(found_in, synonyms=SYNONYMS)),
    files=(
        FileNeed("coco/annotations/instances_val2017.json", COCO_ORIGIN, ("val2017",)),
        FileNeed("coco/val2017", "COCO's 2017 validation images, https://cocodataset.org (val2017.zip)", ("val2017",)),
        FileNeed("coco/annotations/instances_train2017.json", COCO_ORIGIN, ("train2017",)),
        FileNeed(
            "coco/train2017", "COCO's 2017 training images, https://cocodataset.org (train2017.zip)", ("train2017",)
        ),
    ),
    seen_in_training=(
        "The images are a part of COCO val2014.  The zero-shot checkpoints of Florence-2 were trained on no boxes of "
        "COCO's; the fine-tuned ones on train2017, which has none of these images, and on captions and questions, "
        "whose training splits may hold some of them (Karpathy's restval is of val2014)."
    ),
    intervals=Intervals(resamples=200),
    variants={"hotcoco": Variant(lambda task: replace(task, **marked_by(SYNONYMS, "hotcoco")))},
    published={
        "val2017": {"images": 5000, "objects": 36781},
        "train2017": {"images": 118287, "objects": 860001},
    },
)
TASKS = (TASK,)
