"""Forms of RefCOCO."""

from __future__ import annotations

import json
import pickle

import pytest

from tasks.hub import FORMS
from tests.tasks.hub.rows import ROWS, look


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


def test_file_name_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"file_name is '\.\./x\.jpg'; expected COCO_train2014_<12 digits>"):
        FORMS["refer"]("testA", folder="refcoco", by="unc").add({**ROWS["refer"], "file_name": "../x.jpg"}, look)


def test_refer_with_ids_keeps_the_ids_of_the_toolkit() -> None:
    form = FORMS["refer_with_ids"]("testA", folder="refcocog", by="umd")
    assert form.add(ROWS["refer_with_ids"], look) == "coco/train2014/x.jpg"
    [ref] = pickle.loads(form.files()["refer/refcocog/refs(umd).p"])
    assert (ref["ref_id"], ref["ann_id"], ref["image_id"], ref["sentences"]) == (1, 2, 3, [{"sent_id": 4, "sent": "a"}])
    instances = json.loads(form.files()["refer/refcocog/instances.json"])
    assert instances["annotations"][0]["bbox"] == [1.0, 2.0, 2.0, 2.0]  # the corners are (1, 2) and (3, 4)
    assert instances["images"] == [{"id": 3, "file_name": "x.jpg", "width": 4, "height": 3}]
