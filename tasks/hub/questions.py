"""Forms of questions about images: TextVQA, VizWiz and VQA v2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from tasks.hub.forms import Json, Look, Row, array, records


class _TextVqa(msgspec.Struct):
    image_id: str
    question_id: int
    question: str
    answers: list[str] | None
    image_width: int
    image_height: int


@dataclass(slots=True)
class TextVqa:
    """A row for each question of TextVQA; the answers of test are not published."""

    split: str
    content: Json = field(default_factory=lambda: Json.of("data"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _TextVqa)
        entry = msgspec.structs.asdict(given)
        self.content.add("data", {**entry, "answers": None if self.split == "test" else given.answers})
        return f"textvqa/{'test_images' if self.split == 'test' else 'train_images'}/{given.image_id}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The file of the split."""
        return {f"textvqa/TextVQA_0.5.1_{self.split}.json": self.content.encoded()}


class _VizWiz(msgspec.Struct):
    question_id: str
    question: str
    answers: list[str] | None


@dataclass(slots=True)
class VizWiz:
    """A row for each question of VizWiz, named after its image; the answers of test are not published."""

    split: str
    entries: list[bytes] = field(default_factory=list)

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _VizWiz)
        entry: Row = {"image": f"{given.question_id}.jpg", "question": given.question, "answerable": None}
        if self.split != "test":
            entry["answers"] = [{"answer": answer} for answer in given.answers or ()]
        self.entries.append(msgspec.json.encode(entry))
        return f"vizwiz/{self.split}/{given.question_id}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The file of the split."""
        return {f"vizwiz/Annotations/{self.split}.json": array(self.entries)}


class _VqaAnswer(msgspec.Struct):
    answer: str
    answer_id: int


class _VqaV2(msgspec.Struct):
    question_id: int
    image_id: int
    question: str
    question_type: str | None
    answer_type: str | None
    answers: list[_VqaAnswer]


@dataclass(slots=True)
class VqaV2:
    """A row for each question of VQA v2; the answers of test-dev and test-std are not published."""

    split: str
    questions: Json = field(default_factory=lambda: Json.of("questions"))
    annotations: Json = field(default_factory=lambda: Json.of("annotations"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert({**row, "answers": records(row["answers"])}, _VqaV2)
        ids = {"question_id": given.question_id, "image_id": given.image_id}
        self.questions.add("questions", {**ids, "question": given.question})
        if self.split == "val":
            types = {"question_type": given.question_type, "answer_type": given.answer_type}
            answers = [msgspec.structs.asdict(answer) for answer in given.answers]
            self.annotations.add("annotations", {**ids, **types, "answers": answers})
        year = "val2014" if self.split == "val" else "test2015"
        return f"coco/{year}/COCO_{year}_{given.image_id:012d}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The questions, and the annotations of val."""
        name = {"val": "val2014", "test-dev": "test-dev2015", "test-std": "test2015"}[self.split]
        files = {f"vqav2/v2_OpenEnded_mscoco_{name}_questions.json": self.questions.encoded()}
        if self.split == "val":
            files[f"vqav2/v2_mscoco_{name}_annotations.json"] = self.annotations.encoded()
        return files
