"""Tasks of Label Studio: places in percent, predictions apart from people's annotations, and an interface that fits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse
from xml.etree import ElementTree

import pytest

from harness.core import Boxes
from harness.data_engine import audit, label_studio
from harness.data_engine.export import export
from harness.data_engine.records import Record
from tests.harness.data_engine import samples


@pytest.fixture
def tasks(miniature: Path, tmp_path: Path) -> list[dict[str, Any]]:
    records = samples.records(miniature, 2)
    export(lambda: records, samples.ORIGINS, miniature, tmp_path / "tasks.json", "label-studio")
    loaded: list[dict[str, Any]] = json.loads((tmp_path / "tasks.json").read_text())
    return loaded


def results(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for each in (*task["annotations"], *task["predictions"]):
        yield from each["result"]


def test_people_annotate_and_models_predict(tasks: list[dict[str, Any]], miniature: Path) -> None:
    [record, _] = samples.records(miniature, 2)
    task = tasks[0]
    assert parse_qs(urlparse(task["data"]["image"]).query) == {"d": [record.image.reference]}
    assert (task["data"]["licence"], task["data"]["sha256"]) == ("CC-BY-4.0", record.image.sha256)
    assert [each["value"]["rectanglelabels"] for each in task["annotations"][0]["result"]] == [["house"]]
    assert {each["model_version"] for each in task["predictions"]} == {"detector", "captioner round 1"}
    [detector] = [each for each in task["predictions"] if each["model_version"] == "detector"]
    assert 0 < detector["score"] <= 1


def test_places_are_in_percent_of_the_image(tasks: list[dict[str, Any]], miniature: Path) -> None:
    [record, _] = samples.records(miniature, 2)
    width, height = record.image.size
    car = record.annotations[0]
    [shape] = [each for each in results(tasks[0]) if each["id"] == car.id]
    value = shape["value"]
    assert (shape["original_width"], shape["original_height"]) == (width, height)
    back = (
        value["x"] * width / 100, value["y"] * height / 100, (value["x"] + value["width"]) * width / 100,
        (value["y"] + value["height"]) * height / 100,
    )  # fmt: skip
    assert back == pytest.approx(car.value.boxes[0])  # type: ignore[union-attr]
    assert (value["rectanglelabels"], shape["score"]) == (["car"], car.score)
    [polygon] = [each for each in results(tasks[0]) if each["value"].get("polygonlabels") == ["car"]]
    points = [(x * width / 100, y * height / 100) for x, y in polygon["value"]["points"]]
    assert points == [pytest.approx(point) for point in ((10.5, 20.0), (60.0, 20.0), (35.0, 70.0))]


def test_words_belong_to_their_shapes(tasks: list[dict[str, Any]]) -> None:
    shapes = {each["id"]: each for each in results(tasks[0]) if each["type"].endswith("labels")}
    words = [each for each in results(tasks[0]) if each["from_name"] == "words"]
    found = {(shapes[each["id"]]["value"][shapes[each["id"]]["type"]][0], *each["value"]["text"]) for each in words}
    assert found == {("a phrase", samples.PHRASE), ("written words", "CAFÉ"), ("car", "a shiny car")}
    assert len([each for each in words if each["value"]["text"] == [samples.PHRASE]]) == 2  # its two boxes
    [text] = [each for each in results(tasks[0]) if each["from_name"] == "text"]
    assert text["value"] == {"text": [samples.TEXT]}


def test_interface_has_every_control_and_label(tasks: list[dict[str, Any]], tmp_path: Path) -> None:
    view = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    controls = {each.get("name"): each for each in view}
    for task in tasks:
        for each in results(task):
            control = controls[each["from_name"]]
            assert (control.tag.lower(), control.get("toName")) == (each["type"], "image")
            labels = {label.get("value") for label in control}
            assert set(each["value"].get(each["type"], ())) <= labels


def test_hostile_label_is_an_attribute(miniature: Path, tmp_path: Path) -> None:
    label = '"><Image name="x"/>&\x00'
    [record] = samples.records(miniature, 1)
    box = replace(record.annotations[0], value=Boxes(((1.0, 1.0, 9.0, 9.0),), (label,)))
    made = Record(image=record.image, annotations=(box,))
    export(lambda: [made], samples.ORIGINS, miniature, tmp_path / "t.json", "label-studio")
    view = ElementTree.parse(tmp_path / "t.xml").getroot()
    assert [each.tag for each in view] == ["Image", "RectangleLabels", "PolygonLabels", "TextArea", "TextArea"]
    assert '"><Image name="x"/>& ' in {each.get("value") for each in view.iter("Label")}


def test_box_beyond_the_image_ends_at_its_edge(miniature: Path, tmp_path: Path) -> None:
    [record] = samples.records(miniature, 1)
    width, height = record.image.size
    beyond = Boxes(((-20.0, height / 2, width + 50.0, height + 1.0),), ("car",))
    made = Record(image=record.image, annotations=(replace(record.annotations[0], value=beyond),))
    export(lambda: [made], samples.ORIGINS, miniature, tmp_path / "t.json", "label-studio")
    [shape] = results(json.loads((tmp_path / "t.json").read_text())[0])
    value = shape["value"]
    assert (value["x"], value["y"], value["width"], value["height"]) == (0, 50, 100, 50)


def test_empty_engine_is_an_empty_list(miniature: Path, tmp_path: Path) -> None:
    export(lambda: (), samples.ORIGINS, miniature, tmp_path / "t.json", "label-studio")
    assert json.loads((tmp_path / "t.json").read_text()) == []


def test_sample_of_an_audit_asks_for_three_verdicts(miniature: Path, tmp_path: Path) -> None:
    sample = audit.draw(lambda: samples.records(miniature, 2), samples.ORIGINS, sample=22, least=1)
    label_studio.write_sample(tmp_path / "audit.json", sample)
    tasks = json.loads((tmp_path / "audit.json").read_text())
    assert [task["data"]["annotation"] for task in tasks] == [item.annotation for item in sample.items]
    assert {task["data"]["sample"] for task in tasks} == {sample.id}
    view = ElementTree.parse(tmp_path / "audit.xml").getroot()
    assert [each.get("value") for each in view.iter("Choice")] == ["right", "wrong", "cannot tell"]
    fields = {(each.get("value") or "").removeprefix("$") for each in view if (each.get("value") or "").startswith("$")}
    assert fields <= tasks[0]["data"].keys()
    controls = {each.get("name"): each.tag.lower() for each in view}
    for task in tasks:
        for each in results({"annotations": [], **task}):
            assert controls[each["from_name"]] == each["type"]
