"""RefCOCO, RefCOCO+ and RefCOCOg: a model finds the box (REC) or the mask (RES) of the object that a sentence names.

Each sentence is a sample; its text is the toolkit's `sent`.  Intervals resample images.

REC: the first box of an answer counts, in pixels of the original image; further boxes are ignored.  The box is right at
an IoU of 0.5 or more (plain IoU, no rounding).

RES: both masks are filled by pycocotools at the resolution of the image.  mIoU is the mean over sentences.  oIoU is the
sum of intersections over the sum of unions, in pixels.  The IoU of two empty masks is 0.  A sentence whose object has
no ring of three points is excluded: nothing can be drawn, and the refer toolkit raises an error.

An answer of another type, or an unparsable one, scores 0, stays in every mean, and counts as unreadable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from harness.core import (
    Answer,
    Box,
    Boxes,
    FileNeed,
    Mask,
    Polygons,
    Question,
    Row,
    Sample,
    Score,
    Size,
    Source,
    Task,
    Value,
)
from harness.data import refer
from harness.geometry.boxes import iou, to_xywh
from harness.geometry.masks import is_drawable, overlap, rasterise
from harness.metrics.reduce import PERCENT, mean, ratio, share_above


class Published(NamedTuple):
    """One of the three data sets, as published."""

    name: str
    title: str
    folder: str  # in the refer toolkit
    by: str  # the authors of the splits, in the toolkit's file names
    sentences: dict[str, int]  # split to number of sentences

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The published counts of each split, for `data check`."""
        return {split: {"samples": count} for split, count in self.sentences.items()}


REFCOCO = Published("refcoco", "RefCOCO", "refcoco", "unc", {"val": 10_834, "testA": 5_657, "testB": 5_095})
REFCOCO_PLUS = Published("refcoco_plus", "RefCOCO+", "refcoco+", "unc", {"val": 10_758, "testA": 5_726, "testB": 4_889})
REFCOCOG = Published("refcocog", "RefCOCOg", "refcocog", "umd", {"val": 4_896, "test": 9_602})

SEEN = (
    "The images of all splits, val and test included, are in COCO train2014.  Florence-2's zero-shot checkpoints were "
    "not trained on the expressions.  The fine-tuned ones were trained on the training splits of RefCOCO, RefCOCO+ and "
    "RefCOCOg."
)

HALF = 0.5  # the IoU at which a box is right


def load_boxes(source: Source, data: Published) -> Iterator[Sample[Boxes]]:
    """One sample for each sentence; the target is a box labelled with the sentence.  DataError as for `refer.read`."""
    for ref in refer.read(source, data.folder, data.by, outlines=False):
        for sentence in ref.sentences:
            question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, kind="refer", text=sentence.text)
            yield Sample(sentence.id, question, Boxes((ref.box,), (sentence.text,)), cluster=ref.image_name)


def load_outlines(source: Source, data: Published) -> Iterator[Sample[Polygons | Mask]]:
    """One sample for each sentence; the target is the object's polygons, or its mask where the files have a mask.

    A sample is excluded if its target cannot be drawn.
    """
    for ref in refer.read(source, data.folder, data.by):
        excluded = refer.UNDRAWABLE if ref.outline is not None and not is_drawable(ref.outline) else ""
        for sentence in ref.sentences:
            question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, kind="segment", text=sentence.text)
            yield Sample(sentence.id, question, ref.outline, cluster=ref.image_name, excluded=excluded)


def score_box(sample: Sample[Boxes], answer: Answer) -> Score:
    """`iou` of the first box; 0 and readable where there is no box.  ValueError where the sample has no target."""
    if sample.target is None:
        raise ValueError(f"sample {sample.id} has no target")
    value = answer.value if isinstance(answer.value, Boxes) else None
    first = value.boxes[:1] if value else ()
    return Score({"iou": iou(first[0], sample.target.boxes[0]) if first else 0.0}, readable=value is not None)


def score_outline(sample: Sample[Polygons | Mask], answer: Answer) -> Score:
    """The intersection `both` and the union `either` in pixels, and their ratio `iou`.

    An outline without rings is readable and scores 0.  ValueError where the sample has no target or no image size.
    """
    size = sample.question.size
    if sample.target is None or size is None:
        raise ValueError(f"sample {sample.id} has no target, or its image has no size")
    outline = _outline(answer.value, size)
    both, either = overlap(rasterise(outline or Polygons(()), size), rasterise(sample.target, size))
    share = both / either if either else 0.0  # two empty masks score 0, as in LAVT and PolyFormer
    return Score({"iou": share, "both": both, "either": either}, readable=outline is not None)


