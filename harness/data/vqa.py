"""Questions about images with ten answers each, of VQA v2, TextVQA and VizWiz, and their result files.

v2_OpenEnded_mscoco_val2014_questions.json, v2_mscoco_val2014_annotations.json    VQA v2
TextVQA_0.5.1_val.json                                                           TextVQA, with answers
Annotations/val.json                                                             VizWiz; ids are image names
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import msgspec

from harness.core import Answer, PredictionFormat, Row, Sample, Size, Text
from harness.data import files
from harness.errors import DataError

ANSWERS = 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about an image with the answers of ten people.

    `image` is the image's id, or its file name for VizWiz.  `answers` is None if they are not published.  `unasked`
    marks a question of a larger set that a result file must answer too.
    """

    id: str
    image: str
    question: str
    answers: tuple[str, ...] | None
    groups: tuple[str, ...] = ()
    size: Size | None = None
    unasked: bool = False


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
    annotations: list[msgspec.Raw]


class _Annotated(NamedTuple):
    """What is kept of an annotation; decoded one by one, those of val take 200 MB less than all at once."""

    question: int
    image: int
    answers: tuple[str, ...]
    groups: tuple[str, str]


def _annotated(path: Path, origin: str) -> Iterator[_Annotated]:
    """The annotations of a file; DataError if one is malformed."""
    for number, raw in enumerate(files.load(path, _Annotations, origin).annotations):
        one = files.decode(raw, _Annotation, f"{path}: annotation {number}")
        answers = _ten(one.answers, path, str(one.question_id))
        yield _Annotated(one.question_id, one.image_id, answers, (intern(one.answer_type), intern(one.question_type)))


def read_vqav2(questions: Path, annotations: Path | None, origin: str) -> Iterator[Asked]:
    """Every question in the order of its file; its groups are the answer type and the question type.

    Without annotations, questions have no answers.  DataError if a file is missing or malformed, the two files do not
    belong together, or a question does not have ten answers with different ids.
    """
    records = files.load(questions, _Questions, origin).questions
    files.by_id(records, lambda question: question.question_id, questions, "question_id")
    if annotations is None:
        for question in records:
            yield Asked(str(question.question_id), str(question.image_id), question.question, None)
        return
    by_question = files.by_id(_annotated(annotations, origin), lambda one: one.question, annotations, "question_id")
    unmatched = by_question.keys() ^ {question.question_id for question in records}
    if unmatched:
        todo = f"obtain both files from {origin}" if origin else "use two files that belong together"
        raise DataError(
            f"{annotations} does not fit {questions.name}: {len(unmatched)} questions are in one file only "
            f"(first: {min(unmatched)}); {todo}"
        )
    for question in records:
        annotation = by_question.pop(question.question_id)
        if annotation.image != question.image_id:
            raise DataError(
                f"{annotations}: question {question.question_id} is of image {annotation.image}, "
                f"but of image {question.image_id} in {questions.name}"
            )
        identity, image = str(question.question_id), str(question.image_id)
        yield Asked(identity, image, question.question, annotation.answers, annotation.groups)


def with_unasked(asked: Iterable[Asked], whole: Iterable[Asked], path: Path) -> Iterator[Asked]:
    """The questions of a part of a set, then the others of the whole set, which `path` names, marked as unasked.

    DataError if a question of the part is not in the whole set.
    """
    ids = []
    for question in asked:
        ids.append(question.id)
        yield question
    missing = dict.fromkeys(ids)
    for question in whole:
        if question.id in missing:
            del missing[question.id]
        else:
            yield replace(question, unasked=True)
    if missing:
        raise DataError(f"{path} lacks {len(missing)} questions of its part (first: {next(iter(missing))})")


def _all_or_none(answers: Sequence[object], path: Path) -> None:
    """DataError if some questions of a split have answers and others have none."""
    absent = [place for place, answer in enumerate(answers) if answer is None]
    if absent and len(absent) < len(answers):
        raise DataError(f"{path}: {len(absent)} of {len(answers)} questions have no answers (first: entry {absent[0]})")


def _ten(answers: Sequence[_Answer], path: Path, name: str) -> tuple[str, ...]:
    """The texts of ten answers; DataError if there are more or fewer, or two have one id."""
    ids = [answer.answer_id for answer in answers if answer.answer_id is not None]
    if len(answers) != ANSWERS or len(set(ids)) != len(ids):
        raise DataError(
            f"{path}: question {name} has {len(answers)} answers; it needs {ANSWERS} answers with different ids"
        )
    return tuple(intern(answer.answer) for answer in answers)  # few are different


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
    """Every question in the order of the file.

    DataError if the file is missing or malformed, or a question does not have ten answers although others do.
    """
    questions = files.load(path, _TextVQA, origin).data
    files.by_id(questions, lambda question: question.question_id, path, "question_id")
    _all_or_none([question.answers or None for question in questions], path)
    for place, question in enumerate(questions):
        answers = tuple(question.answers) if question.answers else None
        if answers is not None and len(answers) != ANSWERS:
            raise DataError(f"{path}: $.data[{place}] has {len(answers)} answers; it needs {ANSWERS}")
        width, height = question.image_width, question.image_height
        size = Size(width, height) if width and height else None
        yield Asked(str(question.question_id), question.image_id, question.question, answers, (), size)


# ---------------------------------------------------------------------------- VizWiz


class _VizWiz(msgspec.Struct):
    image: str
    question: str
    answers: list[_Answer] | None = None
    answer_type: str = ""
    answerable: int | None = 1


def read_vizwiz(path: Path, origin: str) -> Iterator[Asked]:
    """Every question in the order of the file, with its image's file name as id.

    Its groups are the answer type and `ANSWERABLE` or `NOT_ANSWERABLE`, if it has answers; there are none if
    `answerable` is null, as for a copy that lacks both.  DataError as `read_textvqa`, or if an image occurs twice.
    """
    questions = files.load(path, list[_VizWiz], origin)
    files.by_id(questions, lambda question: question.image, path, "image")
    _all_or_none([question.answers or None for question in questions], path)
    for question in questions:
        answers = _ten(question.answers, path, question.image) if question.answers else None
        known = answers is not None and question.answerable is not None
        groups = (question.answer_type, ANSWERABLE if question.answerable else NOT_ANSWERABLE) if known else ()
        yield Asked(question.image, question.image, question.question, answers, groups)


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
    """A reader of result files whose entries have this form; `key` is the field of the id."""

    def read_file(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
        entries = [(entry.key, entry.answer) for entry in files.predictions(path, form)]
        return files.one_each(path, entries, samples, key, lambda answer, _: Answer((answer,), Text((answer,))))

    return read_file


def _writer(key: str, id_of: Callable[[str], Any]) -> Callable[[Path, Sequence[Row[Any]]], None]:
    """A writer of result files; `id_of` converts a sample id to the type of the field `key`."""

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
