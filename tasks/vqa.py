"""VQA v2, TextVQA and VizWiz: a question about an image, a few words in answer.

Each is marked as its own official evaluator marks it (`metrics/answers.py`), against ten people's answers; they do not
normalise alike.  An answer that cannot be read is worth 0.  Accuracy is also given for each type of answer and of
question, where the data set has them.  Intervals are by image.

VizWiz's second task asks whether a question can be answered; a model that says "unanswerable" (or "unsuitable") has
said no.  Only this is read in its answer; published average precisions rest on graded confidences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from harness.core import (
    Answer,
    Corpus,
    FileNeed,
    Metric,
    PredictionFormat,
    Question,
    Row,
    Sample,
    Score,
    Source,
    Statistic,
    Task,
    Text,
    Weights,
)
from harness.data import vqa as files
from harness.metrics import answers
from harness.metrics.reduce import PERCENT, clusters_of, mean

VQA_ORIGIN = "https://visualqa.org/download"
TEXTVQA_ORIGIN = "https://textvqa.org/dataset"
VIZWIZ_ORIGIN = "https://vizwiz.org/tasks-and-datasets/vqa"
COCO_YEARS = {"train": "train2014", "val": "val2014", "test-dev": "test2015"}
DECLINED = ("unanswerable", "unsuitable", "unsuitable image")
ACCURACY = {"accuracy": mean("accuracy", in_order=True)}


# ---------------------------------------------------------------------------- loading


def load_vqav2(source: Source) -> Iterator[Sample[Text]]:
    """With answers, but for test-dev; `source.annotations` is a folder with the files below ROOT/vqav2."""
    folder = source.annotations or source.root / "vqav2"
    year = COCO_YEARS[source.split]
    hidden = source.split == "test-dev"
    named = "test-dev2015" if hidden else year
    annotations = None if hidden else folder / f"v2_mscoco_{named}_annotations.json"
    asked = files.read_vqav2(folder / f"v2_OpenEnded_mscoco_{named}_questions.json", annotations, VQA_ORIGIN)
    return _samples(asked, lambda image: f"coco/{year}/COCO_{year}_{int(image):012d}.jpg")


def load_textvqa(source: Source) -> Iterator[Sample[Text]]:
    """TextVQA; the images are under train_images for either split."""
    path = source.annotations or source.root / f"textvqa/TextVQA_0.5.1_{source.split}.json"
    return _samples(files.read_textvqa(path, TEXTVQA_ORIGIN), lambda image: f"textvqa/train_images/{image}.jpg")


def load_vizwiz(source: Source) -> Iterator[Sample[Text]]:
    """VizWiz, each split's images in a folder of its name."""
    path = source.annotations or source.root / f"vizwiz/Annotations/{source.split}.json"
    return _samples(files.read_vizwiz(path, VIZWIZ_ORIGIN), lambda image: f"vizwiz/{source.split}/{image}")


def _samples(asked: Iterable[files.Asked], where: Callable[[str], str]) -> Iterator[Sample[Text]]:
    for one in asked:
        image = where(one.image)
        target = Text(one.answers) if one.answers is not None else None
        yield Sample(one.id, Question(image, one.size, "vqa", one.question), target, image, one.groups)


# ---------------------------------------------------------------------------- marking


def score(sample: Sample[Text], answer: Answer) -> Score:
    """Nothing by itself: questions are marked together, which is quicker."""
    return Score({}, readable=isinstance(answer.value, Text))


def said(row: Row[Text]) -> str:
    """The answer that is marked."""
    return row.answer.value.texts[0] if isinstance(row.answer.value, Text) else ""


def declines(answer: str) -> bool:
    """Whether an answer says that there is none."""
    return answer.strip().rstrip(".").lower() in DECLINED


def truths(row: Row[Text]) -> tuple[str, ...]:
    """People's answers."""
    if row.sample.target is None:
        raise ValueError(f"the answers to question {row.sample.id} are not published")
    return row.sample.target.texts


def vqav2_marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`accuracy` of each answer, 0..1."""
    marks = answers.vqa_accuracies([said(row) for row in rows], [truths(row) for row in rows])
    return [{"accuracy": mark * row.score.readable} for row, mark in zip(rows, marks.tolist(), strict=True)]


def textvqa_marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`accuracy` of each answer, 0..1."""
    return [{"accuracy": answers.textvqa_accuracy(said(row), truths(row)) * row.score.readable} for row in rows]


