"""Forms of captions."""

from __future__ import annotations

import json

from tasks.hub import FORMS
from tests.tasks.hub.rows import ROWS, look


def test_karpathy_joins_the_rows_of_an_image() -> None:
    form = FORMS["karpathy"]("test")
    for number in (1, 2):
        row = {**ROWS["karpathy"], "sentences": {"raw": f"caption {number}", "sentid": number}}
        assert form.add(row, look) == "coco/val2014/x.jpg"
    files = form.files()
    [image] = json.loads(files["coco/dataset_coco.json"])["images"]
    assert [each["sentid"] for each in image["sentences"]] == [1, 2] and image["split"] == "test"
    content = json.loads(files["coco/coco_karpathy_test_gt.json"])
    assert content["images"] == [{"id": 1, "file_name": "x.jpg"}]
    assert [each["caption"] for each in content["annotations"]] == ["caption 1", "caption 2"]


def test_nocaps_and_textcaps_write_one_file_each() -> None:
    nocaps, textcaps = FORMS["nocaps"]("val"), FORMS["textcaps"]("train")
    assert nocaps.add(ROWS["nocaps"], look) == "nocaps/val/x.jpg"
    assert textcaps.add(ROWS["textcaps"], look) == "textvqa/train_images/x.jpg"
    assert list(nocaps.files()) == ["nocaps/nocaps_val_4500_captions.json"]
    [entry] = json.loads(textcaps.files()["textcaps/TextCaps_0.1_train.json"])["data"]
    assert entry == ROWS["textcaps"]
