"""gRefCOCO: a model finds the boxes (GREC) or the mask (GRES) of all objects that an expression refers to, or none.

Each sentence of a ref is a sample.  Intervals resample images.

GREC, as in the paper and the authors' MDETR evaluator (github.com/henghuiding/gRefCOCO): all boxes of an answer count.
Boxes are matched with true boxes one to one, the highest IoU first, down to an IoU of 0.5.  An expression is right if
F1 is 1: all true boxes are matched, and no other box is predicted; if it refers to nothing, no box is predicted.  The
authors' code has GIoU in place of the paper's IoU, which is never higher.

GRES, as in the authors' evaluator (github.com/henghuiding/ReLA): gIoU is the mean IoU over expressions, cIoU the sum of
intersections over the sum of unions.  An expression that refers to nothing has the IoU 1 if no pixel is predicted, else
0, and its predicted pixels count in the sum of unions.  ReLA clears masks of fewer than 50 pixels before it evaluates
them; nothing is cleared here.

N-acc is the share of the expressions without objects for which nothing is predicted; T-acc the share of the others for
which something is.  An answer of another type, or an unparsable one, scores 0 everywhere and counts as unreadable.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

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
from harness.data import grefer
from harness.data.refer import UNDRAWABLE
from harness.geometry.boxes import area, iou, is_finite
from harness.geometry.masks import area as pixels_in
from harness.geometry.masks import is_drawable, overlap, rasterise
from harness.metrics.reduce import PERCENT, mean, ratio

THRESHOLD = 0.5  # IoU at which boxes match
PRECISION = "Pr@(F1=1, IoU 0.5)"
SHARES = (0.7, 0.8, 0.9)  # IoUs of P@, over the expressions with objects
ACCURACIES = {
    "N-acc": ratio("nothing right", "nothing", empty=math.nan),
    "T-acc": ratio("something right", "something", empty=math.nan),
}
SEEN = (
    "The images of all splits are in COCO train2014.  Florence-2's checkpoints were not trained on these expressions; "
    "the fine-tuned ones were trained on the training splits of RefCOCO, RefCOCO+ and RefCOCOg."
)


def load_boxes(source: Source) -> Iterator[Sample[Boxes]]:
    """One sample for each sentence; the target is all boxes, labelled with the sentence.  DataError: `grefer.read`."""
    for ref in grefer.read(source, outlines=False):
        for sentence in ref.sentences:
            question = Question(f"{grefer.IMAGES}/{ref.image_name}", ref.size, kind="refer", text=sentence.text)
            target = Boxes(ref.boxes, (sentence.text,) * len(ref.boxes))
            yield Sample(f"{ref.id}/{sentence.id}", question, target, cluster=ref.image_name)


def load_outlines(source: Source) -> Iterator[Sample[Polygons | Mask]]:
    """One sample for each sentence; the target has no rings where the sentence refers to nothing.

    A sample is excluded if its objects cannot be drawn.
    """
    for ref in grefer.read(source):
        excluded = UNDRAWABLE if ref.boxes and ref.outline is not None and not is_drawable(ref.outline) else ""
        for sentence in ref.sentences:
            question = Question(f"{grefer.IMAGES}/{ref.image_name}", ref.size, kind="segment", text=sentence.text)
            name = f"{ref.id}/{sentence.id}"
            yield Sample(name, question, ref.outline, cluster=ref.image_name, excluded=excluded)


# ---------------------------------------------------------------------------- scoring


def matched(boxes: Sequence[Box], true: Sequence[Box], measure: Callable[[Box, Box], float] = iou) -> int:
    """The number of boxes that are matched with a true box: one to one, the highest first, down to `THRESHOLD`."""
    pairs = [(measure(box, other), i, j) for i, box in enumerate(boxes) for j, other in enumerate(true)]
    left, free, count = set(range(len(boxes))), set(range(len(true))), 0
    for value, i, j in sorted(pairs, key=lambda pair: -pair[0]):  # stable: of equal values, the first pair
        if value < THRESHOLD:
            break
        if i in left and j in free:
            left.remove(i)
            free.remove(j)
            count += 1
    return count


def giou(one: Box, other: Box) -> float:
    """Generalised IoU, -1 to 1: the IoU less the share of the box around both that neither covers."""
    if not (is_finite(one) and is_finite(other)):
        return -1.0
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    either = area(one) + area(other) - width * height
    around = (max(one[2], other[2]) - min(one[0], other[0])) * (max(one[3], other[3]) - min(one[1], other[1]))
    return iou(one, other) - ((around - either) / around if around else 0.0)


def score_boxes(sample: Sample[Boxes], answer: Answer) -> Score:
    """Whether F1 is 1 (`right`), and the counts of N-acc and T-acc.  ValueError where the sample has no target."""
    if sample.target is None:
        raise ValueError(f"sample {sample.id} has no target")
    value, true = answer.value if isinstance(answer.value, Boxes) else None, sample.target.boxes
    boxes = value.boxes if value is not None else ()
    right = value is not None and len(boxes) == len(true) == matched(boxes, true)
    return Score({"right": float(right), **_presence(not true, value is not None, bool(boxes))}, value is not None)


def score_outline(sample: Sample[Polygons | Mask], answer: Answer) -> Score:
    """`iou`, the intersection `both` and the union `either` in pixels, and the counts of P@, N-acc and T-acc.

    ValueError where the sample has no target or no image size.
    """
    size, target = sample.question.size, sample.target
    if target is None or size is None:
        raise ValueError(f"sample {sample.id} has no target, or its image has no size")
    outline = _outline(answer.value, size)
    guess = rasterise(outline or Polygons(()), size)
    both, either = overlap(guess, rasterise(target, size))
    found, nothing = pixels_in(guess) > 0, isinstance(target, Polygons) and not target.rings
    share = both / either if either else 0.0
    if nothing:
        share = float(outline is not None and not found)
    above = {f"above {least}": float(not nothing and share >= least) for least in SHARES}
    counts = _presence(nothing, outline is not None, found)
    return Score({"iou": share, "both": both, "either": either, **above, **counts}, readable=outline is not None)


def _outline(value: Value | None, size: Size) -> Polygons | Mask | None:
    """The outline of an answer; None where the answer has another type or a mask of another image size."""
    if isinstance(value, Mask):
        return value if value.size == size else None
    return value if isinstance(value, Polygons) else None


def _presence(nothing: bool, readable: bool, found: bool) -> dict[str, float]:
    """The counts of N-acc and T-acc: `nothing` is whether the expression refers to nothing, `found` the prediction."""
    return {
        "nothing": float(nothing),
        "nothing right": float(nothing and readable and not found),
        "something": float(not nothing),
        "something right": float(not nothing and found),
    }


def remarks_on_boxes(rows: Sequence[Row[Boxes]]) -> list[str]:
    """A sentence where the authors' evaluator, which matches boxes by GIoU, gives the rows another precision."""
    here = there = 0
    for row in rows:
        right = row.score.values["right"] > 0
        boxes, true = row.answer.value, row.sample.target
        here += right
        if right and isinstance(boxes, Boxes) and true is not None:
            right = matched(boxes.boxes, true.boxes, giou) == len(true.boxes)
        there += right
    if here == there:
        return []
    return [
        f"GIoU: the authors' evaluator matches boxes by GIoU in place of the paper's IoU, and gives {PRECISION} "
        f"{PERCENT * there / len(rows):.2f} (here {PERCENT * here / len(rows):.2f})"
    ]


