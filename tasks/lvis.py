"""LVIS v1 detection: a model finds the objects of an image among 1,203 categories, many of them rare.

The annotations are federated: an image is annotated for some of the categories only.  `harness.metrics.federated` has
the official rules and the metrics, and fixed AP, which most papers report on minival.  Minival is the part of val whose
images are in COCO's val2017, as MDETR and GLIP use it.

`harness.data.lvis` says how categories are called.  A label that is one of the annotation file's synonyms of a category
names that category.  Intervals resample images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from harness.core import FileNeed, Intervals, Objects, PredictionFormat, Question, Row, Sample, Source, Task
from harness.data import detection as results
from harness.data import lvis as files
from harness.metrics.detection import score
from harness.metrics.federated import Evaluator, vocabulary_of
from harness.metrics.labels import detections_in

ORIGIN = "https://www.lvisdataset.org (lvis_v1_val.json.zip)"
MINIVAL_ORIGIN = "https://huggingface.co/GLIPModel/GLIP (lvis_v1_minival_inserted_image_name.json)"
IMAGES = FileNeed("coco/val2017", "COCO's 2017 validation images, https://cocodataset.org (val2017.zip)")
MORE_IMAGES = FileNeed("coco/train2017", "COCO's 2017 training images, https://cocodataset.org (train2017.zip)")


def load(source: Source, file: str, origin: str) -> Iterator[Sample[Objects]]:
    """One sample for each image.  `file` is the annotation file below ROOT, which `source.annotations` replaces."""
    path = source.annotations or source.root / file
    for image in files.read(path, source.origin(origin), source.reading):
        key = f"coco/{image.file_name}"
        yield Sample(image.id, Question(key, image.size, "detect", "", image.phrases), image.objects, key)


def write(path: Path, rows: Sequence[Row[Any]]) -> None:
    """Writes a result file; labels may be synonyms."""
    synonyms = vocabulary_of(rows).synonyms
    results.results(partial(detections_in, synonyms=synonyms)).write(path, rows)


RESULTS = PredictionFormat(
    'JSON: [{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.9}, ...], LVIS\'s result '
    "format; an image without an entry has no detections",
    results.read_results,
    write,
    read_leniently=results.read_results,
)


def _task(
    name: str, about: str, split: str, file: str, origin: str, images: tuple[FileNeed, ...], counts: Mapping[str, int]
) -> Task[Objects]:
    evaluator = Evaluator()
    return Task(
        name=name,
        version=1,
        about=about,
        kind="detect",
        splits=(split,),
        load=partial(load, file=file, origin=origin),
        score=score,
        metrics=evaluator.metrics(),
        headline="AP",
        predictions=RESULTS,
        files=(FileNeed(file, origin), *images),
        seen_in_training=(
            "The images are COCO's.  The zero-shot checkpoints of Florence-2 were not trained on COCO's boxes; the "
            "fine-tuned ones were trained on train2017, which has no image of minival, and three quarters of val's."
        ),
        corpus=evaluator.corpus,
        intervals=Intervals(resamples=200),
        remarks=evaluator.remarks,
        published={split: counts},
    )


TASKS = (
    _task(
        "lvis_minival",
        "LVIS detection: find all objects of 1,203 categories (minival)",
        "minival",
        "lvis/lvis_v1_minival_inserted_image_name.json",
        MINIVAL_ORIGIN,
        (IMAGES,),
        {"images": 4809},
    ),
    _task(
        "lvis_val",
        "LVIS detection: find all objects of 1,203 categories (val)",
        "val",
        "lvis/lvis_v1_val.json",
        ORIGIN,
        (IMAGES, MORE_IMAGES),
        {"images": 19809, "objects": 244707},
    ),
)
