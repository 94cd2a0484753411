"""The folder for FiftyOne: fields, relative coordinates, and FiftyOne's own label classes where it is installed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.exports import fiftyone
from harness.exports.shapes import pictures
from tests.harness.exports.pictured import answer, detection, everything, found


def test_samples_have_relative_coordinates_and_absolute_paths(tmp_path: Path) -> None:
    sample = detection()
    shown = pictures([sample], {sample.id: answer(found())}, tmp_path, "t")
    written = json.loads(fiftyone.write(shown, everything(), tmp_path, "Florence-2 (mine)"))
    [each] = written["samples"]
    assert each["filepath"] == str(tmp_path / "a.jpg") and each["tags"] == []
    assert each["metadata"] == {"_cls": "ImageMetadata", "width": 200, "height": 100}
    cat, dog = each["model_florence_2__mine_"]["detections"]
    # (10, 20) to (40, 60) in an image of 200 x 100
    assert cat == {"_cls": "Detection", "bounding_box": [0.05, 0.2, 0.15, 0.4], "label": "cat", "confidence": 0.25}
    assert dog["bounding_box"] == [0.75, -0.1, 0.45, 0.7]
    outline, line = each["ground_truth_outlines"]["polylines"]
    assert outline["points"][0] == [[0.1, 0.1], [0.3, 0.1], [0.1, 0.5]] and len(outline["points"]) == 2
    assert (outline["closed"], outline["filled"], "confidence" in outline) == (True, True, False)
    assert line["text"] == "STOP & go"
    assert len(each["ground_truth"]["detections"]) == 2


def test_image_without_predictions_has_an_empty_field(tmp_path: Path) -> None:
    sample = detection()
    shown = pictures([sample], {sample.id: answer(None)}, tmp_path, "t")
    [each] = json.loads(fiftyone.write(shown, [], tmp_path, "m"))["samples"]
    assert each["model_m"] == {"_cls": "Detections", "detections": []} and "ground_truth" not in each


def test_fiftyone_makes_its_own_samples_of_them(tmp_path: Path) -> None:
    fo = pytest.importorskip("fiftyone", reason="FiftyOne and its database are no dependency of this project")
    [each] = json.loads(fiftyone.write(everything(), everything(), tmp_path, "m"))["samples"]
    sample = fo.Sample.from_dict(each)
    assert sample.model_m.detections[0].label == "cat" and sample.model_m.detections[0].confidence == 0.25
    assert sample.model_m_outlines.polylines[0].points[0][0] == [0.1, 0.1]
    assert sample.metadata.width == 200