# ---------------------------------------------------------------------------- tasks

_FILES = (
    FileNeed("refer/grefcoco/grefs(unc).json", grefer.ORIGIN),
    FileNeed("refer/grefcoco/instances.json", grefer.ORIGIN),
    FileNeed(grefer.IMAGES, "COCO's 2014 training images, https://cocodataset.org (train2014.zip)"),
)
COMPREHENSION: Task[Boxes] = Task(
    name="grefcoco",
    version=1,
    about="gRefCOCO: find the boxes of all objects that an expression refers to, or none",
    kind="refer",
    splits=("val", "testA", "testB"),
    load=load_boxes,
    score=score_boxes,
    metrics={PRECISION: mean("right"), **ACCURACIES},
    headline=PRECISION,
    predictions=grefer.BOXES,
    files=_FILES,
    seen_in_training=SEEN,
    remarks=remarks_on_boxes,
)
SEGMENTATION: Task[Polygons | Mask] = Task(
    name="grefcoco_res",
    version=1,
    about="gRefCOCO: find the mask of all objects that an expression refers to, or none",
    kind="segment",
    splits=("val", "testA", "testB"),
    load=load_outlines,
    score=score_outline,
    metrics={
        "gIoU": mean("iou"),
        "cIoU": ratio("both", "either"),
        **ACCURACIES,
        **{f"P@{least}": ratio(f"above {least}", "something", empty=math.nan) for least in SHARES},
    },
    headline="gIoU",
    predictions=grefer.MASKS,
    files=_FILES,
    seen_in_training=SEEN,
)
TASKS: tuple[Task[Any], ...] = (COMPREHENSION, SEGMENTATION)
