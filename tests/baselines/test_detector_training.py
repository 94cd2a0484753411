"""DETR's training: labels that the reader reads back, transformers' loss, new classes, and the command."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrForObjectDetection, DetrImageProcessorPil

from baselines.detector_training import DetectorLearner, DetectorLesson, labels_of, padded, teach, written
from baselines.detectors import corners
from harness.core import Objects, Phrase, Question, Sample, Size, Text
from harness.errors import DataError, UsageError
from harness.training.mixture import Unit, batch_of
from harness.training.rivals import DETECTOR_RECIPE
from tests.baselines import pupils
from tests.baselines import test_closed_set as tiny

DETR = tiny.ENTRIES["detr-r50"]
SIZES = [Size(1000, 500), Size(333, 777), Size(20, 24), Size(64, 64)]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detr")
    torch.manual_seed(0)
    model, pixels = tiny.models("detr")
    model.save_pretrained(folder)
    pixels.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pupils.root(tmp_path_factory.mktemp("images"))


def learner(start: Path, **changes: Any) -> DetectorLearner:
    checkpoint: Any = DETR.checkpoint.__self__  # type: ignore[union-attr]
    return teach(str(start), replace(DETECTOR_RECIPE, **changes), "cpu", checkpoint=checkpoint)


def objects(*xywh: tuple[float, float, float, float], crowd: tuple[bool, ...] = ()) -> Objects:
    count = len(xywh)
    return Objects(xywh, tuple(range(count)), (9.0,) * count, crowd or (False,) * count, tuple(range(count)))


# ---------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("size", SIZES)
def test_boxes_that_are_written_are_read_back_within_a_thousandth_of_a_pixel(size: Size) -> None:
    target = objects((0.0, 0.0, 7.0, 11.0), (3.3, 5.5, size.width - 3.3, size.height - 5.5), (1.0, 2.0, 3.0, 9.0))
    answer = np.array(written(target, (4, 2, 9), size))
    labels = labels_of(answer, torch.device("cpu"))
    assert labels["class_labels"].tolist() == [4, 2, 9]
    read = corners(labels["boxes"], size.width, size.height)  # by the evaluation's reader
    np.testing.assert_allclose(read, np.array(target.boxes, np.float32), rtol=0, atol=2e-3)


def test_crowds_and_empty_boxes_are_left_out_and_boxes_are_clipped() -> None:
    target = objects(
        (10.0, 10.0, 20.0, 20.0), (0.0, 0.0, 0.0, 5.0), (90.0, 40.0, 30.0, 30.0), crowd=(True, False, False)
    )
    # the last box is clipped to x 90 to 100 of 100, y 40 to 50 of 50: centre 0.95, 0.9; sides 0.1, 0.2
    assert written(target, (0, 1, 2), Size(100, 50)) == [2, 950_000, 900_000, 100_000, 200_000]


def test_padding_is_at_the_right_and_bottom_and_masked() -> None:
    pixels, mask = padded([torch.ones(3, 2, 5), torch.full((3, 4, 3), 2.0)])
    assert pixels.shape == (2, 3, 4, 5)
    assert pixels[0, 0].tolist() == [[1.0] * 5] * 2 + [[0.0] * 5] * 2 and mask[0].tolist() == pixels[0, 0].tolist()
    assert mask[1].tolist() == [[1, 1, 1, 0, 0]] * 4


# ---------------------------------------------------------------------------- loss and classes


def test_loss_equals_that_of_transformers_on_annotations_of_its_own_processor(start: Path, images: Path) -> None:
    """The processor converts COCO's x, y, width, height itself, resizes and pads; without dropout nothing is random.

    Labels are those that it makes of each image alone.  In a padded batch it makes boxes shares of the padded image,
    and its own post-processing reads them as shares of the image; the authors' are shares of the image.
    """
    pupil = learner(start)
    things = [("red.png", (2.0, 4.0, 16.0, 16.0), 1), ("yellow.png", (6.0, 3.0, 18.0, 18.0), 3)]
    opened = [Image.open(images / name) for name, *_ in things]
    units = []
    for image, (name, box, number) in zip(opened, things, strict=True):
        pair = (np.array([], int), np.array(written(objects(box), (number,), Size(*image.size))))
        units.append(Unit(pupil.resizing.resize(image), name, "detected", [pair]))
    pupil.begin({})
    lesson = DetectorLesson(pupil.model.eval(), 0)
    loss, parts = lesson(batch_of(units, joined=pupil.joined))
    theirs = DetrForObjectDetection.from_pretrained(start).eval()
    theirs.config.auxiliary_loss = True
    annotations = [
        {"image_id": 0, "annotations": [{"bbox": list(box), "category_id": number, "area": 1.0, "iscrowd": 0}]}
        for _, box, number in things
    ]
    processor = DetrImageProcessorPil.from_pretrained(start)
    alone = [
        processor([image], annotations=[each], return_tensors="pt")["labels"][0]
        for image, each in zip(opened, annotations, strict=True)
    ]
    expected = theirs(**processor(opened, return_tensors="pt"), labels=alone)
    torch.testing.assert_close(loss, expected.loss, rtol=1e-4, atol=1e-5)
    assert parts["ce"] == pytest.approx(float(expected.loss_dict["loss_ce"].detach()), rel=1e-4)
    assert len(expected.auxiliary_outputs) == 1  # of two decoder layers: the authors' loss of the first is in the sum


@pytest.mark.parametrize(("names", "new"), [(("house", "Car"), False), (("house", "boat"), True)])
def test_classifier_is_replaced_only_for_categories_that_it_lacks(
    start: Path, names: tuple[str, ...], new: bool
) -> None:
    pupil = learner(start)
    before = pupil.model.class_labels_classifier.weight
    question = Question("x.png", Size(9, 9), "detect", phrases=tuple(map(Phrase, names)))
    pupil.begin({"a": question})
    after = pupil.model.class_labels_classifier.weight
    assert (after is before) is not new
    assert list(pupil.names.values()) == (list(names) if new else list(tiny.NAMES))
    assert len(after) == len(pupil.names) + 1  # and "no object"
    sample = Sample("s", question, objects((0.0, 0.0, 3.0, 3.0), (1.0, 1.0, 2.0, 2.0)), "x.png")
    [(prompt, answer)] = pupil.examples(sample, Path())
    assert (prompt, answer[0], answer[5]) == ([], 0 if new else 1, 1 if new else 3)


def test_images_of_crowds_alone_and_other_categories_are_not_taught(start: Path) -> None:
    pupil = learner(start)
    question = Question("x.png", Size(9, 9), "detect", phrases=(Phrase("house"),))
    crowd = objects((0.0, 0.0, 3.0, 3.0), crowd=(True,))
    assert pupil.examples(Sample("s", question, crowd, "x.png"), Path()) == []
    assert pupil.examples(Sample("s", question, objects(), "x.png"), Path()) == [([], [])]  # there is nothing: taught
    other = replace(question, phrases=(Phrase("boat"),))
    with pytest.raises(DataError, match="sample s has a category that the first sample lacks: 'boat'"):
        pupil.examples(Sample("s", other, crowd, "x.png"), Path())
    with pytest.raises(DataError, match="a detector cannot be taught"):
        pupil.examples(Sample("s", replace(question, kind="vqa"), Text(("x",)), "x.png"), Path())


@pytest.mark.parametrize(("changes", "message"), [
    ({"lora": 4}, "a detector is trained without adapters: --set lora=0"),
    ({"checkpointing": True}, "DETR has none in transformers"),
])  # fmt: skip
def test_settings_that_a_detector_does_not_have_are_refused(start: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        learner(start, **changes)


def test_frozen_backbone_stays_and_the_rest_is_trained(start: Path) -> None:
    pupil = learner(start)
    pupil.begin({})
    frozen = {name for name, parameter in pupil.model.named_parameters() if not parameter.requires_grad}
    assert frozen == {name for name, _ in pupil.model.named_parameters() if name.startswith("model.backbone.")}
    state = DetectorLesson(pupil.model, 0).state_dict()
    assert not {f"model.{name}" for name in frozen} & state.keys() and "model.class_labels_classifier.bias" in state


# ---------------------------------------------------------------------------- training


def test_taught_detector_finds_the_objects_of_its_training_images(start: Path, images: Path, tmp_path: Path) -> None:
    folder = pupils.tuned(
        DETR,
        start,
        images,
        tmp_path / "out",
        [pupils.DETECTED],
        steps=250,
        rate=2e-3,
        clip=1.0,
        weight_decay=0,
        freeze="",
    )
    run = pupils.accuracy(DETR, folder, images, tmp_path / "results", pupils.DETECTED)
    assert (run.metrics["accuracy"].value, run.spec.protocol) == (100.0, "fine_tuned")
    config = json.loads((folder / "config.json").read_text())
    assert sorted(config["id2label"].values()) == ["blue", "green", "red", "yellow"]
    again = pupils.answers_elsewhere(DETR.name, folder, images, pupils.DETECTED, tmp_path / "elsewhere")
    assert again["metrics"]["accuracy"]["value"] == 100.0


def test_interrupted_training_with_dropout_resumes_to_the_same_weights(
    start: Path, images: Path, tmp_path: Path
) -> None:
    assert DetrForObjectDetection.from_pretrained(start).config.dropout > 0
    pupils.check_resume(DETR, start, images, tmp_path, pupils.DETECTED, "model.safetensors", lora_dropout=0)


def test_resizing_survives_the_way_to_a_worker_process(start: Path, images: Path) -> None:
    pupil = learner(start)
    image = Image.open(images / "red.png")
    again = pickle.loads(pickle.dumps(pupil.resizing))
    torch.testing.assert_close(again.resize(image), pupil.resizing.resize(image), rtol=0, atol=0)
