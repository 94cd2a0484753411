"""Tasks of a few samples that a tiny rival can learn by heart, and the checks that the training of every rival passes.

Four images that are not square each hold one coloured square.  Training and evaluation have the same samples.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import harness
from harness.core import (
    Answer,
    Boxes,
    Objects,
    Phrase,
    PredictionFormat,
    Question,
    Row,
    Sample,
    Score,
    Size,
    Source,
    Task,
    Text,
)  # fmt: skip
from harness.evaluation import tuning
from harness.metrics.reduce import mean
from harness.training import loop

Thing = tuple[str, tuple[int, int], tuple[int, int, int, int], str]  # colour, size, box, place
THINGS: tuple[Thing, ...] = (
    ("red", (40, 24), (2, 4, 18, 20), "left"),
    ("green", (24, 40), (4, 22, 20, 38), "bottom"),
    ("blue", (64, 40), (40, 8, 60, 28), "right"),
    ("yellow", (30, 90), (6, 3, 24, 21), "top"),
)
FAST = {"precision": "float32", "warmup": "0", "accumulate": "1", "batch": "4"}


def root(folder: Path) -> Path:
    """The images, as files in `folder`."""
    for colour, size, box, _ in THINGS:
        image = Image.new("RGB", size, (20, 20, 20))
        image.paste(colour, box)
        image.save(folder / f"{colour}.png")
    return folder


def _asked(source: Source) -> Iterator[Sample[Text]]:
    for colour, (width, height), _, place in THINGS:
        for text, answer in (("what color is the square ?", colour), ("where is the square ?", place)):
            question = Question(f"{colour}.png", Size(width, height), "vqa", text)
            yield Sample(f"{colour} {text}", question, Text((answer,)), f"{colour}.png")


def _found(source: Source) -> Iterator[Sample[Boxes]]:
    for colour, (width, height), box, _ in THINGS:
        for text in (f"{colour} square", "square"):
            question = Question(f"{colour}.png", Size(width, height), "refer", text)
            left, top, right, bottom = map(float, box)
            yield Sample(f"{colour} {text}", question, Boxes(((left, top, right, bottom),)), f"{colour}.png")


def _detected(source: Source) -> Iterator[Sample[Objects]]:
    phrases = tuple(Phrase(colour) for colour, *_ in THINGS)
    for number, (colour, (width, height), (left, top, right, bottom), _) in enumerate(THINGS):
        question = Question(f"{colour}.png", Size(width, height), "detect", phrases=phrases)
        xywh = ((float(left), float(top), float(right - left), float(bottom - top)),)
        area = (float((right - left) * (bottom - top)),)
        target = Objects(xywh, (number,), area, (False,), tuple(range(4)), number)
        yield Sample(str(number), question, target, f"{colour}.png")


def _pointed(source: Source) -> Iterator[Sample[Text]]:
    question = Question("red.png", Size(40, 24), "outline", region=(2.0, 4.0, 18.0, 20.0))
    yield Sample("red", question, Text(("red",)), "red.png")


def right_text(sample: Sample[Text], answer: Answer) -> Score:
    return Score({"right": float(answer.value == sample.target)}, readable=answer.value is not None)


def right_box(sample: Sample[Any], answer: Answer) -> Score:
    """1 if the first box is within a twentieth of the image's sides of the target, and has its label if it has one."""
    value, size = answer.value, sample.question.size
    if not isinstance(value, Boxes) or not value.boxes or size is None:
        return Score({"right": 0.0}, readable=False)
    limits = (size.width / 20, size.height / 20) * 2
    near = all(abs(a - b) <= most for a, b, most in zip(value.boxes[0], sample.target.boxes[0], limits, strict=True))
    named = True
    if isinstance(sample.target, Objects):
        named = value.labels[0] == sample.question.phrases[sample.target.categories[0]].text
    return Score({"right": float(near and named)}, readable=True)


def _read(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    return {}


def _write(path: Path, rows: Sequence[Row[Any]]) -> None:
    path.write_text(json.dumps([row.sample.id for row in rows]))


def _task(name: str, load: Any, score: Any, train_splits: tuple[str, ...] = ("train",)) -> Task[Any]:
    return Task(
        name=name, version=1, about=name, splits=("val",), train_splits=train_splits, load=load, score=score,
        metrics={"accuracy": mean("right")}, headline="accuracy", predictions=PredictionFormat(name, _read, _write),
    )  # fmt: skip


ASKED, FOUND, DETECTED = (
    _task("asked", _asked, right_text),
    _task("found", _found, right_box),
    _task("detected", _detected, right_box),
)
POINTED = _task("pointed", _pointed, right_text)
UNTAUGHT = _task("untaught", _asked, right_text, ())


def name(task: Task[Any]) -> str:
    """How `--task` names a task of this file."""
    return next(f"{__name__}:{key}" for key, value in globals().items() if value is task)


def tuned(entry: Any, start: Path, images: Path, out: Path, tasks: Sequence[Task[Any]], **changes: Any) -> Path:
    """The checkpoint after training on the tasks' samples."""
    settings = {**FAST, **{key: str(value) for key, value in changes.items()}}
    return tuning.tuned(
        entry, task=",".join(map(name, tasks)), weights=str(start), data=str(images), changes=settings, device="cpu",
        to=out,
    )  # fmt: skip


def sharpen(folder: Path, kind: Any) -> Path:
    """Makes the embedding of a tiny checkpoint large, so that the frozen output layer can be sure of a token."""
    model = kind.from_pretrained(folder)
    with torch.no_grad():
        for embedding in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            embedding.normal_(std=1.0, generator=torch.Generator().manual_seed(1))
    model.save_pretrained(folder)
    return folder


def accuracy(entry: Any, weights: Path, images: Path, results: Path, task: Task[Any], **options: Any) -> Any:
    """The run of a task with these weights."""
    return harness.evaluate(task, entry, data=images, weights=weights, device="cpu", out=results, **options)


def check_resume(entry: Any, start: Path, images: Path, folder: Path, task: Task[Any], file: str, **more: Any) -> None:
    """A training that is interrupted after its fifth step of eight resumes to the same bytes."""
    changes = {"steps": 8, "save_every": 2, "lora_dropout": 0.1, **more}
    whole = tuned(entry, start, images, folder / "whole", [task], **changes)
    rate, steps = loop.learning_rate, 0

    def interrupting(step: int, plan: Any) -> float:
        nonlocal steps
        steps = step
        if step == 5:
            raise KeyboardInterrupt
        return rate(step, plan)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "learning_rate", interrupting)
        with pytest.raises(KeyboardInterrupt):
            tuned(entry, start, images, folder / "parts", [task], **changes)
    assert steps == 5
    again = tuned(entry, start, images, folder / "parts", [task], **changes)
    assert (again / file).read_bytes() == (whole / file).read_bytes()
    assert json.loads((again / "training.json").read_text()) == json.loads((whole / "training.json").read_text())
    other = tuned(entry, start, images, folder / "other", [task], **changes, seed=1)
    assert (other / file).read_bytes() != (whole / file).read_bytes()


def answers_elsewhere(model: str, weights: Path, images: Path, task: Task[Any], results: Path) -> Any:
    """The metrics of `run` in a new process."""
    command = [
        sys.executable, "-m", "harness", "run", "--task", name(task), "--model", model, "--weights", str(weights),
        "--data", str(images), "--out", str(results), "--device", "cpu", "--json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
