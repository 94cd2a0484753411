"""VQA v2, TextVQA and VizWiz: a model answers a question about an image in a few words.

Each data set has its official evaluator's accuracy, against the answers of ten people (`metrics/answers.py`).  The
evaluators normalise texts in different ways.  An unparsable answer scores 0.  Accuracy is also reported for each type
of answer and of question, where the data set names them.  Intervals resample images.

VizWiz's second task is to predict whether a question can be answered.  Here a model predicts that it cannot by the
answer "unanswerable" or "unsuitable".  Published average precisions use graded confidences instead.
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
    Noted,
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
COCO_YEARS = {"train": "train2014", "val": "val2014", "test-dev": "test2015", "test-std": "test2015"}
TEST2015 = "v2_OpenEnded_mscoco_test2015_questions.json"
UNASKED = "are questions of test2015 that are not in test-dev; an export has an empty answer to each, for the server"
DECLINED = ("unanswerable", "unsuitable", "unsuitable image")
ACCURACY = {"accuracy": mean("accuracy", in_order=True)}


# ---------------------------------------------------------------------------- loading


def load_vqav2(source: Source) -> Iterator[Sample[Text]]:
    """VQA v2, without targets for test-dev and test-std; `source.annotations` is a folder with the files of ROOT/vqav2.

    test-std is all of test2015, as the server wants it.  The server wants the same questions for test-dev, so those of
    test2015 that are not in test-dev are excluded samples.  Without test2015's questions there is a note instead.
    """
    folder, origin = source.annotations or source.root / "vqav2", source.origin(VQA_ORIGIN)
    year = COCO_YEARS[source.split]
    name = "test-dev2015" if source.split == "test-dev" else year
    annotations = None if year == "test2015" else folder / f"v2_mscoco_{name}_annotations.json"
    questions = files.read_vqav2(folder / f"v2_OpenEnded_mscoco_{name}_questions.json", annotations, origin)

    def key(image: str) -> str:
        return f"coco/{year}/COCO_{year}_{int(image):012d}.jpg"

    if source.split != "test-dev":
        return _samples(questions, key)
    whole = folder / TEST2015
    if whole.is_file():
        return _samples(files.with_unasked(questions, files.read_vqav2(whole, None, origin), whole), key)
    lack = f"{whole.name} is not there: the predictions lack its questions, and the server refuses them"
    source.reading.notes[lack] = Noted()
    return _samples(questions, key)


def load_textvqa(source: Source) -> Iterator[Sample[Text]]:
    """TextVQA; the images of val and train are in the folder train_images, those of test in test_images."""
    path = source.annotations or source.root / f"textvqa/TextVQA_0.5.1_{source.split}.json"
    folder = "test_images" if source.split == "test" else "train_images"
    questions = files.read_textvqa(path, source.origin(TEXTVQA_ORIGIN))
    return _samples(questions, lambda image: f"textvqa/{folder}/{image}.jpg")


def load_vizwiz(source: Source) -> Iterator[Sample[Text]]:
    """VizWiz; the images of each split are in a folder named after the split."""
    path = source.annotations or source.root / f"vizwiz/Annotations/{source.split}.json"
    questions = files.read_vizwiz(path, source.origin(VIZWIZ_ORIGIN))
    return _samples(questions, lambda image: f"vizwiz/{source.split}/{image}")


def _samples(questions: Iterable[files.Asked], key: Callable[[str], str]) -> Iterator[Sample[Text]]:
    """One sample for each question; `key` maps the image's name in the files to its path below the root."""
    for entry in questions:
        image = key(entry.image)
        target = Text(entry.answers) if entry.answers is not None else None
        question = Question(image, entry.size, "vqa", entry.question)
        yield Sample(entry.id, question, target, image, entry.groups, excluded=UNASKED if entry.unasked else "")


# ---------------------------------------------------------------------------- scoring


def score(sample: Sample[Text], answer: Answer) -> Score:
    """A score without values, since the accuracies of all questions are computed together."""
    return Score({}, readable=isinstance(answer.value, Text))


