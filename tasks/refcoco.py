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

from harness.core import Answer, Boxes, FileNeed, Mask, Polygons, Question, Sample, Score, Size, Source, Task
from harness.data import refer
from harness.geometry.boxes import iou
from harness.geometry.masks import overlap, rasterise
from harness.metrics.reduce import mean, ratio, share_above


def load_boxes(source: Source, folder: str, by: str) -> Iterator[Sample[Boxes]]:
    for ref in refer.read(source, folder, by):
        for sentence in ref.sentences:
            question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, kind="refer", text=sentence.text)
            yield Sample(sentence.id, question, Boxes((ref.box,), (sentence.text,)), cluster=ref.image_name)


def load_outlines(source: Source, folder: str, by: str) -> Iterator[Sample[Polygons | Mask]]:
    for ref in refer.read(source, folder, by):
        for sentence in ref.sentences:
            question = Question(f"{refer.IMAGES}/{ref.image_name}", ref.size, kind="segment", text=sentence.text)
            yield Sample(sentence.id, question, ref.outline, cluster=ref.image_name)


def score_box(sample: Sample[Boxes], answer: Answer) -> Score:
    if sample.target is None:
        raise ValueError(f"sample {sample.id} has no target")
    guess = answer.value if isinstance(answer.value, Boxes) else None
    first = guess.boxes[:1] if guess else ()
    return Score({"iou": iou(first[0], sample.target.boxes[0]) if first else 0.0}, readable=guess is not None)


def score_outline(sample: Sample[Polygons | Mask], answer: Answer) -> Score:
    size = sample.question.size
    if sample.target is None or size is None:
        raise ValueError(f"sample {sample.id} has no target, or its image no size")
    outline = answer.value if _is_outline(answer.value, size) else None
    both, either = overlap(rasterise(outline or Polygons(()), size), rasterise(sample.target, size))
    score = both / either if either else 0.0  # nothing drawn where nothing is: 0, as LAVT and PolyFormer count it
    return Score({"iou": score, "both": both, "either": either}, readable=outline is not None)
