"""ODinW: its table of data sets, files of several data sets, and the mean over them, by hand."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import runner
from harness.core import Answer, Boxes, Reading, Row, Sample, Source
from harness.errors import DataError
from tasks import TASKS
from tasks.odinw import THIRTEEN, THIRTY_FIVE, TINY, load, read_rf100_vl

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


# ---------------------------------------------------------------------------- Roboflow100-VL

RF100_VL = TASKS["rf100_vl_miniature"]


def write_exports(root: Path, *, placeholder: bool, first: int = 1) -> list[Sample[Any]]:
    """An object of 10 x 10 pixels of a category in one image of each data set, with ids as Roboflow writes them.

    With the `placeholder` of an export, categories count from 1 behind it.  `first` is the id of the first annotation.
    """
    for name in ("balloons-2", "ice-creams", "snowmen-and-birds"):
        path = root / f"rf100_vl_miniature/{name}/test/_annotations.coco.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        before = [{"id": 0, "name": name, "supercategory": "none"}] if placeholder else []
        number = len(before)
        path.write_text(json.dumps({
            "info": {}, "licenses": [], "images": [{"id": 0, "file_name": "0.jpg", "width": 40, "height": 40}],
            "categories": [*before, {"id": number, "name": name, "supercategory": name}],
            "annotations": [
                {"id": first, "image_id": 0, "category_id": number, "bbox": [0, 0, 10, 10], "area": 100, "iscrowd": 0}
            ],
        }))  # fmt: skip
    return list(RF100_VL.load(Source(root, "test")))


def test_rf100_vl_has_the_data_sets_of_the_package_by_domain() -> None:
    """The numbers of data sets in the paper's seven domains: arXiv:2505.20612, Table 1."""
    sets = read_rf100_vl()
    assert len({data.name for data in sets}) == 100
    assert Counter(data.domain for data in sets) == {
        "Aerial": 11, "Document": 10, "Flora/Fauna": 23, "Industrial": 22, "Lab Imaging": 13, "Sport": 6, "Misc": 15,
    }  # fmt: skip
    needs = {need.path for need in TASKS["rf100_vl"].files}
    assert "rf100_vl/-grccs/test/_annotations.coco.json" in needs and len(needs) == 200


def test_rf100_vl_reports_the_mean_of_each_domain(tmp_path: Path) -> None:
    samples = write_exports(tmp_path, placeholder=False)
    assert [sample.question.phrases[0].text for sample in samples] == ["balloons-2", "ice-creams", "snowmen-and-birds"]
    boxes = Boxes(((0.0, 0.0, 10.0, 10.0),), ("ice-creams",))
    answers = {sample.id: Answer(("x",), boxes) for sample in samples}  # a label of one data set only
    metrics = runner.reduce(RF100_VL, runner.mark(RF100_VL, samples, answers), seed=0)
    assert metrics["mAP"].value == pytest.approx(100 / 3)
    assert metrics["mAP Misc"].value == pytest.approx(50)
    assert metrics["mAP Flora/Fauna"].value == 0
    assert not any(name.startswith("mAP ") and "/" in name for name in TASKS["odinw35"].metrics)


def test_category_0_of_an_export_is_no_category_to_find(tmp_path: Path) -> None:
    """Its name is that of the data set, so it may equal another category's name."""
    samples = write_exports(tmp_path, placeholder=True)
    assert [len(sample.question.phrases) for sample in samples] == [1, 1, 1]
    assert [sample.target.ids for sample in samples] == [(1,)] * 3
    source = Source(tmp_path, "test", reading=Reading(strict=True))
    with pytest.raises(DataError, match=r"\$\.categories\[0\] stands for all categories in Roboflow's exports"):
        list(RF100_VL.load(source))


def test_annotation_id_0_of_an_export_is_remarked(tmp_path: Path) -> None:
    """pycocotools counts its detection as wrong, and so would the evaluation of a file as Roboflow writes it."""
    samples = write_exports(tmp_path, placeholder=False, first=0)
    boxes = Boxes(((0.0, 0.0, 10.0, 10.0),), ("ice-creams",))
    answers = {sample.id: Answer(("x",), boxes) for sample in samples}
    [remark] = RF100_VL.remarks(runner.mark(RF100_VL, samples, answers))
    assert remark.startswith("ice-creams: annotation id 0: pycocotools counts a detection of that object as wrong")


def test_missing_data_set_of_rf100_vl_names_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"lacks 100 of 100 data sets \(-grccs, .*github.com/roboflow/rf100-vl"):
        list(TASKS["rf100_vl"].load(Source(tmp_path, "test")))
