"""The floors: the right kind of value for every kind of question, and what each has seen."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

import baselines
from baselines import Setting
from baselines.floors import centred, drawn, learnt, medoid, most_frequent
from harness.cli import main
from harness.core import (
    Answer,
    Box,
    Boxes,
    Failure,
    Grounded,
    Kind,
    Objects,
    Phrase,
    Polygons,
    Quads,
    Question,
    Sample,
    Size,
    Text,
    Value,
)
from harness.errors import UsageError
from tasks import miniature
from tasks.miniature import train_files

SIZE = Size(640, 480)
REGION: Box = (10.0, 20.0, 30.0, 50.0)
NAMES = (Phrase("cat"), Phrase("dog"))
TYPES: dict[Kind, type[Value]] = {  # of `core.Kind`
    "caption": Text, "detailed_caption": Text, "more_detailed_caption": Text, "detect": Boxes, "find": Boxes,
    "ground": Grounded, "refer": Boxes, "segment": Polygons, "vqa": Text, "ocr": Text, "ocr_regions": Quads,
    "name": Text, "describe": Text, "outline": Polygons, "read": Text, "regions": Boxes, "propose": Boxes,
}  # fmt: skip


def question(kind: Kind, size: Size | None = SIZE, image: str = "x.jpg") -> Question:
    return Question(image, size, kind, region=REGION, text="the cat", phrases=NAMES)


@pytest.mark.parametrize("kind", TYPES)
def test_random_value_has_the_type_of_its_kind_and_lies_in_the_image(kind: Kind) -> None:
    assert set(TYPES) <= set(get_args(Kind))
    values = [drawn(question(kind, image=f"{number}.jpg"), 0) for number in range(50)]
    assert all(type(value) is TYPES[kind] for value in values)
    within = REGION if kind == "outline" else (0.0, 0.0, *SIZE)
    for value in values:
        if isinstance(value, Boxes):
            assert value.boxes and len(value.labels) == (0 if kind == "propose" else len(value.boxes))
            assert kind not in ("detect", "find") or set(value.labels) <= {"cat", "dog"}
        groups = value.boxes if isinstance(value, Grounded) else ()
        boxes = value.boxes if isinstance(value, Boxes) else [box for group in groups for box in group]
        rings = value.rings if isinstance(value, Polygons) else ()
        points = [
            *(point for ring in rings for point in ring),
            *(box[:2] for box in boxes),
            *(box[2:] for box in boxes),
        ]
        assert all(within[0] <= x <= within[2] and within[1] <= y <= within[3] for x, y in points)
        assert all(left <= right and top <= bottom for left, top, right, bottom in boxes)


@pytest.mark.parametrize("kind", ["caption", "refer", "detect", "ground", "segment"])
def test_random_answer_depends_on_question_and_draw_only(kind: Kind) -> None:
    assert drawn(question(kind), 0) == drawn(question(kind), 0)
    others = [drawn(question(kind, image="y.jpg"), 0), drawn(question(kind), 1)]
    assert all(value != drawn(question(kind), 0) for value in others)


def test_random_yes_is_half_of_the_answers() -> None:
    texts = Counter(drawn(question("vqa", image=f"{number}.jpg"), 0) for number in range(400))
    assert set(texts) == {Text(("yes",)), Text(("no",))}
    assert 150 < texts[Text(("yes",))] < 250  # five standard deviations of 10 around 200


def test_random_boxes_have_the_mean_iou_of_uniform_corners() -> None:
    """Corners that are sorted uniform draws have the mean sides of a third: mean area of 1/9 of the image."""
    areas = []
    for number in range(2000):
        value = drawn(question("refer", image=f"{number}.jpg"), 0)
        assert isinstance(value, Boxes)
        [(left, top, right, bottom)] = value.boxes
        areas.append((right - left) * (bottom - top) / (640 * 480))
    assert sum(areas) / len(areas) == pytest.approx(1 / 9, rel=0.1)


CENTRE: Box = (160.0, 120.0, 480.0, 360.0)  # half of 640 x 480, in the middle


@pytest.mark.parametrize(("kind", "value"), [
    ("refer", Boxes((CENTRE,), ("the cat",))),
    ("ground", Grounded(((CENTRE,), (CENTRE,)))),
    ("detect", Boxes((CENTRE, CENTRE), ("cat", "dog"))),
    ("propose", Boxes((CENTRE,))),
    ("segment", Polygons((((160, 120), (480, 120), (480, 360), (160, 360)),))),
])  # fmt: skip
def test_centred_box_is_half_of_each_side(kind: Kind, value: Value) -> None:
    assert centred(question(kind), 0.5) == value
    assert centred(question("propose"), 1.0) == Boxes(((0, 0, 640, 480),))


@pytest.mark.parametrize("share", [0.0, -1.0, 1.1, float("nan")])
def test_share_that_is_no_part_of_the_image_is_a_usage_error(share: float) -> None:
    with pytest.raises(UsageError, match="--share"):
        baselines.find("centre-box").load(Setting(), share=share)


@pytest.mark.parametrize("name", ["random", "centre-box"])
def test_question_without_a_size_is_a_failure(name: str) -> None:
    [(_, answer)] = baselines.find(name).load(Setting()).answer([(0, question("refer", None))])
    assert isinstance(answer, Failure) and "do not give the image's size" in answer.reason


def test_outline_without_a_region_is_a_failure() -> None:
    asked = Question("x.jpg", SIZE, "outline")
    [(_, answer)] = baselines.find("random").load(Setting()).answer([(0, asked)])
    assert isinstance(answer, Failure) and "needs a region" in answer.reason


def sample(kind: Kind, target: Value, number: int = 0) -> Sample[Value]:
    return Sample(str(number), question(kind), target, "x")


def test_most_frequent_answer_is_the_first_of_the_alphabet_among_equals() -> None:
    targets = [("yes", "no", "no"), ("yes", "two"), ("two",)]
    known = learnt(sample("vqa", Text(texts)) for texts in targets)  # yes 2, no 2, two 2
    assert known.texts == {"vqa": "no"} and known.samples == 3
    assert most_frequent(question("vqa"), known) == Text(("no",))
    with pytest.raises(ValueError, match="no answers to 'ocr' questions"):
        most_frequent(question("ocr"), known)


def test_medoid_is_the_caption_nearest_to_all_others() -> None:
    """By hand, Jaccard indices: "a dog runs" to "a dog" 2/3 and to "the cat" 0; "a dog" to the others 2/3 and 0;
    "a dog runs far" to "a dog runs" 3/4 and to "a dog" 2/4.  Sums: 0.75 + 0.67, 0.67 + 0.5, 0.75 + 0.5, 0."""
    captions = ["a dog", "a dog runs", "a dog runs far", "the cat"]
    assert medoid(Counter(captions)) == "a dog runs"
    assert medoid(Counter({"the cat": 1})) == "the cat"


def test_most_frequent_category_does_not_count_crowds() -> None:
    boxes = ((0.0, 0.0, 1.0, 1.0),) * 4
    target = Objects(boxes, (0, 1, 1, 1), (1.0,) * 4, (False, False, True, True), (1, 2))
    known = learnt([sample("detect", target), sample("detect", Boxes((REGION,), ("cat",)))])
    assert known.categories == ("cat", "dog")  # two cats, one dog, two crowds of dogs
    assert most_frequent(question("detect"), known) == Boxes(((0, 0, 640, 480),), ("cat",))


def test_most_frequent_is_built_for_a_task_only() -> None:
    with pytest.raises(UsageError, match="there is no task here"):
        baselines.find("most-frequent").load(Setting())


@pytest.fixture
def training_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small one in place of the embedded one."""
    root = tmp_path_factory.mktemp("training")
    train_files.write(root, train_files.Images(coco=4, signs=2, vizwiz=2, flickr30k=2))
    monkeypatch.setattr(miniature, "ensure_training", lambda: root)
    return root


