"""Questions about documents, of DocVQA and InfographicVQA, and their result files.

spdocvqa_qas/val_v1.0_withQT.json, or val/val_v1.0.json    DocVQA: {"data": [{"questionId", "image", "answers", ...}]}
infographicsVQA_val_v1.0_withQT.json                       the same with "image_local_name" for "image"
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, PredictionFormat, Row, Sample, Text
from harness.data import files
from harness.data.vqa import Asked
from harness.errors import DataError


class _Question(msgspec.Struct):
    questionId: int
    question: str
    image: str = ""
    image_local_name: str = ""
    answers: list[str] | None = None
    question_types: list[str] | None = None


class _Questions(msgspec.Struct):
    data: list[_Question]


def read(path: Path, origin: str) -> Iterator[Asked]:
    """Every question in the order of the file; its groups are its question types, where the file names them.

    `Asked.image` is the image as the file names it, such as "documents/xnbl0037_1.png".  DataError if the file is
    missing or malformed, an id occurs twice, a question has no image, or it has no answers although others do.
    """
    questions = files.load(path, _Questions, origin).data
    files.by_id(questions, lambda question: question.questionId, path, "questionId")
    without = [place for place, question in enumerate(questions) if not question.answers]
    if without and len(without) < len(questions):
        raise DataError(
            f"{path}: {len(without)} of {len(questions)} questions have no answers (first: $.data[{without[0]}]); "
            f"{files.remedy(origin)}"
        )
    for place, question in enumerate(questions):
        image = question.image or question.image_local_name
        if not image:
            raise DataError(f"{path}: $.data[{place}] names no image; {files.remedy(origin)}")
        answers = tuple(question.answers) if question.answers else None
        groups = tuple(dict.fromkeys(question.question_types or ()))
        yield Asked(str(question.questionId), image, question.question, answers, groups)


# ---------------------------------------------------------------------------- predictions


class _Prediction(msgspec.Struct):
    questionId: int
    answer: str


def _read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    entries = [(str(entry.questionId), entry.answer) for entry in files.predictions(path, list[_Prediction])]
    return files.one_each(path, entries, samples, "questionId", lambda answer, _: Answer((answer,), Text((answer,))))


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    values = [row.answer.value for row in rows]
    answers = [value.texts[0] if isinstance(value, Text) else "" for value in values]
    ids = [int(row.sample.id) for row in rows]
    files.write(path, [{"questionId": name, "answer": answer} for name, answer in zip(ids, answers, strict=True)])


PREDICTIONS = PredictionFormat(
    'JSON: [{"questionId": 49153, "answer": "0.28"}, ...], one entry for each question',
    _read,
    _write,
)
