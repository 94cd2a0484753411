"""`data new`: exports of the embedded benchmark give the samples and the metrics of its official files."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.core import Run, Sample
from harness.data.own.dataset import READERS
from harness.errors import DataError, HarnessError, UsageError
from harness.evaluation import making
from harness.evaluation.plan import DataSource, load, own_of, source_of
from harness.evaluation.request import Scorers
from tasks import TASKS
from tests import own_files
from tests.own_files import Instances, picture

Export = Callable[[Path, Instances, Path], Path]
WITH_OUTLINES: dict[str, Export] = {
    "coco": own_files.as_coco,
    "jsonl": own_files.as_jsonl,
    "labelme": own_files.as_labelme,
    "yolo": lambda root, content, to: own_files.as_yolo(root, content, to, outlines=True),
}
WITH_BOXES: dict[str, Export] = {
    "csv": own_files.as_csv,
    "voc": own_files.as_voc,
    "voc devkit": lambda root, content, to: own_files.as_voc(root, content, to, devkit=True),
    "yolo boxes": own_files.as_yolo,
}


def _samples(path: Path, kind: str, split: str = "val") -> list[Sample[Any]]:
    own = own_of(str(path))
    assert own is not None
    [task] = own.select(kind)
    return source_of(str(path), "a test", embedded=False).load(task, split)


def _official(root: Path, content: Instances, to: Path) -> tuple[Path, list[Sample[Any]]]:
    path = to / "official.json"
    path.write_text(json.dumps(content))
    source = DataSource("official", Path(), path, root / own_files.IMAGES)
    return path, source.load(TASKS["coco_detection"], "val2017")


def _as_set(sample: Sample[Any], *, areas: bool) -> list[tuple[Any, ...]]:
    """The objects with their names, rounded to 1e-6 pixels, in an order that does not depend on the file."""
    target = sample.target
    names = [sample.question.phrases[number].text for number in target.categories]
    return sorted(
        (name, tuple(np.round(box, 6) + 0.0), round(area, 6) if areas else 0, crowd)
        for name, box, area, crowd in zip(names, target.xywh, target.areas, target.crowd, strict=True)
    )


def _guesses(samples: list[Sample[Any]], image_names: dict[str, Any], categories: dict[str, Any]) -> list[Any]:
    """A result file: each box moved by a few pixels that its category decides, and some with the next category."""
    entries = []
    names = sorted(categories)
    for sample in samples:
        for number, (x, y, width, height) in zip(sample.target.categories, sample.target.xywh, strict=True):
            name = sample.question.phrases[number].text
            place = names.index(name)
            guess = names[(place + (round(x) % 5 == 0)) % len(names)]
            entries.append({
                "image_id": image_names[Path(sample.question.image_name).name], "category_id": categories[guess],
                "bbox": [x + place, y, width, height], "score": round(0.3 + (round(x * 7 + y) % 50) / 100, 3),
            })  # fmt: skip
    return entries


def _scored(root: Path, content: Instances, made: Path, to: Path) -> tuple[Run, Run]:
    """The runs of the same predictions on the official file and on the data set."""
    path, official = _official(root, content, to)
    ids = {image["file_name"]: image["id"] for image in content["images"]}
    categories = {each["name"]: each["id"] for each in content["categories"]}
    guesses = to / "official guesses.json"
    guesses.write_text(json.dumps(_guesses(official, ids, categories)))
    expected = harness.score("coco_detection", guesses, annotations=path, out=to / "a")
    own = _samples(made, "detect")
    own_ids = {Path(sample.question.image_name).name: sample.target.image for sample in own}
    phrases = [phrase.text for phrase in own[0].question.phrases]
    own_guesses = to / "own guesses.json"
    by_name = _guesses(official, own_ids, dict(zip(phrases, own[0].target.ids, strict=True)))
    own_guesses.write_text(json.dumps(by_name))
    return expected, harness.score("detect", own_guesses, data=made, out=to / "b")


@pytest.mark.parametrize("form", [*WITH_OUTLINES, *WITH_BOXES])
def test_export_gives_samples_and_metrics_of_official_file(form: str, miniature: Path, tmp_path: Path) -> None:
    """The areas of objects with outlines, and so APs, APm and APl, are the official ones too."""
    content = own_files.instances(miniature, one_ring=form == "yolo")
    exported = {**WITH_OUTLINES, **WITH_BOXES}[form](miniature, content, tmp_path / "mine")
    to = tmp_path / "dataset.toml"
    made = making.new(form.partition(" ")[0], exported, None, to=to, name="mine")
    assert not made.problems or (
        form == "csv" and "columns that are not read: 2 (first: width, height)" in made.problems
    )
    outlines = form in WITH_OUTLINES
    own, official = _samples(to, "detect"), _official(miniature, content, tmp_path)[1]
    names = [Path(sample.question.image_name).name for sample in official]
    assert [Path(sample.question.image_name).name for sample in own] == names
    assert [sample.question.size for sample in own] == [sample.question.size for sample in official]
    assert [_as_set(s, areas=outlines) for s in own] == [_as_set(s, areas=outlines) for s in official]
    expected, run = _scored(miniature, content, to, tmp_path)
    assert 5 < (expected.metrics["mAP"].value or 0) < 95
    compared = [
        name for name in expected.metrics if outlines or not name.startswith(("APs", "APm", "APl", "ARs", "ARm", "ARl"))
    ]
    assert {name: run.metrics[name].value for name in compared} == {
        name: pytest.approx(expected.metrics[name].value) for name in compared
    }
    assert (run.spec.data, run.spec.task) == ("mine", "mine-detect")


@pytest.mark.parametrize(
    ("kind", "task", "split"),
    [("caption", "coco_caption", "test"), ("vqa", "vqav2", "val"), ("refer", "refcoco", "val"),
     ("segment", "refcoco_res", "testA")],
)  # fmt: skip
def test_json_lines_give_samples_and_metrics_of_official_files(
    kind: str, task: str, split: str, miniature: Path, tmp_path: Path
) -> None:
    official = load(TASKS[task], miniature, split)[:150]
    lines = []
    for sample in official:
        line: dict[str, Any] = {"image": sample.question.image_name}
        if kind == "caption":
            line["captions"] = sample.target.texts
        elif kind == "vqa":
            line |= {"question": sample.question.text, "answers": sample.target.texts}
        elif kind == "refer":
            line |= {"expression": sample.question.text, "box": sample.target.boxes[0]}
        else:
            line |= {"expression": sample.question.text, "polygons": sample.target.rings}
        lines.append(json.dumps(line))
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    to = tmp_path / "dataset.toml"
    making.new("jsonl", tmp_path / "mine.jsonl", miniature, to=to, name="mine")
    by_question = {(s.question.image_name.removeprefix("images/"), s.question.text): s for s in _samples(to, kind)}
    assert len(by_question) == len({(s.question.image_name, s.question.text) for s in official})
    for sample in official:
        own = by_question[sample.question.image_name, sample.question.text]
        assert own.question.size == sample.question.size or sample.question.size is None
        assert own.target == sample.target or kind == "refer"
        if kind == "refer":
            assert np.allclose(own.target.boxes, sample.target.boxes, atol=1e-9)
    run = harness.evaluate(kind, "oracle", data=to, limit=20, out=tmp_path / "r", scorers=Scorers(meteor=False))
    assert run.spec.task == f"mine-{kind}"
    best = {"caption": "BLEU-1", "vqa": "accuracy", "refer": "Acc@0.5", "segment": "mIoU"}[kind]
    assert run.metrics[best].value == pytest.approx(100, abs=2)  # the oracle answers with the target


def test_roboflow_folders_are_splits_and_coco_files_keep_their_ids(miniature: Path, tmp_path: Path) -> None:
    content = own_files.instances(miniature)
    own_files.as_roboflow(miniature, content, tmp_path / "mine")
    made = making.new(None, tmp_path / "mine", None, to=tmp_path / "dataset.toml")
    assert made.tasks == {"detect": ["val", "test", "train"], "find": ["val", "test", "train"]}
    samples = _samples(made.path, "detect", "test")
    assert [sample.id for sample in samples] == [str(image["id"]) for image in content["images"][8:]]
    assert all(sample.question.image_name.startswith("images/test/") for sample in samples)
    assert _samples(made.path, "find")[0].question.kind == "find"
    assert not made.problems


def test_conversions_and_errors_of_a_file_of_coco_name_the_user_s_file(miniature: Path, tmp_path: Path) -> None:
    content = own_files.instances(miniature, 2)
    given = own_files.as_coco(miniature, content, tmp_path / "mine")
    record = json.loads(given.read_text())
    record["annotations"][1]["category_id"] = 99
    given.write_text(json.dumps(record))
    made = making.new("coco", given, None, to=tmp_path / "dataset.toml")
    what = "annotations of unlisted categories, dropped: 1 (first: $.annotations[1])"
    assert list(made.problems) == [f"mine-detect val: detect/val.json: {what}"]
    record["annotations"][2]["bbox"] = [1, 1, -5, 5]
    given.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"mine.json: detect/val.json: \$.annotations\[2\] has the bbox"):
        making.new("coco", given, None, to=tmp_path / "dataset.toml")


def test_copies_of_evaluated_images_leave_the_training_file_of_roboflow(miniature: Path, tmp_path: Path) -> None:
    content = own_files.instances(miniature)
    folder = own_files.as_roboflow(miniature, content, tmp_path / "my shop")
    shutil.copy(folder / "train" / content["images"][0]["file_name"], folder / "valid/copy.jpg")
    path = folder / "valid/_annotations.coco.json"
    valid = json.loads(path.read_text())
    valid["images"] += [{**content["images"][0], "id": number, "file_name": "copy.jpg"} for number in (1, 2)]
    path.write_text(json.dumps(valid))
    made = making.new(None, folder, None, to=tmp_path / "dataset.toml")
    first = f"train/{content['images'][0]['file_name']} is valid/copy.jpg"
    assert made.problems[0] == f"{making.LEAKED}: 1 (first: {first})"
    assert made.problems[1].startswith("my_shop-detect val: 2 image ids share 1 image file")
    ids = [sample.id for sample in _samples(made.path, "detect", "train")]
    assert ids == [str(image["id"]) for image in content["images"][1:4]]


def test_captions_and_objects_of_coco_are_found_in_its_own_folders(miniature: Path, tmp_path: Path) -> None:
    shutil.copytree(miniature / "coco/annotations", tmp_path / "annotations")
    for folder in ("val2014", "val2017", "train2014"):
        shutil.copytree(miniature / "coco" / folder, tmp_path / folder)
    made = making.new("coco", tmp_path, None, to=tmp_path / "dataset.toml", name="mine")
    assert set(made.tasks) >= {"caption", "detect"}
    assert len(_samples(made.path, "detect")) == len(load(TASKS["coco_detection"], miniature, "val2017"))
    by_id = {sample.id: sample for sample in _samples(made.path, "caption")}
    for sample in load(TASKS["coco_caption"], miniature, "test"):
        assert by_id[sample.id].target == sample.target
        assert by_id[sample.id].question.image_name == f"images/{sample.question.image_name.removeprefix('coco/')}"


def test_link_out_of_the_folder_of_images_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "private/a.png")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/photos").symlink_to(tmp_path / "private")
    (tmp_path / "mine/t.csv").write_text("image,caption\nphotos/a.png,one\n")
    with pytest.raises(DataError, match=r"mine/photos is a link out of .*mine, to .*private, and is not followed"):
        making.new("csv", tmp_path / "mine/t.csv", None, to=tmp_path / "dataset.toml", name="mine")


def test_image_of_training_and_evaluation_is_left_out_of_training(tmp_path: Path) -> None:
    """Equal content counts under another name, and an image of one name in both splits too."""
    for name, colour in (("a", 1), ("b", 2), ("c", 3), ("d", 2)):
        picture(tmp_path / f"{name}.png", colour=colour)
    rows = [("a", "train"), ("b", "train"), ("c", "train"), ("c", "val"), ("d", "val")]
    (tmp_path / "t.csv").write_text("image,split,caption\n" + "".join(f"{n}.png,{s},text {n}\n" for n, s in rows))
    made = making.new("csv", tmp_path / "t.csv", None, to=tmp_path / "dataset.toml", name="mine")
    [problem] = made.problems
    assert problem == f"{making.LEAKED}: 2 (first: b.png is d.png, c.png)"
    assert [sample.question.image_name for sample in _samples(made.path, "caption", "train")] == ["images/a.png"]
    assert len(_samples(made.path, "caption")) == 2


def test_missing_images_are_counted_and_left_out_and_strict_refuses(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table = tmp_path / "t.csv"
    table.write_text("image,label,left,top,right,bottom\n" + "".join(f"{n}.png,cat,1,1,90,9\n" for n in "abcde"))
    made = making.new("csv", table, None, to=tmp_path / "dataset.toml", name="mine")
    assert list(made.problems) == [
        "boxes that reach out of their image, kept as they are: 1 (first: a.png: cat)",
        "images that are not there, left out: 4 (first: b.png, c.png, d.png)",
    ]
    assert made.lines[0] == "csv: 1 images, 1 in val; 40 x 30 pixels"
    with pytest.raises(DataError, match=r"boxes that reach out .* \(a.png: cat\); correct it, or leave --strict out"):
        making.new("csv", table, None, to=tmp_path / "other.toml", name="mine", strict=True)
    assert not (tmp_path / "other.toml").exists() and not list(tmp_path.glob("other.files*"))


def test_second_making_replaces_the_first_and_nothing_else(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table, to = tmp_path / "t.csv", tmp_path / "dataset.toml"
    table.write_text("image,caption\na.png,one\n")
    making.new("csv", table, None, to=to, name="mine")
    table.write_text("image,question,answer\na.png,what,that\n")
    assert making.new("csv", table, None, to=to, name="mine").tasks == {"vqa": ["val"]}
    assert not (tmp_path / "dataset.files/caption").exists()
    (tmp_path / "dataset.files/notes.md").write_text("mine")
    with pytest.raises(UsageError, match=r"holds notes.md, which `data new` did not write"):
        making.new("csv", table, None, to=to, name="mine")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(UsageError, match="did not write it"):
        making.new("csv", table, None, to=tmp_path / "pyproject.toml", name="mine")
    assert (tmp_path / "pyproject.toml").read_text() == "[project]\n"


def test_failed_making_keeps_the_earlier_data_set(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    table, to = tmp_path / "t.csv", tmp_path / "dataset.toml"
    table.write_text("image,caption\na.png,one\n")
    making.new("csv", table, None, to=to, name="mine")
    table.write_text("image,split,caption\na.png,train,one\n")
    with pytest.raises(DataError, match="all images are in the split train"):
        making.new("csv", table, None, to=to, name="mine")
    assert [sample.target.texts for sample in _samples(to, "caption")] == [("one",)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "dataset.files", "dataset.toml", "t.csv"]


@pytest.mark.parametrize("form", ["coco", "csv", "jsonl", "labelme", "voc", "yolo"])
def test_damaged_files_are_read_or_refused_in_one_line(form: str, miniature: Path, tmp_path: Path) -> None:
    content = own_files.instances(miniature, 2, one_ring=True)
    given = {**WITH_OUTLINES, **WITH_BOXES}[form](miniature, content, tmp_path / "mine")
    paths = [path for path in READERS[form].sources(given, given if given.is_dir() else given.parent) if path.is_file()]
    pieces = [
        b"null",
        b"-1",
        b"1e400",
        b"NaN",
        b"",
        b"\xff",
        b"../",
        b"\0",
        b"[[" * 600,
        b"\\ud800",
        b"<",
        b",",
        b"9" * 400,
    ]
    draw = random.Random(form)
    refused = 0
    for _ in range(25):
        path = draw.choice(paths)
        before = path.read_bytes()
        start = draw.randrange(len(before))
        path.write_bytes(before[:start] + draw.choice(pieces) + before[start + draw.randrange(6) :])
        try:
            making.new(form, given, None, to=tmp_path / "dataset.toml", name="mine")
        except HarnessError as error:
            refused += 1
            assert "\n" not in str(error) and str(tmp_path) in str(error)
        path.write_bytes(before)
    assert refused > 5
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(("options", "message"), [
    ({"annotations": None}, "give --annotations"),
    ({"annotations": Path("nowhere")}, "there is no such file or folder"),
    ({"images": Path("nowhere")}, "--images nowhere: there is no such folder"),
    ({"form": "pascal"}, "--format pascal: coco, csv, jsonl, labelme, voc, yolo"),
    ({"name": "a/b"}, "no slash"),
    ({"name": "miniature"}, "have another meaning"),
    ({"to": Path("data.json")}, "the name ends in .toml"),
])  # fmt: skip
def test_impossible_options_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,caption\na.png,one\n")
    given = {"form": "csv", "annotations": tmp_path / "t.csv", "images": None, "name": "mine"}
    given["to"] = tmp_path / "dataset.toml"
    with pytest.raises((UsageError, DataError), match=message):
        making.new(**{**given, **options})


@pytest.mark.parametrize(("files", "form"), [
    (("data.yaml",), "yolo"), (("classes.txt", "a.txt"), "yolo"), (("valid/_annotations.coco.json",), "coco"),
    (("Annotations/1.xml",), "voc"), (("train/1.xml",), "voc"), (("annotations/captions_val2017.json",), "coco"),
])  # fmt: skip
def test_format_is_guessed_from_files(files: tuple[str, ...], form: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert making.guessed(tmp_path) == form


def test_unknown_format_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"shows no format; give --format coco\|csv"):
        making.guessed(tmp_path)
