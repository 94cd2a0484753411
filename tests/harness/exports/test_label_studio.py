"""Label Studio's tasks: coordinates in percent, and an interface that has every label."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.exports import label_studio
from harness.exports.shapes import Picture, Shape
from tests.harness.exports.pictured import QUAD, SIZE, TRIANGLE, everything
from tests.tools import run_with

CONVERTER = """
import sys
from label_studio_sdk.converter import Converter

tasks, interface, to = sys.argv[1:]
converter = Converter(config=open(interface).read(), project_dir=None, download_resources=False)
converter.convert_to_coco(tasks, to, output_image_dir=to + "/images", is_dir=False)
"""


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


def test_label_studio_converts_accepted_predictions_to_the_same_boxes(tmp_path: Path) -> None:
    """Label Studio's own converter to COCO, of tasks whose predictions an annotator accepted."""
    tasks = json.loads(label_studio.write(everything(), "m"))
    for number, task in enumerate(tasks, start=1):
        [prediction] = task.pop("predictions")
        task |= {"id": number, "annotations": [{"id": number, "result": prediction["result"], "was_cancelled": False}]}
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    (tmp_path / "interface.xml").write_bytes(label_studio.interface(everything()))
    paths = [str(tmp_path / name) for name in ("tasks.json", "interface.xml", "coco")]
    run_with("label_studio_sdk", "-c", CONVERTER, *paths)
    converted = json.loads((tmp_path / "coco/result.json").read_text())
    names = {category["id"]: category["name"] for category in converted["categories"]}
    read = [(names[each["category_id"]], each["bbox"], each["segmentation"]) for each in converted["annotations"]]
    triangle, quad = ([number for point in ring for number in point] for ring in (TRIANGLE, QUAD))
    expected = [
        ("cat", [10, 20, 30, 40], []),
        ("dog", [150, 0, 50, 60], []),
        ("the <red> cat", [20, 10, 40, 40], [triangle]),
        ("the <red> cat", [80, 60, 10, 10], [[80, 60, 90, 60, 90, 70]]),
        ("text", [100, 20, 40, 20], [quad]),
    ]
    assert [name for name, *_ in read] == [name for name, *_ in expected]
    for (_, box, rings), (_, true_box, true_rings) in zip(read, expected, strict=True):
        assert box == pytest.approx(true_box)
        assert [pytest.approx(ring) for ring in true_rings] == rings
