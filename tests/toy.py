"""A toy task and a toy model for tests of the runner; as a script, the run that a test kills.

Each question contains a number, which is the answer.  The model appends the number to a log before it answers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from harness import runner, store
from harness.core import (
    Answer,
    Failure,
    PredictionFormat,
    Question,
    Row,
    Run,
    RunSpec,
    Sample,
    Score,
    Source,
    Task,
    Text,
    Ticket,
)  # fmt: skip
from harness.metrics.reduce import mean
from harness.store import RunFolder


def load(source: Source, count: int = 60) -> Iterator[Sample[Text]]:
    """`count` samples; three samples share an image."""
    for number in range(count):
        image = f"{number // 3}.png"
        yield Sample(str(number), Question(image, None, "vqa", f"number {number}"), Text((str(number),)), image)


def score(sample: Sample[Text], answer: Answer) -> Score:
    right = isinstance(answer.value, Text) and sample.target is not None and answer.value.texts == sample.target.texts
    return Score({"right": float(right)}, readable=answer.value is not None)


def read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    return {entry["id"]: Answer((entry["text"],), Text((entry["text"],))) for entry in json.loads(path.read_text())}


def write(path: Path, rows: Sequence[Row[Any]]) -> None:
    path.write_text(json.dumps([{"id": row.sample.id, "text": row.answer.raw[0]} for row in rows]))


def task(version: int = 1) -> Task[Text]:
    return Task(
        name="toy", version=version, about="numbers", splits=("val",), load=load, score=score,
        metrics={"accuracy": mean("right")}, headline="accuracy", predictions=PredictionFormat("toy", read, write),
    )  # fmt: skip


class Counting:
    """Answers one question at a time with its number.

    Questions about the image `bad` fail; questions with a number in `wrong` get a wrong answer.  `asked` lists the
    numbers of all questions, and `pause` is the time for each in seconds.
    """

    def __init__(self, log: Path | None = None, pause: float = 0.0, bad: str = "", wrong: Sequence[int] = ()) -> None:
        self.log, self.pause, self.bad, self.wrong = log, pause, bad, wrong
        self.asked: list[str] = []

    @property
    def fingerprint(self) -> str:
        return "counting"

    @property
    def provenance(self) -> dict[str, Any]:
        return {"device": "toy"}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        for ticket, question in questions:
            number = question.text.split()[1]
            self.asked.append(number)
            if self.log is not None:
                with self.log.open("a") as stream:
                    stream.write(f"{number}\n")
            time.sleep(self.pause)
            if question.image == self.bad:
                yield ticket, Failure(f"{question.image} is bad")
                continue
            text = "?" if int(number) in self.wrong else number
            yield ticket, Answer((text,), Text((text,)), tokens=2, seconds=0.5)


def spec(task_: Task[Any], limit: int | None = None, seed: int = 0) -> RunSpec:
    return RunSpec(
        data="toys", data_hash="0", task="toy", version=task_.version, split="val", model="counting",
        fingerprint="counting", limit=limit, seed=seed,
    )  # fmt: skip


def folder(results: Path, spec_: RunSpec) -> RunFolder:
    return RunFolder(store.run_folder(results, spec_))


def go(
    results: Path, model: Counting, *, task_: Task[Text] | None = None, limit: int | None = None, **more: Any
) -> Run:
    """Runs the model on the toy task, with results in `results`."""
    chosen = task_ or task()
    spec_ = spec(chosen, limit)
    samples = runner.choose(list(chosen.load(Source(results, "val"))), limit, spec_.seed)
    return runner.run(chosen, samples, model, spec_, folder(results, spec_), results, {"command": "toy"}, **more)


if __name__ == "__main__":
    here = Path(sys.argv[1])
    print(go(here / "results", Counting(here / "asked.log", pause=float(sys.argv[2]))).status)
