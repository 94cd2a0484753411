"""ODinW: its table of data sets, files of several data sets, and the mean over them, by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import runner
from harness.core import Answer, Boxes, Row, Sample, Source
from harness.errors import DataError
from tasks import TASKS
from tasks.odinw import THIRTEEN, THIRTY_FIVE, TINY, load

FOLDER = "odinw_miniature"
TASK = TASKS[FOLDER]


def write(root: Path) -> list[Sample[Any]]:
    """Two images in each of the three tiny data sets, each with an object of 10 x 10 pixels of every category."""
    for data in TINY:
        names = list(data.said)
        annotations = [
            {"id": 10 * image + number, "image_id": image, "category_id": number, "bbox": [0, 0, 10, 10], "area": 100}
            for image in (1, 2)
            for number in range(1, len(names) + 1)
        ]
        path = root / FOLDER / data.annotations["val"]
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({
            "images": [{"id": n, "file_name": f"{n}.jpg", "width": 40, "height": 40} for n in (1, 2)],
            "annotations": annotations,
            "categories": [{"id": n, "name": name} for n, name in enumerate(names, start=1)],
        }))  # fmt: skip
    return list(TASK.load(Source(root, "val")))


def rows_of(samples: Sequence[Sample[Any]], right: Sequence[str]) -> list[Row[Any]]:
    """Answers that have all boxes in the data sets named, and none in the others."""
    answers = {}
    for sample in samples:
        labels = tuple(phrase.text for phrase in sample.question.phrases) if sample.groups[0] in right else ()
        answers[sample.id] = Answer(("x",), Boxes(((0.0, 0.0, 10.0, 10.0),) * len(labels), labels))
    return runner.mark(TASK, samples, answers)


def test_table_has_the_data_sets_of_glip() -> None:
    assert (len(THIRTEEN), len(THIRTY_FIVE)) == (13, 35)
    assert {data.name for data in THIRTEEN} < {data.name for data in THIRTY_FIVE}
    assert len({data.name for data in THIRTY_FIVE}) == 35
    for data in THIRTY_FIVE:
        assert data.annotations.keys() == data.images.keys() == {"val", "test"}
        assert data.val_is in ("val", "minival")
        assert ("mini_val" in data.annotations["val"]) == (data.val_is == "minival")


def test_samples_have_the_wording_and_group_of_their_data_set(tmp_path: Path) -> None:
    first, *_ = write(tmp_path)
    assert (first.id, first.groups) == ("SnowmenAndBirds/1", ("SnowmenAndBirds",))
    assert first.question.image == "odinw_miniature/SnowmenAndBirds/valid/1.jpg"
    phrases = [(phrase.text, phrase.said) for phrase in first.question.phrases]
    assert phrases == [("snowman", "white thing"), ("bird", "blue thing")]


def test_missing_data_set_is_a_data_error(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / FOLDER / TINY[1].annotations["val"]).unlink()
    with pytest.raises(DataError, match=r"lacks 1 of 3 data sets \(Balloons\)"):
        list(load(Source(tmp_path, "val"), TINY, FOLDER))


@pytest.mark.parametrize(
    ("right", "mean", "median"),
    [
        ([], 0, 0),
        (["Balloons"], 100 / 3, 0),  # APs of 0, 100 and 0
        (["Balloons", "SnowmenAndBirds"], 200 / 3, 100),
        (["Balloons", "SnowmenAndBirds", "IceCreams"], 100, 100),
    ],
)
def test_map_is_the_mean_over_data_sets(tmp_path: Path, right: list[str], mean: float, median: float) -> None:
    metrics = runner.reduce(TASK, rows_of(write(tmp_path), right), seed=0)
    for name in ("mAP", "AP50", "AP75", "AR100", "mAP constant"):
        assert metrics[name].value == pytest.approx(mean), name
    assert metrics["mAP median"].value == pytest.approx(median)
    for data in TINY:
        assert metrics[f"mAP {data.name}"].value == pytest.approx(100 * (data.name in right))


def test_predictions_are_a_folder_with_a_file_for_each_data_set(tmp_path: Path) -> None:
    samples = write(tmp_path)
    rows = rows_of(samples, ["Balloons", "IceCreams"])
    TASK.predictions.write(tmp_path / "out", rows)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{data.name}.json" for data in TINY}
    answers = TASK.predictions.read(tmp_path / "out", samples)
    assert [row.score for row in runner.mark(TASK, samples, answers)] == [row.score for row in rows]
    (tmp_path / "out/Balloons.json").rename(tmp_path / "out/Baloons.json")
    with pytest.raises(DataError, match=r"must be a folder of 3 files, .* missing or unknown: Balloons, Baloons"):
        TASK.predictions.read(tmp_path / "out", samples)
    with pytest.raises(DataError, match="must be a folder of 3 files"):
        TASK.predictions.read(tmp_path / "nowhere", samples)


def test_policy_names_the_data_sets_whose_val_is_minival() -> None:
    policies = {name: task.corpus.policy for name, task in TASKS.items() if "odinw" in name and task.corpus}
    assert policies["odinw13"].startswith(
        "val is the split of GLIP's evaluation: minival of EgoHands_generic, Vehicles"
    )
    assert "PKLot" in policies["odinw35"] and "PKLot" not in policies["odinw13"]
    assert policies["odinw_miniature"].startswith("mAP ranks")
