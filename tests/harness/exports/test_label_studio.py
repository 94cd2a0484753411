"""Label Studio's tasks: coordinates in percent, and an interface that has every label."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from harness.exports import label_studio
from harness.exports.shapes import Picture, Shape
from tests.harness.exports.pictured import SIZE, everything


def test_tasks_have_percent_of_the_image_and_scores() -> None:
    [task] = json.loads(label_studio.write(everything(), "mine", "s3://bucket/"))
    assert task["data"] == {"image": "s3://bucket/a.jpg"}
    [prediction] = task["predictions"]
    assert prediction["model_version"] == "mine"
    cat, dog, first, second, line, text = prediction["result"]
    # (10, 20) to (40, 60) in an image of 200 x 100
    assert cat["value"] == {
        "x": 5.0, "y": 20.0, "width": 15.0, "height": 40.0, "rotation": 0, "rectanglelabels": ["cat"],
    }  # fmt: skip
    assert (cat["type"], cat["from_name"], cat["to_name"], cat["score"]) == ("rectanglelabels", "box", "image", 0.25)
    assert (cat["original_width"], cat["original_height"]) == (200, 100)
    assert dog["value"]["x"] + dog["value"]["width"] == pytest.approx(100.0) and dog["value"]["y"] == 0.0
    assert first["value"]["points"] == [[10.0, 10.0], [30.0, 10.0], [10.0, 50.0]]
    assert first["value"]["polygonlabels"] == ["the <red> cat"] and "score" not in first
    assert line["id"] == text["id"] and (text["type"], text["value"]["text"]) == ("textarea", ["STOP & go"])
    assert len({each["id"] for each in (cat, dog, first, second, line)}) == 5


def test_interface_has_a_control_for_every_result() -> None:
    shown = everything()
    controls = {each.get("name"): each for each in ElementTree.fromstring(label_studio.interface(shown)).iter()}
    for result in json.loads(label_studio.write(shown, "m"))[0]["predictions"][0]["result"]:
        control = controls[result["from_name"]]
        assert control.tag.lower() == result["type"] and control.get("toName") == result["to_name"]
        labels = [label.get("value") for label in control.findall("Label")]
        assert set(result["value"].get(result["type"], [])) <= set(labels)


def test_names_that_are_not_unicode_are_escaped() -> None:
    hostile = [Picture("\ud800.jpg", SIZE, None, [Shape("\ud800", (0.0, 0.0, 9.0, 9.0))])]
    assert json.loads(label_studio.write(hostile, "m"))[0]["data"]["image"].endswith("\ud800.jpg")
    ElementTree.fromstring(label_studio.interface(hostile))