def vizwiz_marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`accuracy` of each answer, 0..1; whether it was `declined` and whether it is `unanswerable`."""
    return [
        {
            "accuracy": answers.vizwiz_accuracy(said(row), truths(row)) * row.score.readable,
            "declined": float(declines(said(row))),
            "unanswerable": float(files.NOT_ANSWERABLE in row.sample.groups),
        }
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Average precision or F1 of declining to answer, in percent, from counts: declining is all or nothing."""

    which: Literal["average precision", "F1"]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        declined = np.array([row.score.values["declined"] for row in rows])
        positive = np.array([row.score.values["unanswerable"] for row in rows])
        clusters = clusters_of(rows)
        parts = np.stack(
            [np.bincount(clusters, part) for part in (declined * positive, declined, positive, np.ones(len(rows)))]
        )

        def statistic(weights: Weights) -> float:
            right, said_so, true, everyone = map(float, parts @ weights)
            if not true:
                return math.nan  # nothing to be told apart
            if self.which == "F1":
                return PERCENT * 2 * right / (said_so + true)
            first = right / said_so * right / true if said_so else 0.0
            return PERCENT * (first + (true - right) / true * true / everyone)

        return statistic


# ---------------------------------------------------------------------------- tasks


def _task(
    name: str,
    about: str,
    load: Callable[[Source], Iterator[Sample[Text]]],
    marks: Callable[[Sequence[Row[Text]]], Sequence[Mapping[str, float]]],
    predictions: PredictionFormat,
    files_: tuple[FileNeed, ...],
    seen: str,
    published: Mapping[str, Mapping[str, int]],
    *,
    splits: tuple[str, ...] = ("val",),
    more: Mapping[str, Metric] | None = None,
) -> Task[Text]:
    return Task(
        name=name,
        version=1,
        about=about,
        splits=splits,
        train_splits=("train",),
        load=load,
        score=score,
        corpus=Corpus(marks),
        metrics={**ACCURACY, **(more or {})},
        headline="accuracy",
        predictions=predictions,
        files=files_,
        seen_in_training=seen,
        by_group=ACCURACY,
        published=published,
    )


_TUNED = (
    "The zero-shot checkpoints of Florence-2 were trained on no questions; the fine-tuned ones were tuned on this data "
    "set among others, and which of its splits is not published."
)
TASKS: tuple[Task[Any], ...] = (
    _task(
        "vqav2",
        "VQA v2: a question about an image (test-dev's answers are not published: export writes the submission)",
        load_vqav2,
        vqav2_marks,
        files.NUMBERED,
        (
            FileNeed("vqav2/v2_OpenEnded_mscoco_val2014_questions.json", VQA_ORIGIN, ("val",)),
            FileNeed("vqav2/v2_mscoco_val2014_annotations.json", VQA_ORIGIN, ("val",)),
            FileNeed("vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json", VQA_ORIGIN, ("test-dev",)),
            FileNeed("vqav2/v2_OpenEnded_mscoco_train2014_questions.json", VQA_ORIGIN, ("train",)),
            FileNeed("vqav2/v2_mscoco_train2014_annotations.json", VQA_ORIGIN, ("train",)),
            FileNeed("coco/val2014", "COCO's 2014 validation images, https://cocodataset.org (val2014.zip)", ("val",)),
            FileNeed("coco/test2015", "COCO's 2015 test images, https://cocodataset.org (test2015.zip)", ("test-dev",)),
            FileNeed(
                "coco/train2014", "COCO's 2014 training images, https://cocodataset.org (train2014.zip)", ("train",)
            ),
        ),
        f"{_TUNED}  Images are COCO's val2014, of which most are in train2017 (tuned on for detection) and many in "
        "Karpathy's training split of captions, and test2015, of which none are.",
        {
            "val": {"images": 40504, "samples": 214354},
            "test-dev": {"samples": 107394},
            "train": {"images": 82783, "samples": 443757},
        },
        splits=("val", "test-dev"),
    ),
    _task(
        "textvqa",
        "TextVQA: a question about what is written in an image",
        load_textvqa,
        textvqa_marks,
        files.NUMBERED,
        (
            FileNeed("textvqa/TextVQA_0.5.1_val.json", TEXTVQA_ORIGIN, ("val",)),
            FileNeed("textvqa/TextVQA_0.5.1_train.json", TEXTVQA_ORIGIN, ("train",)),
            FileNeed("textvqa/train_images", f"{TEXTVQA_ORIGIN} (train_val_images.zip)"),
        ),
        f"{_TUNED}  Images are Open Images training images, as are many of FLD-5B's.",
        {"val": {"images": 3166, "samples": 5000}, "train": {"images": 21953, "samples": 34602}},
    ),
    _task(
        "vizwiz",
        "VizWiz: a question that a blind person asked about their photograph",
        load_vizwiz,
        vizwiz_marks,
        files.NAMED,
        (
            FileNeed("vizwiz/Annotations/val.json", VIZWIZ_ORIGIN, ("val",)),
            FileNeed("vizwiz/val", f"{VIZWIZ_ORIGIN} (val.zip)", ("val",)),
            FileNeed("vizwiz/Annotations/train.json", VIZWIZ_ORIGIN, ("train",)),
            FileNeed("vizwiz/train", f"{VIZWIZ_ORIGIN} (train.zip)", ("train",)),
        ),
        _TUNED,
        {"val": {"images": 4319, "samples": 4319}, "train": {"images": 20523, "samples": 20523}},
        more={"answerability AP": Unanswerable("average precision"), "answerability F1": Unanswerable("F1")},
    ),
)
