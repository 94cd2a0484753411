"""RefCOCO, RefCOCO+ and RefCOCOg: one sentence in, one object's box (REC) or mask (RES) out.

Every sentence is a sample; its text is the toolkit's `sent`.  Intervals are by image.

REC: the first box of an answer counts, whatever follows, in pixels of the original image as it stands: no second
reading of the coordinates is tried.  It is right at an IoU of 0.5 or more (plain IoU, no rounding).
RES: masks are compared at the image's own resolution, both sides filled as pycocotools fills.  mIoU is the mean over
sentences, oIoU all pixels shared over all pixels covered; nothing drawn where nothing is scores 0.

An answer of another kind, or none, scores 0, stays in every mean, and is counted as unreadable.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

from harness.core import Answer, Boxes, FileNeed, Mask, Polygons, Question, Sample, Score, Size, Source, Task, Value
from harness.data import refer
from harness.geometry.boxes import iou
from harness.geometry.masks import overlap, rasterise
from harness.metrics.reduce import mean, ratio, share_above


class Published(NamedTuple):
    """One of the three data sets: its folder in the refer toolkit, who split it, and the sentences of each split."""

    name: str
    title: str
    folder: str
    by: str
    sentences: dict[str, int]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """For `data check`."""
        return {split: {"samples": count} for split, count in self.sentences.items()}


REFCOCO = Published("refcoco", "RefCOCO", "refcoco", "unc", {"val": 10_834, "testA": 5_657, "testB": 5_095})
REFCOCO_PLUS = Published("refcoco_plus", "RefCOCO+", "refcoco+", "unc", {"val": 10_758, "testA": 5_726, "testB": 4_889})
REFCOCOG = Published("refcocog", "RefCOCOg", "refcocog", "umd", {"val": 4_896, "test": 9_602})

SEEN = (
    "The images of every split, val and test included, are in COCO train2014.  The zero-shot checkpoints of Florence-2 "
    "have not seen RefCOCO's expressions; the fine-tuned ones were tuned on the training splits of the RefCOCO mix."
)


def load_boxes(source: Source, data: Published) -> Iterator[Sample[Boxes]]:
    """A sample a sentence; the target is one box, labelled with the sentence.  DataError as `refer.read`."""
    for ref in refer.read(source, data.folder, data.by, outlines=False):
        for sentence in ref.sentences:
            question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, kind="refer", text=sentence.text)
            yield Sample(sentence.id, question, Boxes((ref.box,), (sentence.text,)), cluster=ref.image_name)


def load_outlines(source: Source, data: Published) -> Iterator[Sample[Polygons | Mask]]:
    """A sample a sentence; the target is the object's polygons, or its mask where it is published as one."""
    for ref in refer.read(source, data.folder, data.by):
        for sentence in ref.sentences:
            question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, kind="segment", text=sentence.text)
            yield Sample(sentence.id, question, ref.outline, cluster=ref.image_name)


def score_box(sample: Sample[Boxes], answer: Answer) -> Score:
    """`iou` of the first box.  No box at all is readable, and 0."""
    if sample.target is None:
        raise ValueError(f"sample {sample.id} has no target")
    guess = answer.value if isinstance(answer.value, Boxes) else None
    first = guess.boxes[:1] if guess else ()
    return Score({"iou": iou(first[0], sample.target.boxes[0]) if first else 0.0}, readable=guess is not None)


def score_outline(sample: Sample[Polygons | Mask], answer: Answer) -> Score:
    """`both` and `either` in pixels, and their ratio `iou`.  No ring at all is readable, and 0."""
    size = sample.question.size
    if sample.target is None or size is None:
        raise ValueError(f"sample {sample.id} has no target, or its image no size")
    outline = _outline(answer.value, size)
    both, either = overlap(rasterise(outline or Polygons(()), size), rasterise(sample.target, size))
    share = both / either if either else 0.0  # nothing drawn where nothing is: 0, as LAVT and PolyFormer count it
    return Score({"iou": share, "both": both, "either": either}, readable=outline is not None)


def _outline(value: Value | None, size: Size) -> Polygons | Mask | None:
    """What an answer draws; a mask of another size is of another image, and draws nothing in this one."""
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
    """REC: the box of what a sentence refers to."""
    return Task(
        name=data.name,
        version=2,
        about=f"{data.title}: the box of the object that a sentence refers to ({data.by} splits)",
        splits=tuple(data.sentences),
        train_splits=("train",),
        load=partial(load_boxes, data=data),
        score=score_box,
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
    """RES: the mask of what a sentence refers to."""
    return Task(
        name=f"{data.name}_res",
        version=2,
        about=f"{data.title}: the mask of the object that a sentence refers to ({data.by} splits)",
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
