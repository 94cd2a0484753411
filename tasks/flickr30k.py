"""Flickr30k Entities: the boxes of each phrase of a sentence.

Marked as MDETR marks it, and Kosmos-2 and GLIP with it: a phrase is right when one of its first k boxes has an IoU of
0.5 or more with any of its chain's boxes (any-box); `merged` takes the one box around all of them instead.  Phrases
without boxes are not asked about, a phrase without an answer is a miss, coordinates are as in the files (nothing is
subtracted), and IoU is plain.  A sentence is a sample; intervals are by image.

This is the paper's "Flickr30k R@1".  The Entities splits are not Karpathy's: some of his test images are in the
Entities training split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from harness.core import Answer, Box, FileNeed, Grounded, Question, Sample, Score, Source, Task
from harness.data import flickr30k as files
from harness.geometry.boxes import iou
from harness.metrics.reduce import ratio

ENOUGH = 0.5
FIRST = (1, 5, 10)
TYPES = ("people", "clothing", "bodyparts", "animals", "vehicles", "instruments", "scene", "other")


def load(source: Source) -> Iterator[Sample[Grounded]]:
    """A sample a sentence; `source.annotations` is a folder that holds what is below ROOT/flickr30k."""
    for sentence in files.read(source.annotations or source.root / "flickr30k", source.split):
        image = f"flickr30k/{files.IMAGES}/{sentence.image}.jpg"
        question = Question(image, sentence.size, "ground", sentence.text, sentence.phrases)
        yield Sample(f"{sentence.image}/{sentence.number}", question, sentence.target, image)


def score(sample: Sample[Grounded], answer: Answer) -> Score:
    """How many of a sentence's phrases are right, under each rule, and how many there are, also by type."""
    if sample.target is None:
        raise ValueError(f"sample {sample.id} has no target")
    phrases = len(sample.target.boxes)
    guess = answer.value if isinstance(answer.value, Grounded) else None
    found = guess.boxes if guess and len(guess.boxes) == phrases else ((),) * phrases
    values = dict.fromkeys(_KEYS, 0.0)
    for boxes, true, types in zip(found, sample.target.boxes, sample.target.types, strict=True):
        rank = first_right(boxes, true)
        values["phrases"] += 1
        for first in FIRST:
            values[f"right at {first}"] += rank < first
        values["right at all"] += rank < len(boxes)
        values["right at 1 merged"] += first_right(boxes[:1], (around(true),)) == 0
        for type_ in set(types) & set(TYPES):
            values[type_] += 1
            values[f"{type_} right"] += rank == 0
    return Score({"share": values["right at 1"] / phrases, **values}, readable=guess is not None)


_KEYS = (
    "phrases", *(f"right at {first}" for first in FIRST), "right at all", "right at 1 merged",
    *(key for type_ in TYPES for key in (type_, f"{type_} right")),
)  # fmt: skip


def first_right(boxes: Sequence[Box], true: Sequence[Box]) -> int:
    """The place of the first box that overlaps enough with any true one; their number or more where none does."""
    for place, box in enumerate(boxes):
        if any(iou(box, other) >= ENOUGH for other in true):
            return place
    return max(len(boxes), FIRST[-1])


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box around all."""
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


TASK: Task[Grounded] = Task(
    name="flickr30k",
    version=1,
    about="Flickr30k Entities: the boxes of each phrase of a sentence (phrase grounding, not retrieval)",
    splits=("test", "val"),
    train_splits=("train",),
    load=load,
    score=score,
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
    seen_in_training="Flickr30k's training split is in the fine-tuned checkpoints' data; val and test are in none.",
    published={
        "test": {"images": 1000, "samples": 4969, "phrases": 14481},
        "val": {"images": 1000, "samples": 4986, "phrases": 14433},
    },
)
TASKS = (TASK,)