def run(folder: Path, task: str, name: str, capsys: pytest.CaptureFixture[str]) -> Any:
    arguments = ["run", "--task", task, "--model", name, "--data", "miniature", "--out", str(folder), "--json"]
    status = main(arguments)
    outcome = capsys.readouterr()
    assert status == 0, outcome.err
    return json.loads(outcome.out)


@pytest.mark.parametrize(("name", "protocol", "seen"), [
    ("random", "zero_shot", "no data"), ("centre-box", "zero_shot", "no data"),
    ("most-frequent", "fine_tuned", "the targets of 4 samples of coco_detection train2017"),
])  # fmt: skip
def test_run_of_a_floor_says_what_it_has_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training_root: Path, name: str, protocol: str, seen: str
) -> None:
    record = run(tmp_path, "coco_detection", name, capsys)
    assert record["spec"]["protocol"] == protocol
    assert record["provenance"]["model"]["seen"] == seen
    assert record["counts"]["unreadable"] == 0


def test_most_frequent_answer_of_vqav2_is_that_of_its_training_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], training_root: Path
) -> None:
    """Counted here from the file itself."""
    counted: Counter[str] = Counter()
    [path] = training_root.rglob("v2_mscoco_train2014_annotations.json")
    for annotation in json.loads(path.read_text())["annotations"]:
        counted.update(entry["answer"] for entry in annotation["answers"])
    record = run(tmp_path, "vqav2", "most-frequent", capsys)
    assert counted[record["provenance"]["model"]["answers"]["texts"]["vqa"]] == max(counted.values())


def test_most_frequent_without_a_training_split_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--task", "nocaps", "--model", "most-frequent", "--data", "miniature"]) == 2
    assert "most-frequent needs a training split, and nocaps has none" in capsys.readouterr().err


def test_floor_answers_are_of_answers_not_of_types() -> None:
    model = baselines.find("random").load(Setting())
    [(ticket, answer)] = model.answer([(7, question("vqa"))])
    assert ticket == 7 and isinstance(answer, Answer) and answer.value == Text(answer.raw)