def remarks_on_boxes(rows: Sequence[Row[Boxes]]) -> list[str]:
    """A sentence where the refer toolkit's `computeIoU`, in float32 as in MAttNet, gives the rows another Acc@0.5."""
    here = there = changed = 0
    for row in rows:
        value, target = row.answer.value, row.sample.target
        right = row.score.values["iou"] >= HALF
        there_right = right
        if isinstance(value, Boxes) and value.boxes and target is not None:
            there_right = mattnet_iou(value.boxes[0], target.boxes[0]) >= HALF
        here, there, changed = here + right, there + there_right, changed + (right != there_right)
    if not changed:
        return []
    return [
        f"IoU at 0.5: by the refer toolkit's computeIoU in float32, as in MAttNet, {changed:,} boxes change sides, and "
        f"Acc@0.5 is {PERCENT * there / len(rows):.2f} (here {PERCENT * here / len(rows):.2f}, in float64)"
    ]


def mattnet_iou(one: Box, other: Box) -> float:
    """The IoU of the refer toolkit's `computeIoU` in float32, as MAttNet computes it; NaN if both boxes are empty.

    Its edges are the last pixels of a box (x + width - 1), so an overlap of at most one pixel counts as none.
    """
    with np.errstate(all="ignore"):
        first, second = np.array(to_xywh(one), np.float32), np.array(to_xywh(other), np.float32)
        start = np.maximum(first[:2], second[:2])
        last = np.minimum(first[:2] + first[2:] - 1, second[:2] + second[2:] - 1)
        both = (last - start + 1).prod() if (start < last).all() else np.float32(0)
        return float(both / (first[2:].prod() + second[2:].prod() - both))


def _outline(value: Value | None, size: Size) -> Polygons | Mask | None:
    """The outline of an answer; None where the answer has another type or a mask of another image size."""
    if isinstance(value, Mask):
        return value if value.size == size else None
    return value if isinstance(value, Polygons) else None


def _files(data: Published) -> tuple[FileNeed, ...]:
    origin = f"{data.title} of the refer toolkit, {refer.ORIGIN}"
    return (
        FileNeed(f"refer/{data.folder}/refs({data.by}).p", origin),
        FileNeed(f"refer/{data.folder}/instances.json", origin),
        FileNeed(refer.IMAGES, "COCO's 2014 training images, https://cocodataset.org (train2014.zip)"),
    )


def comprehension(data: Published) -> Task[Boxes]:
    """The task REC on a data set."""
    return Task(
        name=data.name,
        version=2,
        about=f"{data.title}: find the box of the object that a sentence refers to ({data.by} splits)",
        kind="refer",
        splits=tuple(data.sentences),
        train_splits=("train",),
        load=partial(load_boxes, data=data),
        score=score_box,
        remarks=remarks_on_boxes,
        metrics={
            "Acc@0.5": share_above("iou", 0.5),
            "mIoU": mean("iou"),
            **{f"Acc@{tenths / 10}": share_above("iou", tenths / 10) for tenths in (1, 2, 3, 4, 6, 7, 8, 9)},
        },
        headline="Acc@0.5",
        predictions=refer.BOXES,
        files=_files(data),
        seen_in_training=SEEN,
        published=data.counts,
    )


def segmentation(data: Published) -> Task[Polygons | Mask]:
    """The task RES on a data set."""
    return Task(
        name=f"{data.name}_res",
        version=2,
        about=f"{data.title}: find the mask of the object that a sentence refers to ({data.by} splits)",
        kind="segment",
        splits=tuple(data.sentences),
        train_splits=("train",),
        load=partial(load_outlines, data=data),
        score=score_outline,
        metrics={
            "mIoU": mean("iou"),
            "oIoU": ratio("both", "either"),
            **{f"P@{tenths / 10}": share_above("iou", tenths / 10) for tenths in range(5, 10)},
        },
        headline="mIoU",
        predictions=refer.MASKS,
        files=_files(data),
        seen_in_training=SEEN,
        published=data.counts,
    )


TASKS: tuple[Task[Any], ...] = tuple(
    make(data) for make in (comprehension, segmentation) for data in (REFCOCO, REFCOCO_PLUS, REFCOCOG)
)
