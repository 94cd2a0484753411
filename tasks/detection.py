"""COCO detection: a model finds the objects of an image, with their category names.

COCOeval itself scores the boxes: pycocotools, or hotcoco with `--detection-scorer hotcoco`, which gives the same
numbers faster.  Intervals sum one table of matches under the weights of each resample.  `metrics/detection.py` defines
the scores of boxes.
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
from harness.metrics.detection import Detector, score
from harness.metrics.labels import Synonyms, detections_in

COCO_ORIGIN = "https://cocodataset.org (annotations_trainval2017.zip)"
SYNONYMS: Synonyms = json.loads(Path(__file__).with_name("coco_synonyms.json").read_text())


def load(source: Source) -> Iterator[Sample[Objects]]:
    """COCO 2017: val2017, or train2017 for training.  `source.annotations` is a file in COCO's instances format."""
    path = source.annotations or source.root / f"coco/annotations/instances_{source.split}.json"
    for image in files.read(path, source.origin(COCO_ORIGIN), source.reading):
        key = f"coco/{source.split}/{image.file_name}"
        yield Sample(image.id, Question(key, image.size, "detect", "", image.phrases), image.objects, key)


def scored_by(synonyms: Synonyms, engine: Engine) -> Mapping[str, Any]:
    """The fields of the task that depend on the engine that computes AP."""
    detector = Detector(synonyms, engine)
    return {"metrics": detector.metrics(), "corpus": detector.corpus, "remarks": detector.remarks}


TASK: Task[Objects] = Task(
    name="coco_detection",
    version=1,
    about="COCO detection: find all objects of 80 categories",
    kind="detect",
    splits=("val2017",),
    train_splits=("train2017",),
    load=load,
    score=score,
    **scored_by(SYNONYMS, "pycocotools"),
    headline="mAP",
    predictions=files.results(partial(detections_in, synonyms=SYNONYMS)),
    files=(
        FileNeed("coco/annotations/instances_val2017.json", COCO_ORIGIN, ("val2017",)),
        FileNeed("coco/val2017", "COCO's 2017 validation images, https://cocodataset.org (val2017.zip)", ("val2017",)),
        FileNeed("coco/annotations/instances_train2017.json", COCO_ORIGIN, ("train2017",)),
        FileNeed(
            "coco/train2017", "COCO's 2017 training images, https://cocodataset.org (train2017.zip)", ("train2017",)
        ),
    ),
    seen_in_training=(
        "The images are a part of COCO val2014.  Florence-2's zero-shot checkpoints were not trained on COCO's boxes.  "
        "The fine-tuned ones were trained on train2017, which has none of these images.  They were also trained on "
        "captions and questions, whose training splits may contain some of them (Karpathy's restval is from val2014)."
    ),
    intervals=Intervals(resamples=200),
    variants={"hotcoco": Variant(lambda task: replace(task, **scored_by(SYNONYMS, "hotcoco")))},
    published={
        "val2017": {"images": 5000, "objects": 36781},
        "train2017": {"images": 118287, "objects": 860001},
    },
)
TASKS = (TASK,)
