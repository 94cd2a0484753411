"""LVIS's file of the miniature, by its own rules."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tasks.miniature import lvis
from tests.tasks.miniature.scenes import samples_of


def test_annotations_are_federated_as_in_lvis(miniature: Path) -> None:
    content = json.loads((miniature / lvis.FILE).read_text())
    shown: dict[int, Counter[int]] = {image["id"]: Counter() for image in content["images"]}
    for annotation in content["annotations"]:
        shown[annotation["image_id"]][annotation["category_id"]] += 1
        assert "iscrowd" not in annotation
    incomplete = 0
    for image in content["images"]:
        assert len(image["neg_category_ids"]) == lvis.ABSENT
        assert not set(image["neg_category_ids"]) & shown[image["id"]].keys()
        incomplete += len(image["not_exhaustive_category_ids"])
        assert image["coco_url"].endswith(f"/{image['file_name']}")
    coco = json.loads((miniature / "coco/annotations/instances_val2017.json").read_text())
    crowds = sum(annotation["iscrowd"] for annotation in coco["annotations"])
    assert 5 <= incomplete <= crowds  # some are of the categories that are left out
    assert len(content["annotations"]) < len(coco["annotations"]) - crowds  # other objects are left out too
    assert {category["frequency"] for category in content["categories"]} == {"r", "c", "f"}


def test_counts_of_categories_are_those_of_the_annotations(miniature: Path) -> None:
    content = json.loads((miniature / lvis.FILE).read_text())
    instances = Counter(annotation["category_id"] for annotation in content["annotations"])
    for category in content["categories"]:
        images = {each["image_id"] for each in content["annotations"] if each["category_id"] == category["id"]}
        assert (category["instance_count"], category["image_count"]) == (instances[category["id"]], len(images))


def test_names_are_cleaned_to_those_of_the_world(miniature: Path) -> None:
    names = [phrase.text for phrase in samples_of(miniature, "lvis_minival")[0].question.phrases]
    assert names == [phrase.text for phrase in samples_of(miniature, "coco_detection")[0].question.phrases]
