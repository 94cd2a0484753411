"""Flickr30k Entities: a model finds the boxes of each phrase of a sentence.

Phrases are scored as by MDETR, Kosmos-2 and GLIP (the any-box protocol).  A phrase is right at k if one of its first k
boxes has an IoU of 0.5 or more with any box of its chain.  The merged-boxes protocol (`merged`) uses the smallest box
around all boxes of the chain instead.  Phrases without boxes are not queried, and a phrase without a predicted box is
wrong.  Coordinates are as in the files, without an offset, and IoU has no pixel added.  A sentence is a sample;
intervals resample images.

This is "Flickr30k R@1" of the Florence-2 paper.  The Entities splits are not Karpathy's: some of his test images are in
the Entities training split.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.core import Answer, Box, FileNeed, Grounded, Question, Row, Sample, Score, Source, Task
from harness.data import flickr30k as files
from harness.geometry.boxes import iou
from harness.metrics.reduce import PERCENT, ratio

THRESHOLD = 0.5  # IoU at which a box is right
FIRST = (1, 5, 10)  # k of R@k
TYPES = ("people", "clothing", "bodyparts", "animals", "vehicles", "instruments", "scene", "other")


def load(source: Source) -> Iterator[Sample[Grounded]]:
    """One sample for each sentence; `source.annotations` is a folder with the files below ROOT/flickr30k."""
    for sentence in files.read(
        source.annotations or source.root / "flickr30k", source.split, source.origin(files.ORIGIN)
    ):
        image = f"flickr30k/{files.IMAGES}/{sentence.image}.jpg"
        question = Question(image, sentence.size, "ground", sentence.text, sentence.phrases)
        yield Sample(f"{sentence.image}/{sentence.number}", question, sentence.target, image)


def score(sample: Sample[Grounded], answer: Answer) -> Score:
    """The number of a sentence's phrases, of those that are right under each rule, and both by type of phrase.

    `share` is the share of phrases that are right at 1.  ValueError where the sample has no target.
    """
    if sample.target is None:
        raise ValueError(f"sample {sample.id} has no target")
    phrases = len(sample.target.boxes)
    value = answer.value if isinstance(answer.value, Grounded) else None
    predicted = value.boxes if value and len(value.boxes) == phrases else ((),) * phrases
    values = dict.fromkeys(_KEYS, 0.0)
    for boxes, true, types in zip(predicted, sample.target.boxes, sample.target.types, strict=True):
        rank = first_right(boxes, true)
        values["phrases"] += 1
        for first in FIRST:
            values[f"right at {first}"] += rank < first
        values["right at all"] += rank < len(boxes)
        values["right at 1 merged"] += first_right(boxes[:1], (around(true),)) == 0
        for type_ in set(types) & set(TYPES):
            values[type_] += 1
            values[f"{type_} right"] += rank == 0
    return Score({"share": values["right at 1"] / phrases, **values}, readable=value is not None)


_KEYS = (
    "phrases", *(f"right at {first}" for first in FIRST), "right at all", "right at 1 merged",
    *(key for type_ in TYPES for key in (type_, f"{type_} right")),
)  # fmt: skip


def first_right(boxes: Sequence[Box], true: Sequence[Box]) -> int:
    """The position of the first box with an IoU of 0.5 or more with any true box.

    Where there is no such box, the result is at least the number of boxes and at least the largest k of R@k.
    """
    for place, box in enumerate(boxes):
        if any(iou(box, other) >= THRESHOLD for other in true):
            return place
    return max(len(boxes), FIRST[-1])


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box around all boxes."""
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def remarks(rows: Sequence[Row[Grounded]]) -> list[str]:
    """A sentence where MDETR's evaluator gives the rows another recall, because of boxes of area 0.

    Its IoU of two boxes of area 0 is 0 / 0, so NaN, and a maximum over IoUs with a NaN is not 0.5 or more.
    """
    ours, theirs, total = Counter[str](), Counter[str](), 0
    for row in rows:
        targets = row.sample.target.boxes if row.sample.target is not None else ()
        value = row.answer.value if isinstance(row.answer.value, Grounded) else None
        predicted = value.boxes if value and len(value.boxes) == len(targets) else ((),) * len(targets)
        total += len(targets)
        for boxes, true in zip(predicted, targets, strict=True):
            for name, count, goal in (
                *((f"R@{first}", first, true) for first in FIRST),
                ("R@all", len(boxes), true),
                ("R@1 merged", 1, (around(true),)),
            ):
                right = first_right(boxes[:count], goal) < min(count, len(boxes))
                ours[name] += right
                theirs[name] += right and not any(_undefined(box, other) for box in boxes[:count] for other in goal)
    changed = [
        f"{name} {PERCENT * theirs[name] / total:.1f} (here {PERCENT * ours[name] / total:.1f})"
        for name in ours
        if ours[name] != theirs[name]
    ]
    if not changed:
        return []
    return [f"boxes of area 0: MDETR's IoU of two of them is NaN, so that its evaluator gives {', '.join(changed)}"]


def _undefined(one: Box, other: Box) -> bool:
    """Whether MDETR's IoU of two boxes is 0 / 0; its areas have a sign."""
    areas = ((right - left) * (bottom - top) for left, top, right, bottom in (one, other))
    return sum(areas) == 0


TASK: Task[Grounded] = Task(
    name="flickr30k",
    version=1,
    about="Flickr30k Entities: find the boxes of each phrase of a sentence (phrase grounding, not retrieval)",
    kind="ground",
    splits=("test", "val"),
    train_splits=("train",),
    load=load,
    score=score,
    remarks=remarks,
    metrics={
        **{f"R@{first}": ratio(f"right at {first}", "phrases") for first in FIRST},
        "R@all": ratio("right at all", "phrases"),
        "R@1 merged": ratio("right at 1 merged", "phrases"),
        **{f"R@1 {type_}": ratio(f"{type_} right", type_, empty=math.nan) for type_ in TYPES},
    },
    headline="R@1",
    predictions=files.BOXES,
    files=(
        FileNeed("flickr30k/test.txt", files.ORIGIN, ("test",)),
        FileNeed("flickr30k/val.txt", files.ORIGIN, ("val",)),
        FileNeed("flickr30k/train.txt", files.ORIGIN, ("train",)),
        FileNeed("flickr30k/Annotations", files.ORIGIN, annotations=True),
        FileNeed("flickr30k/Sentences", files.ORIGIN, annotations=True),
        FileNeed("flickr30k/flickr30k-images", "https://shannon.cs.illinois.edu/DenotationGraph (on request)"),
    ),
    seen_in_training=(
        "Florence-2's fine-tuned checkpoints were trained on Flickr30k's training split.  No checkpoint was trained on "
        "val or test."
    ),
    published={
        "test": {"images": 1000, "samples": 4969, "phrases": 14481},
        "val": {"images": 1000, "samples": 4986, "phrases": 14433},
    },
)
TASKS = (TASK,)
