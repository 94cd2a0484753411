"""Questions about images with ten answers each: VQA v2, TextVQA and VizWiz, and their result files.

v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json    VQA v2
TextVQA_0.5.1_val.json                                                           question and answers together
Annotations/val.json                                                             VizWiz: known by its image
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, PredictionFormat, Row, Sample, Size, Text
from harness.data import files
from harness.errors import DataError

ANSWERS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, its image's id or file name, and people's answers; none where the benchmark keeps them."""

    id: str
    image: str
    question: str
    answers: tuple[str, ...] | None
    groups: tuple[str, ...] = ()
    size: Size | None = None


class _Answer(msgspec.Struct):
    answer: str
    answer_id: int | None = None


# ---------------------------------------------------------------------------- VQA v2


class _Question(msgspec.Struct):
    question_id: int
    image_id: int
    question: str


class _Questions(msgspec.Struct):
    questions: list[_Question]


class _Annotation(msgspec.Struct):
    question_id: int
    image_id: int
    question_type: str
    answer_type: str
    answers: list[_Answer]


class _Annotations(msgspec.Struct):
    annotations: list[_Annotation]


def read_vqav2(questions: Path, annotations: Path | None, origin: str) -> Iterator[Asked]:
    """Every question in the order of its file, grouped by answer type and question type.

    Without annotations it has no answers.  DataError where the two files do not fit, or a question has not ten answers
    with ids of their own.
    """
    asked = files.load(questions, _Questions, origin).questions
    files.by_id(asked, lambda question: question.question_id, questions, "question_id")
    if annotations is None:
        for one in asked:
            yield Asked(str(one.question_id), str(one.image_id), one.question, None)
        return
    found = files.load(annotations, _Annotations, origin).annotations
    told = files.by_id(found, lambda annotation: annotation.question_id, annotations, "question_id")
    lone = told.keys() ^ {one.question_id for one in asked}
    if lone:
        raise DataError(
            f"{annotations} does not fit {questions.name}: {len(lone)} questions are in one only (first: {min(lone)}); "
            f"take both from {origin}"
        )
    for one in asked:
        theirs = told[one.question_id]
        if theirs.image_id != one.image_id:
            raise DataError(f"{annotations}: question {one.question_id} is of image {theirs.image_id} here only")
        answers = _ten(theirs.answers, annotations, str(one.question_id))
        groups = (theirs.answer_type, theirs.question_type)
        yield Asked(str(one.question_id), str(one.image_id), one.question, answers, groups)


def _all_or_none(answers: Sequence[object], path: Path) -> None:
    """A split has answers or it has none: DataError where some questions lack theirs."""
    lacking = [place for place, one in enumerate(answers) if one is None]
    if lacking and len(lacking) < len(answers):
        raise DataError(
            f"{path}: {len(lacking)} of {len(answers)} questions have no answers (first: entry {lacking[0]})"
        )


def _ten(answers: Sequence[_Answer], path: Path, name: str) -> tuple[str, ...]:
    ids = [answer.answer_id for answer in answers if answer.answer_id is not None]
    if len(answers) != ANSWERS or len(set(ids)) != len(ids):
        raise DataError(
            f"{path}: question {name} has {len(answers)} answers; it takes {ANSWERS}, with ids of their own"
        )
    return tuple(answer.answer for answer in answers)


# ---------------------------------------------------------------------------- TextVQA


class _TextQuestion(msgspec.Struct):
    question_id: int
    image_id: str
    question: str
    answers: list[str] | None = None
    image_width: int = 0
    image_height: int = 0


class _TextVQA(msgspec.Struct):
    data: list[_TextQuestion]


def read_textvqa(path: Path, origin: str) -> Iterator[Asked]:
    """Every question, in the order of the file; DataError where it is malformed or a question has not ten answers."""
    found = files.load(path, _TextVQA, origin).data
    files.by_id(found, lambda question: question.question_id, path, "question_id")
    _all_or_none([one.answers for one in found], path)
    for place, one in enumerate(found):
        if one.answers is not None and len(one.answers) != ANSWERS:
            raise DataError(f"{path}: $.data[{place}] has {len(one.answers)} answers; it takes {ANSWERS}")
        size = Size(one.image_width, one.image_height) if one.image_width and one.image_height else None
        answers = tuple(one.answers) if one.answers is not None else None
        yield Asked(str(one.question_id), one.image_id, one.question, answers, (), size)


# ---------------------------------------------------------------------------- VizWiz


class _VizWiz(msgspec.Struct):
    image: str
    question: str
    answers: list[_Answer] | None = None
    answer_type: str = ""
    answerable: int = 1


def read_vizwiz(path: Path, origin: str) -> Iterator[Asked]:
    """Every question, known by its image's file name, grouped by answer type and whether it can be answered."""
    found = files.load(path, list[_VizWiz], origin)
    files.by_id(found, lambda question: question.image, path, "image")
    _all_or_none([one.answers for one in found], path)
    for one in found:
        answers = _ten(one.answers, path, one.image) if one.answers is not None else None
        groups = (one.answer_type, ANSWERABLE if one.answerable else NOT_ANSWERABLE) if answers else ()
        yield Asked(one.image, one.image, one.question, answers, groups)


ANSWERABLE, NOT_ANSWERABLE = "answerable", "not answerable"


# ---------------------------------------------------------------------------- predictions


class _Numbered(msgspec.Struct):
    question_id: int
    answer: str

    @property
    def key(self) -> str:
        return str(self.question_id)


class _Named(msgspec.Struct):
    image: str
    answer: str

    @property
    def key(self) -> str:
        return self.image


def _reader(form: Any, key: str) -> Callable[[Path, Sequence[Sample[Any]]], dict[str, Answer]]:
    def read_file(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
        entries = [(one.key, one.answer) for one in files.predictions(path, form)]
        return files.one_each(path, entries, samples, key, lambda answer, _: Answer((answer,), Text((answer,))))

    return read_file


def _writer(key: str, id_of: Callable[[str], Any]) -> Callable[[Path, Sequence[Row[Any]]], None]:
    def write_file(path: Path, rows: Sequence[Row[Any]]) -> None:
        values = [row.answer.value for row in rows]
        answers = [value.texts[0] if isinstance(value, Text) else "" for value in values]
        ids = [id_of(row.sample.id) for row in rows]
        files.write(path, [{key: name, "answer": answer} for name, answer in zip(ids, answers, strict=True)])

    return write_file


NUMBERED = PredictionFormat(
    'JSON: [{"question_id": 262148000, "answer": "down"}, ...], one entry for each question',
    _reader(list[_Numbered], "question_id"),
    _writer("question_id", int),
)
NAMED = PredictionFormat(
    'JSON: [{"image": "VizWiz_val_00000000.jpg", "answer": "basil leaves"}, ...], one entry for each image',
    _reader(list[_Named], "image"),
    _writer("image", str),
)
