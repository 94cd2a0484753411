"""Predictions of kept runs for other tools, through the command."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from huggingface_hub import ModelCard

from tests.harness.cli.calling import Call, evaluated
from tests.harness.cli.conftest import here as here
from tests.harness.cli.conftest import root as root


def test_predictions_of_detection_for_every_tool(here: Call, tmp_path: Path) -> None:
    """The oracle's boxes are the annotated ones, so predictions and targets are equal in FiftyOne's folder."""
    run = evaluated(here, "coco_detection", "--limit", "3")
    for tool, name in (("coco", "a.json"), ("cvat", "a.xml"), ("label-studio", "b.json"), ("fiftyone", "folder")):
        outcome = here("export", run["id"], name, f"--{tool}")
        assert outcome.status == 0, outcome.err
        assert f"written: {name}" in outcome.out
    coco = json.loads(Path("a.json").read_text())
    boxes = len(coco["annotations"])
    assert len(coco["images"]) == 3 and boxes > 0
    assert len(list(ElementTree.parse("a.xml").iter("box"))) == boxes
    tasks = json.loads(Path("b.json").read_text())
    assert sum(len(task["predictions"][0]["result"]) for task in tasks) == boxes and Path("b.xml").is_file()
    for sample in json.loads(Path("folder/samples.json").read_text())["samples"]:
        assert Path(sample["filepath"]).is_file()
        truth, predicted = sample["ground_truth"]["detections"], sample["model_oracle"]["detections"]
        assert [each["bounding_box"] for each in truth] == [each["bounding_box"] for each in predicted]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a.json", "--coco", "--cvat"), "--coco and --cvat: one at a time"),
        (("a.xml", "--label-studio"), "name FILE .json"),
        (("a.json", "--benchmark", "a/b:c"), "--benchmark is an option of --hub"),
        (("folder", "--hub"), "on the embedded miniature is not comparable"),
    ],
)
def test_options_that_do_not_fit_are_refused(here: Call, arguments: tuple[str, ...], complaint: str) -> None:
    run = evaluated(here, "refcoco", "--limit", "2")
    outcome = here("export", run["id"], *arguments)
    assert outcome.status == 2 and complaint in outcome.complaint
    assert not Path(arguments[0]).exists()


def test_captions_have_no_shapes_to_export(here: Call) -> None:
    run = evaluated(here, "vizwiz", "--limit", "2")
    outcome = here("export", run["id"], "a.json", "--cvat")
    assert outcome.status == 2 and "vizwiz has no boxes, outlines or masks" in outcome.complaint


def test_card_of_a_whole_run_names_the_task(here: Call, root: Path) -> None:
    run = json.loads(here("run", "--task", "refcoco", "--model", "oracle", "--data", root, "--json").out)
    assert here("export", run["id"], "model", "--hub", "--benchmark", "owner/name:val").status == 0
    [result] = ModelCard.load("model/README.md").data.eval_results
    assert result.metric_value == pytest.approx(run["metrics"]["Acc@0.5"]["value"])
    assert Path("model/.eval_results/refcoco_val.yaml").is_file()
    Path("file").write_text("x")
    assert "is a file" in here("export", run["id"], "file", "--hub").complaint
