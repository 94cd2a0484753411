"""The table of copies, and the forms that turn rows into official annotation files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.core import Size
from tasks import TASKS, hub
from tasks.hub import FORMS, Copy, form_of, from_corners, records, table
from tests import copies as written

EVERY = table().copies
BY_REPO = {copy.repo: copy for copy in EVERY}


def look() -> Size:
    return Size(4, 3)


@pytest.mark.parametrize("copy", EVERY, ids=[copy.repo for copy in EVERY])
def test_copy_names_tasks_splits_and_forms_that_exist(copy: Copy) -> None:
    assert copy.form in FORMS and copy.sources and (copy.tasks or copy.images)
    assert not set(copy.tasks) & set(copy.images)
    for name in (*copy.tasks, *copy.images):
        task = TASKS[name]
        assert set(copy.splits) & {*task.splits, *task.hidden_splits, *task.train_splits}
    assert copy.not_official.keys() <= copy.splits.keys()
    form_of(copy, next(iter(copy.splits)))


def test_every_repository_has_one_row_and_every_task_a_copy_or_a_reason() -> None:
    assert len(BY_REPO) == len(EVERY)
    held = {name for copy in EVERY for name in (*copy.tasks, *copy.images)}
    embedded = {"odinw_miniature"}
    assert held | table().none.keys() == TASKS.keys() - embedded and not held & table().none.keys()


@pytest.mark.parametrize("task", sorted(written.COPIES))
def test_declared_columns_are_those_of_the_data_set_card(task: str) -> None:
    """The tests write files with the columns of the cards; see `sources` in the table."""
    repo, split, ours, columns, _ = written.COPIES[task]
    copy = BY_REPO[repo]
    assert {name.partition(".")[0] for name in (*copy.columns, copy.image)} <= columns.keys()
    assert copy.splits[ours] == split and task in copy.tasks


def test_digest_changes_with_what_decides_the_files_and_not_with_words() -> None:
    copy = BY_REPO["lmms-lab/NoCaps"]
    assert msgspec.structs.replace(copy, lacks=("other",), sources=()).digest == copy.digest
    assert msgspec.structs.replace(copy, columns={}).digest != copy.digest
    assert msgspec.structs.replace(copy, settings={"a": 1}).digest != copy.digest


def test_categories_of_coco_have_the_ids_of_its_annotation_files() -> None:
    """91 numbers, of which COCO's detection annotations leave out eleven."""
    settings = BY_REPO["detection-datasets/coco"].settings
    absent = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}
    assert settings["ids"] == [number for number in range(1, 92) if number not in absent]
    assert len(settings["names"]) == 80
    by_id = dict(zip(settings["ids"], settings["names"], strict=True))
    # COCO's documentation: 1 person, 18 dog, 44 bottle, 62 chair, 90 toothbrush
    assert [by_id[number] for number in (1, 18, 44, 62, 90)] == ["person", "dog", "bottle", "chair", "toothbrush"]


def test_from_corners_restores_the_box_of_two_decimals() -> None:
    assert from_corners([265.35, 143.46, 265.35 + 116.49, 143.46 + 309.57]) == [265.35, 143.46, 116.49, 309.57]


def test_records_of_both_layouts_are_equal() -> None:
    expected = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
    assert records({"a": [1, 2], "b": ["x", "y"]}) == records(expected) == expected
    assert records(None) == [] == records({"a": [], "b": []})
    with pytest.raises(ValueError, match="shorter"):
        records({"a": [1, 2], "b": ["x"]})


def test_refer_numbers_sentences_and_names_images_without_the_number_of_the_object() -> None:
    form = FORMS["refer"]("testA", folder="refcoco", by="unc")
    for number in (16, 2):
        row = {
            "answer": ["a", "b"],
            "bbox": [1.0, 2.0, 3.0, 4.0],
            "file_name": f"COCO_train2014_000000581857_{number}.jpg",
        }
        assert form.add(row, look) == "coco/train2014/COCO_train2014_000000581857.jpg"
    files = form.files()
    refs = pickle.loads(files["refer/refcoco/refs(unc).p"])
    assert [[each["sent_id"] for each in ref["sentences"]] for ref in refs] == [[0, 1], [2, 3]]
    assert {ref["split"] for ref in refs} == {"testA"}
    instances = json.loads(files["refer/refcoco/instances.json"])
    assert instances["images"] == [
        {"id": 581857, "file_name": "COCO_train2014_000000581857.jpg", "width": 4, "height": 3}
    ]
    assert [each["id"] for each in instances["annotations"]] == [0, 1]