def answer_of(row: Row[Text]) -> str:
    """The answer to score; empty where it is unparsable."""
    return row.answer.value.texts[0] if isinstance(row.answer.value, Text) else ""


def declines(answer: str) -> bool:
    """Whether an answer says that the question cannot be answered."""
    return answer.strip().rstrip(".").lower() in DECLINED


def truths(row: Row[Text]) -> tuple[str, ...]:
    """The answers of people; ValueError where they are not published."""
    if row.sample.target is None:
        raise ValueError(f"the answers to question {row.sample.id} are not published")
    return row.sample.target.texts


def vqav2_scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`accuracy` of each answer, 0 to 1."""
    accuracies = answers.vqa_accuracies([answer_of(row) for row in rows], [truths(row) for row in rows])
    return [{"accuracy": value * row.score.readable} for row, value in zip(rows, accuracies.tolist(), strict=True)]


def textvqa_scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`accuracy` of each answer, 0 to 1."""
    return [{"accuracy": answers.textvqa_accuracy(answer_of(row), truths(row)) * row.score.readable} for row in rows]


def vizwiz_scores(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`accuracy` of each answer, 0 to 1; whether the model `declined`; whether the question is `unanswerable`."""
    return [
        {
            "accuracy": answers.vizwiz_accuracy(answer_of(row), truths(row)) * row.score.readable,
            "declined": float(declines(answer_of(row))),
            "unanswerable": float(files.NOT_ANSWERABLE in row.sample.groups),
        }
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """Average precision or F1 of declining to answer, in percent; NaN where no question is unanswerable.

    A model either declines or does not, so the scores have two levels.  The precision-recall curve then has two points:
    the declined questions, and all questions.
    """

    which: Literal["average precision", "F1"]

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        declined = np.array([row.score.values["declined"] for row in rows])
        positive = np.array([row.score.values["unanswerable"] for row in rows])
        clusters = clusters_of(rows)
        parts = np.stack(
            [np.bincount(clusters, part) for part in (declined * positive, declined, positive, np.ones(len(rows)))]
        )

        def statistic(weights: Weights) -> float:
            right, predicted, true, everything = map(float, parts @ weights)
            if not true:
                return math.nan
            if self.which == "F1":
                return PERCENT * 2 * right / (predicted + true)
            first = right / predicted * right / true if predicted else 0.0
            return PERCENT * (first + (true - right) / true * true / everything)

        return statistic


# ---------------------------------------------------------------------------- tasks


def _task(
    name: str,
    about: str,
    load: Callable[[Source], Iterator[Sample[Text]]],
    scores: Callable[[Sequence[Row[Text]]], Sequence[Mapping[str, float]]],
    predictions: PredictionFormat,
    files_: tuple[FileNeed, ...],
    seen: str,
    published: Mapping[str, Mapping[str, int]],
    *,
    splits: tuple[str, ...] = ("val",),
    hidden: tuple[str, ...] = ("test",),
    more: Mapping[str, Metric] | None = None,
) -> Task[Text]:
    return Task(
        name=name,
        version=1,
        about=about,
        kind="vqa",
        splits=splits,
        hidden_splits=hidden,
        train_splits=("train",),
        load=load,
        score=score,
        corpus=Corpus(scores),
        metrics={**ACCURACY, **(more or {})},
        headline="accuracy",
        predictions=predictions,
        files=files_,
        seen_in_training=seen,
        by_group=ACCURACY,
        published=published,
    )


_TUNED = (
    "Florence-2's zero-shot checkpoints were not trained on questions.  The fine-tuned ones were trained on this data "
    "set among others; the split is not published."
)
TASKS: tuple[Task[Any], ...] = (
    _task(
        "vqav2",
        "VQA v2: answer a question about an image (a server has the answers of test; `export` writes the submission)",
        load_vqav2,
        vqav2_scores,
        files.NUMBERED,
        (
            FileNeed("vqav2/v2_OpenEnded_mscoco_val2014_questions.json", VQA_ORIGIN, ("val",)),
            FileNeed("vqav2/v2_mscoco_val2014_annotations.json", VQA_ORIGIN, ("val",)),
            FileNeed("vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json", VQA_ORIGIN, ("test-dev",)),
            FileNeed(
                f"vqav2/{TEST2015}",
                VQA_ORIGIN,
                ("test-dev",),
                instead="vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json",
            ),
            FileNeed(f"vqav2/{TEST2015}", VQA_ORIGIN, ("test-std",)),
            FileNeed("vqav2/v2_OpenEnded_mscoco_train2014_questions.json", VQA_ORIGIN, ("train",)),
            FileNeed("vqav2/v2_mscoco_train2014_annotations.json", VQA_ORIGIN, ("train",)),
            FileNeed("coco/val2014", "COCO's 2014 validation images, https://cocodataset.org (val2014.zip)", ("val",)),
            FileNeed(
                "coco/test2015",
                "COCO's 2015 test images, https://cocodataset.org (test2015.zip)",
                ("test-dev", "test-std"),
            ),
            FileNeed(
                "coco/train2014", "COCO's 2014 training images, https://cocodataset.org (train2014.zip)", ("train",)
            ),
        ),
        f"{_TUNED}  The images of val are COCO's val2014: most are in train2017, the training data for detection, and "
        "many in Karpathy's training split of captions.  Those of test-dev and test-std are COCO's test2015, which is "
        "in neither.",
        {
            "val": {"images": 40504, "samples": 214354},
            "test-dev": {"samples": 107394},
            "test-std": {"images": 81434, "samples": 447793},
            "train": {"images": 82783, "samples": 443757},
        },
        splits=("val", "test-dev"),
        hidden=("test-std",),
    ),
    _task(
        "textvqa",
        "TextVQA: answer a question about the text in an image",
        load_textvqa,
        textvqa_scores,
        files.NUMBERED,
        (
            FileNeed("textvqa/TextVQA_0.5.1_val.json", TEXTVQA_ORIGIN, ("val",)),
            FileNeed("textvqa/TextVQA_0.5.1_train.json", TEXTVQA_ORIGIN, ("train",)),
            FileNeed("textvqa/train_images", f"{TEXTVQA_ORIGIN} (train_val_images.zip)", ("val", "train")),
            FileNeed("textvqa/TextVQA_0.5.1_test.json", TEXTVQA_ORIGIN, ("test",)),
            FileNeed("textvqa/test_images", f"{TEXTVQA_ORIGIN} (test_images.zip)", ("test",)),
        ),
        f"{_TUNED}  The images are in Open Images' training set, which is part of FLD-5B, Florence-2's training data.",
        {
            "val": {"images": 3166, "samples": 5000},
            "test": {"images": 3289, "samples": 5734},
            "train": {"images": 21953, "samples": 34602},
        },
    ),
    _task(
        "vizwiz",
        "VizWiz: answer a question that a blind person asked about a photograph",
        load_vizwiz,
        vizwiz_scores,
        files.NAMED,
        (
            FileNeed("vizwiz/Annotations/val.json", VIZWIZ_ORIGIN, ("val",)),
            FileNeed("vizwiz/val", f"{VIZWIZ_ORIGIN} (val.zip)", ("val",)),
            FileNeed("vizwiz/Annotations/test.json", VIZWIZ_ORIGIN, ("test",)),
            FileNeed("vizwiz/test", f"{VIZWIZ_ORIGIN} (test.zip)", ("test",)),
            FileNeed("vizwiz/Annotations/train.json", VIZWIZ_ORIGIN, ("train",)),
            FileNeed("vizwiz/train", f"{VIZWIZ_ORIGIN} (train.zip)", ("train",)),
        ),
        _TUNED,
        {
            "val": {"images": 4319, "samples": 4319},
            "test": {"images": 8000, "samples": 8000},
            "train": {"images": 20523, "samples": 20523},
        },
        more={"answerability AP": Unanswerable("average precision"), "answerability F1": Unanswerable("F1")},
    ),
)
