"""Writes the predictions of a kept run for another tool (`harness.exports`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import runner, store
from harness.core import Answer, Boxes, Objects, Run, Sample, Value
from harness.errors import UsageError
from harness.evaluation.plan import loaded_of, task_of
from harness.exports import coco, cvat, fiftyone, hub, label_studio
from harness.exports.shapes import Picture, pictures
from harness.store import RunFolder


def exported(
    tool: str, file: Path, folder: RunFolder, record: Run, data: str | None, task: str | None = None,
    prefix: str = label_studio.LOCAL_FILES, benchmark: str | None = None,
) -> list[Path]:  # fmt: skip
    """Writes a run's predictions for `tool` (coco, cvat, label-studio, fiftyone or hub) to `file`; returns the paths.

    DataError where an answer is missing; UsageError for a run without shapes, and for data whose images have no file.
    """
    if tool == "hub":
        if file.is_file():
            raise UsageError(f"{file} is a file; --hub takes the folder of a model repository")
        return hub.write(record, file, about(record, task), benchmark)
    task_of_run, loaded, root = loaded_of(record, data, task)
    answers = runner.kept_answers(loaded.samples, folder, record.spec.fingerprint)
    runner.answered(loaded.samples, answers)
    shown = pictures(loaded.samples, answers, root, task_of_run.name)
    if tool == "coco":
        store.replace_file(file, coco.write(shown, loaded.samples))
        return [file]
    if tool == "cvat":
        store.replace_file(file, cvat.write(shown, f"{record.spec.task} {record.spec.split} {record.spec.model}"))
        return [file]
    if tool == "label-studio":
        interface = file.with_suffix(".xml")
        if interface == file:
            raise UsageError(f"--label-studio {file}: the interface is written to {interface}; name FILE .json")
        store.replace_file(file, label_studio.write(shown, record.spec.model, prefix))
        store.replace_file(interface, label_studio.interface(shown))
        return [file, interface]
    samples = file / "samples.json"
    store.replace_file(
        samples, fiftyone.write(shown, _targets(loaded.samples, root, task_of_run.name), root, record.spec.model)
    )
    return [samples]


def about(record: Run, task: str | None = None) -> str:
    """What the task of a run is, in words; its name alone for the user's own data."""
    return record.spec.task if "own data" in record.provenance else task_of(record, task).about


def _targets(samples: Sequence[Sample[Any]], root: Path, task: str) -> list[Picture]:
    """The images with the shapes of their targets; [] where the targets are not published."""
    known = [sample for sample in samples if sample.target is not None]
    answers = {sample.id: Answer((), _as_answer(sample)) for sample in known}
    return pictures(known, answers, root, task) if known else []


def _as_answer(sample: Sample[Any]) -> Value | None:
    """A target in the form of an answer: annotated objects, without crowds, as boxes with names of categories."""
    target: Value | None = sample.target
    if isinstance(target, Objects):
        objects = zip(target.boxes, target.categories, target.crowd, strict=True)
        single = [(box, sample.question.phrases[category].text) for box, category, crowd in objects if not crowd]
        return Boxes(tuple(box for box, _ in single), tuple(label for _, label in single))
    return target