ROWS: dict[str, dict[str, Any]] = {
    "refer": {"answer": ["a"], "bbox": [1.0, 2.0, 3.0, 4.0], "file_name": "COCO_train2014_000000581857_16.jpg"},
    "refer_with_ids": {
        "ref_id": 1,
        "ann_id": 2,
        "image_id": 3,
        "sentences": [{"sent_id": 4, "sent": "a"}],
        "bbox": [1.0, 2.0, 3.0, 4.0],
        "raw_image_info": '{"file_name": "x.jpg", "width": 4, "height": 3, "id": 3}',
    },
    "karpathy": {"filepath": "val2014", "filename": "x.jpg", "cocoid": 1, "sentences": {"raw": "a", "sentid": 1}},
    "nocaps": {
        "image_id": 1,
        "image_file_name": "x.jpg",
        "image_width": 4,
        "image_height": 3,
        "annotations_captions": ["a"],
    },
    "textcaps": {"image_id": "x", "image_width": 4, "image_height": 3, "reference_strs": ["a"]},
    "textvqa": {
        "image_id": "x",
        "question_id": 1,
        "question": "a?",
        "answers": ["a"] * 10,
        "image_width": 4,
        "image_height": 3,
    },
    "vizwiz": {"question_id": "VizWiz_val_00000001", "question": "a?", "answers": ["a"] * 10},
    "vqav2": {
        "question_id": 1,
        "image_id": 2,
        "question": "a?",
        "question_type": "what",
        "answer_type": "other",
        "answers": {"answer": ["a"], "answer_id": [1]},
    },
    "detection": {
        "image_id": 1,
        "width": 4,
        "height": 3,
        "objects": {"category": [0], "bbox": [[0.0, 0.0, 2.0, 2.0]], "area": [4]},
    },
    "images_only": {"file_name": "x.jpg"},
}


def _form(name: str) -> Any:
    copy = next(copy for copy in EVERY if copy.form == name)
    return form_of(copy, next(split for split in copy.splits))


@pytest.mark.parametrize("name", sorted(FORMS))
def test_form_takes_its_row_and_refuses_one_with_a_null(name: str) -> None:
    assert ROWS.keys() == FORMS.keys()
    form = _form(name)
    assert form.add(ROWS[name], look).endswith(".jpg")
    form.files()
    nullable = {"answers", "question_type", "answer_type"} if name in ("textvqa", "vizwiz", "vqav2") else set()
    for field in ROWS[name].keys() - nullable:
        with pytest.raises(ValueError, match=r"null|None|got"):
            _form(name).add({**ROWS[name], field: None if field != "objects" else [None]}, look)


def test_object_of_an_unknown_category_is_refused() -> None:
    row = {**ROWS["detection"], "objects": {"category": [80], "bbox": [[0.0, 0.0, 1.0, 1.0]], "area": [1]}}
    with pytest.raises(ValueError, match="has the category 80; there are 80"):
        _form("detection").add(row, look)


def test_file_name_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"file_name is '\.\./x\.jpg'; expected COCO_train2014_<12 digits>"):
        _form("refer").add({**ROWS["refer"], "file_name": "../x.jpg"}, look)


@pytest.mark.parametrize(("task", "split"), [("textvqa", "test"), ("vizwiz", "test"), ("vqav2", "test-dev")])
def test_answers_of_a_hidden_split_are_left_out(task: str, split: str) -> None:
    """Copies fill them with nothing, or with empty texts."""
    form = FORMS[task](split)
    assert "test" in form.add({**ROWS[task], "answers": [""] * 10 if task != "vqav2" else None}, look)
    assert b'"answers":["' not in b"".join(form.files().values())
    assert len(form.files()) == 1


def test_version_of_the_forms_is_part_of_the_digest() -> None:
    assert EVERY[0].digest.startswith(f"{hub.VERSION} ")


def test_every_copy_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[2] / "docs/evaluate.md").read_text()
    assert [copy.repo for copy in EVERY if f"`{copy.repo}`" not in text] == []
