"""What a model of the data engine's study says about held-out scenes, and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import baselines
from baselines import Entry, Setting
from harness.core import Answer, Boxes, Kind, Model, Text
from harness.data_engine.calibration import Object
from harness.data_engine.judging import Judged
from harness.data_engine.questions import annotations_of, questions
from harness.data_engine.records import ImageRow, Record
from harness.metrics import captions
from tasks.miniature import study_scenes as scenes
from tasks.miniature.engine_world import Truth, objects


def entry() -> Entry:
    """florence2-nano that answers greedily, within 100 tokens."""
    from baselines.florence2 import Options

    nano = baselines.find("florence2-nano")
    return replace(nano, build=lambda setting, _: nano.build(setting, Options(beams=1, max_new_tokens=100)))


def answers(checkpoint: Path, kind: Kind, root: Path, device: str) -> dict[str, Record]:
    """What a model says about the held-out scenes, by reference."""
    model: Model = entry().load(Setting(root=root, weights=str(checkpoint), device=device))
    records = {
        name: Record(image=ImageRow(reference=name, sha256=name, size=truth.size))
        for name, truth in scenes.every_truth(root).items()
    }
    asked = [each for record in records.values() for each in questions(kind, record, "model")]
    for ticket, answer in model.answer((place, each.question) for place, each in enumerate(asked)):
        each = asked[ticket]
        if isinstance(answer, Answer):
            name = each.image.reference
            records[name] = records[name].extended(annotations_of(each, answer.value, "model"))
    return records


def detection(checkpoint: Path, root: Path, device: str) -> dict[str, float]:
    """F1 of all boxes of a model on held-out scenes, and COCO's mAP."""
    records = answers(checkpoint, "detect", root, device)
    truth = objects_of(scenes.every_truth(root))
    return {"F1": Judged.of(records.values(), truth).f1(), "mAP": mean_average_precision(records, truth)}


def detailed(checkpoint: Path, root: Path, device: str) -> dict[str, float]:
    """CIDEr of a model's detailed texts of held-out scenes, in percent."""
    records, texts = answers(checkpoint, "detailed_caption", root, device), scenes.detailed_texts(root)
    said = [next((_text(each.value) for each in record.kept("text")), "") for record in records.values()]
    scores = captions.mark(said, [[texts[name]] for name in records])
    return {"CIDEr": float(100 * np.mean(scores.cider))}


def mean_average_precision(records: Mapping[str, Record], truth: Mapping[str, Sequence[Object]]) -> float:
    """COCO's mAP in percent of the regions of images."""
    from harness.metrics import average_precision as ap
    from harness.metrics.coco_eval import match

    names = {name: place for place, name in enumerate(records)}
    true = [(names[image], label, box) for image, of in truth.items() for label, box in of]
    labels = {label: place for place, label in enumerate(sorted({label for _, label, _ in true}))}
    said = [
        (names[name], each.value.labels[0], each.value.boxes[0], each.score or 0.0)
        for name, record in records.items()
        for each in record.kept("region")
        if isinstance(each.value, Boxes) and each.value.labels and each.value.labels[0] in labels
    ]

    def boxes(of: Sequence[Any]) -> Any:
        corners = np.array([row[2] for row in of], np.float64).reshape(-1, 4)
        return np.concatenate([corners[:, :2], np.maximum(corners[:, 2:] - corners[:, :2], 0)], axis=1)

    def column(of: Sequence[Any], place: int) -> Any:
        return np.array([row[place] if place == 0 else labels[row[1]] for row in of], np.int64)

    sides = boxes(true)
    table = match(
        ap.Truth(column(true, 0), column(true, 1), sides, sides[:, 2] * sides[:, 3], np.zeros(len(true), np.bool_)),
        ap.Detections(column(said, 0), column(said, 1), boxes(said), np.array([row[3] for row in said], np.float64)),
        len(names), len(labels),
    )  # fmt: skip
    return table.average_precision(np.ones(len(names)))


def objects_of(truths: Mapping[str, Truth]) -> dict[str, list[Object]]:
    """The objects of each scene, by reference."""
    found: dict[str, list[Object]] = {name: [] for name in truths}
    for reference, category, box in objects(truths):
        found[reference].append((category, box))
    return found


def _text(value: object) -> str:
    return value.texts[0] if isinstance(value, Text) else ""
